"""All of a look; nothing is judged here.

Each part is gathered for itself: one that fails is told in `errors` and hinders no other.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pergola import postgres, results
from pergola.errors import PergolaError
from pergola.people import last_lines, uptime
from pergola.results import Result
from pergola.status import (
    applications,
    archives,
    backups,
    certificates,
    disks,
    firewall,
    host,
    journal,
    largest,
    places,
    reached,
    server,
    services,
    trees,
    units,
    visit,
    wal,
)
from pergola.status.config import Config
from pergola.status.memory import Memory
from pergola.status.seen import Kept, Seen

T = TypeVar("T")
BOOT = Path("/proc/sys/kernel/random/boot_id")


def gather(known: Memory, settings: Config) -> Seen:
    """Everything; `known` is the memory of earlier looks."""
    seen = Seen(
        host=settings.host,
        wall=time.time(),
        boottime=uptime(),
        boot=BOOT.read_text().strip(),
        container=host.CONTAINER.exists(),
    )

    seen.units = part(seen, "units", units.failed)
    seen.results = part(seen, "results", read_results)
    seen.certificates = part(seen, "certificates", certificates.seen)
    seen.reboot = part(seen, "reboot", host.reboot_packages)
    seen.replaced = part(seen, "replaced", host.replaced_services)
    seen.clock_error_usec = part(seen, "clock_error_usec", host.clock_error)
    seen.restore = part(seen, "restore", backups.at_work)
    seen.dropped_lines = part(seen, "dropped_lines", journal.dropped)
    seen.logs = part(seen, "logs", lambda: wal.logs(known.logs))
    seen.repositories = part(seen, "repositories", archives.kept)
    seen.postgresql = part(seen, "postgresql", server.postgresql)
    if seen.postgresql:
        seen.archives = part(
            seen, "archives", lambda: archives.gathered(seen.server, known.archives)
        )
    data = seen.server.data_directory if seen.server else None
    there = seen.repositories or Kept([], [])
    seen.disks = part(seen, "disks", lambda: disks.seen(data, there.here))
    full = settings.limits["disk_percent"][0]
    seen.largest = part(
        seen, "largest", lambda: largest.largest(seen.disks, known.largest, seen.boottime, full)
    )
    of_applications(seen, known, settings)
    return seen


def part(seen: Seen, name: str, look: Callable[[], T]) -> T | None:
    """One part; None when it fails."""
    try:
        return look()
    except Exception as error:  # whatever it is, the other parts go on
        seen.errors[name] = reason(error)
        return None


def of_applications(seen: Seen, known: Memory, settings: Config) -> None:
    """What is seen of applications, and of what they need."""
    seen.apps = part(seen, "apps", lambda: applications.every(settings.sites))
    here = seen.apps or []
    seen.asked = part(seen, "asked", lambda: visit.asked(here))
    seen.answered = part(seen, "answered", lambda: visit.answered(here, known.access))
    seen.addresses = part(seen, "addresses", visit.own_addresses)
    seen.firewall = part(seen, "firewall", lambda: firewall.seen(here))
    unit = seen.postgresql.unit if seen.postgresql else None
    seen.vital = part(seen, "vital", lambda: units.shown(units.wanted(here, unit)))
    seen.services = part(seen, "services", lambda: services.seen(settings.sites))
    seen.reached = part(seen, "reached", lambda: reached.seen(settings.sites))
    seen.unit_files = part(seen, "unit_files", lambda: places.unit_files(seen.vital or ()))
    seen.places = part(seen, "places", lambda: places.places(here, data_directory()))
    seen.trees = part(seen, "trees", lambda: trees.trees(here, known.trees, seen.boottime))


def read_results() -> dict[str, Result | str]:
    """How each job ended; a text in place of a result that cannot be read."""
    found: dict[str, Result | str] = {}
    for folder in (results.RESULTS, results.IN_RUN):
        for path in sorted(folder.glob("*.json")):
            try:
                result, before = results.FORM.read(path), found.get(path.stem)
            except (PergolaError, OSError) as error:
                found[path.stem] = f"{path}: {reason(error)}"
                continue
            if result and (not isinstance(before, Result) or result.ended > before.ended):
                found[path.stem] = result
    return found


def data_directory() -> Path | None:
    """Where the cluster's files are, also when its server does not answer."""
    cluster = postgres.serving()
    return cluster.data if cluster else None


def reason(error: Exception) -> str:
    """What went wrong, in one line."""
    if isinstance(error, PergolaError):
        return ": ".join(filter(None, (error.reason, last_lines(error.evidence, 1))))
    return f"{type(error).__name__}: {error}"
