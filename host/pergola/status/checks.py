"""All checks: pure functions of what was seen, the limits and what is remembered.

Each finding says in one sentence for people what it is, how much, and what to do next.
"""

from collections.abc import Callable, Iterator

from pergola.status import (
    backups,
    certificates,
    database,
    disks,
    drift,
    firewall,
    host,
    jobs,
    journal,
    reached,
    reserve,
    services,
    site,
    units,
    wal,
)
from pergola.status.look import OK, WARNING, Finding, Look


def errors(look: Look) -> Iterator[Finding]:
    """What could not be looked at."""
    wrong = look.seen.errors
    if not wrong:
        yield Finding("errors", OK, "everything could be checked")
        return
    says = "; ".join(f"{name}: {why}" for name, why in wrong.items())
    yield Finding("errors", WARNING, f"could not be checked: {says}; see `pergola-status --facts`")


# In the order in which people read them.
CHECKS: tuple[Callable[[Look], Iterator[Finding]], ...] = (
    *site.CHECKS, *firewall.CHECKS, *units.CHECKS, *services.CHECKS, *reached.CHECKS,
    *database.CHECKS,
    *jobs.CHECKS, *backups.CHECKS, *wal.CHECKS, *disks.CHECKS, *reserve.CHECKS,
    *certificates.CHECKS, *host.CHECKS, *drift.CHECKS, *journal.CHECKS, errors,
)  # fmt: skip


def all_of(look: Look) -> list[Finding]:
    """Every finding; a check that fails itself is a finding too."""
    found: list[Finding] = []
    for check in CHECKS:
        try:
            found += check(look)
        except Exception as error:  # one check must not hide the others
            says = (
                f"could not be judged: {type(error).__name__}: {error}; see `pergola-status "
                "--facts`"
            )
            found.append(Finding(check.__name__, WARNING, says))
    return found
