"""The applications that have a site here: what is live of each, and which units must run for it."""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

from pergola import apps, lock, paths, records
from pergola.apps import PAGES, App, service_unit
from pergola.errors import PergolaError
from pergola.people import uptime
from pergola.records import LINE, PAGE, Holder, Line, Manifest
from pergola.status.config import Site
from pergola.status.seen import Application, Page

COLOURS = ("blue", "green")
LEDGER_BYTES = 65536
# The phases in which a deploy stops and starts units.
SWITCHING = ("switch", "drain", "abort")


def every(sites: Iterable[Site]) -> list[Application]:
    """Each application with a site; `release` is None where none was ever live."""
    return [with_site(live(App(apps.HOMES / site.app)), site) for site in sites]


def with_site(app: Application, site: Site) -> Application:
    return dataclasses.replace(
        app,
        web=site.web,
        path=site.path,
        domain=site.domain,
        certificates=site.certificates,
        addresses=site.addresses,
        edge=site.edge,
        upstreams=site.upstreams,
        behind=site.behind,
        services=[service_unit(site.app, name) for name in site.services],
        log=str(apps.LOGS / f"{paths.log_owner(site.app)}.log") if site.path else site.log,
    )


def live(app: App) -> Application:
    """What is live, since nobody is at work on it."""
    # Also one that somebody has removed by hand: then it is missing, not yet to come.
    release = app.slot.readlink().name if app.slot.is_symlink() else None
    manifest, settings = app.manifest, app.settings
    processes = manifest.processes if release else []
    schedules = manifest.schedules if release else []
    wanted = [
        one for one in schedules
        if not one.suspended and (settings.runs_schedules or one.every_host)
    ]  # fmt: skip
    holder = at_deploy(app)
    return Application(
        app.name,
        release=release,
        colour=app.colour,
        health=manifest.health_path if release else "/",
        accepted=accepted(manifest),
        processes=[f"{app.name}.{one.name}.{app.colour}.service" for one in processes],
        timers=[f"{app.name}.{one.name}.timer" for one in wanted],
        page=page(app.home / "live") or page(app.run_dir),
        killed=killed(app.home / "ledger.jsonl"),
        unmigrated=unmigrated(app.home / "ledger.jsonl"),
        paused=is_paused(app),
        at_work=at_work(app, holder),
        migrates=holder.phase in ("migrate", records.AFTER),
    )


def accepted(manifest: Manifest) -> list[str]:
    """The statuses with which a release is well; a redirect that the gate followed is one."""
    return manifest.health_status + (["3xx"] if manifest.health_follow_redirects else [])


def page(folder: Path) -> Page | None:
    """Who turned on the maintenance page, when, and until when; None: it is off."""
    file = folder / PAGES[-1]
    try:
        since = file.stat().st_mtime
    except FileNotFoundError:
        return None
    try:
        told = PAGE.read(file.with_suffix(".json")) or records.Page()
    except PergolaError:  # made by hand
        told = records.Page()
    return Page(since, told.who or "somebody", told.until)


def killed(ledger: Path) -> Line | None:
    """The ledger's line of a release that the last deploy had to kill; None: it ended in time."""
    for line in newest_first(ledger, LEDGER_BYTES):
        if line.outcome == "killed":
            return line
        if line.outcome in ("live", "returned"):
            return None
    return None


def unmigrated(ledger: Path) -> Line | None:
    """The ledger's line of what failed once the live release served; None: nothing did."""
    for line in newest_first(ledger, LEDGER_BYTES):
        if line.action == records.AFTER:
            return line if line.outcome == "failed" else None
        if line.outcome in ("live", "returned"):
            return None
    return None


def newest_first(ledger: Path, most: int | None = None) -> Iterator[Line]:
    """The ledger's lines, those of its last bytes or all; what cannot be read is left out."""
    try:
        with ledger.open("rb") as file:
            file.seek(max(0, ledger.stat().st_size - most) if most else 0)
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return
    for line in reversed(lines):
        # A power loss may have cut it off, and so may we at the beginning.
        with contextlib.suppress(PergolaError):
            yield LINE.parse(line, str(ledger))


def is_paused(app: App) -> bool:
    """Whether requests are held in the socket's queue, for some seconds."""
    try:
        return uptime() < int((app.run_dir / "pause").read_text())
    except (FileNotFoundError, ValueError):
        return False


def at_work(app: App, holder: Holder) -> str:
    """The deploy or the pause in which units stop and start just now; empty: none."""
    if is_paused(app):
        return "its requests are held for a moment"
    if holder.phase in SWITCHING:
        return f"{holder.who} is at work on it: {holder.what}"
    return ""


def at_deploy(app: App) -> Holder:
    """The deploy that is at work; one without a phase when there is none."""
    holder = lock.holder(app.place)
    return holder if holder and uptime() < holder.until else Holder()
