"""The units that must run: seen through one call of systemctl, judged one by one."""

import dataclasses
from collections.abc import Iterable, Iterator

from pergola.status.applications import COLOURS
from pergola.status.config import SECONDS
from pergola.status.look import CRITICAL, OK, UNKNOWN, WARNING, Finding, Look
from pergola.status.memory import Restarts
from pergola.status.seen import Application, Unit
from pergola.status.server import Down
from pergola.system import run

PROPERTIES = (
    "Id,LoadState,ActiveState,SubState,Result,NRestarts,UnitFileState,NextElapseUSecRealtime,"
    "NextElapseUSecMonotonic"
)
# Automatic restarts within as many of the last looks, and in two of them at least, that make a unit
# one that does not stay up. A PostgreSQL that was killed may need several tries until it is back.
RESTARTS, LOOKS = 3, 5
SERVES, RUNS, CALENDAR = "serves", "runs", "calendar"
DATABASE = "PostgreSQL"
NEVER = ("", "0", "infinity", "n/a")


# -- seen ------------------------------------------------------------------------------------------


def failed() -> list[str]:
    """The names of all failed units."""
    wanted = ("--state=failed", "--plain", "--no-legend", "--no-pager")
    said = run("systemctl", "list-units", *wanted, timeout=SECONDS, what="systemctl")
    return [line.split()[0] for line in said.splitlines() if line.strip()]


def wanted(apps: Iterable[Application], postgresql: str | None) -> dict[str, Unit]:
    """The units that must be active -> what each is for, and whose it is."""
    apps = list(apps)
    units: dict[str, Unit] = {}
    if any(app.web for app in apps):
        units["caddy.service"] = Unit(SERVES, "Caddy", "")
    if postgresql:
        units[f"{postgresql}.service"] = Unit(SERVES, DATABASE, "")
    for app in apps:
        name = app.app
        if app.release is None:
            continue
        kinds = [("socket", "listener")] if app.web else []
        for kind, what in (*kinds, ("service", "live release")):
            unit = f"{name}@{app.colour}.{kind}"
            units[unit] = Unit(SERVES, f"the {what} of {name}", name)
        units |= {unit: Unit(RUNS, f"a process of {name}", name) for unit in app.processes}
        units |= {unit: Unit(SERVES, f"a service of {name}", name) for unit in app.services}
        units |= {unit: Unit(CALENDAR, f"a schedule of {name}", name) for unit in app.timers}
    return units


def shown(units: dict[str, Unit]) -> dict[str, Unit]:
    """The same units with what systemd says of them."""
    if not units:
        return {}
    blocks = blocks_of(*units, properties=PROPERTIES)
    return {
        name: dataclasses.replace(unit, shows=shows)
        for (name, unit), shows in zip(units.items(), blocks, strict=True)
    }


def blocks_of(*units: str, properties: str) -> list[dict[str, str]]:
    """Properties of each unit by their names, as `systemctl show` prints them."""
    said = run(
        "systemctl",
        "show",
        f"--property={properties}",
        "--",
        *units,
        timeout=SECONDS,
        what="systemctl",
    )
    return [
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for block in said.strip().split("\n\n")
    ]


# -- remembered ------------------------------------------------------------------------------------


def counted(known: dict[str, Restarts], units: dict[str, Unit] | None) -> dict[str, Restarts]:
    """How often each unit was restarted by systemd in each of the last looks.

    systemd counts from a unit's start by hand: a smaller number than before is a new count. What a
    unit needs to come back, after a look that found it away, belongs to the restart counted then.
    """
    if units is None:
        return known
    new = {}
    for name, unit in units.items():
        count = int(unit.shows.get("NRestarts") or 0)
        before = known.get(name, Restarts(count, []))
        since = count - before.count if count >= before.count else count
        recent = [*before.recent, since if before.active else 0][-LOOKS:]
        new[name] = Restarts(count, recent, unit.shows.get("ActiveState") == "active")
    return new


# -- judged ----------------------------------------------------------------------------------------


def vital(look: Look) -> Iterator[Finding]:
    """Each unit that must be active, for itself: a second one that fails is told too."""
    at_work = {app.app: app.at_work for app in look.seen.apps or []}
    for name, unit in (look.seen.vital or {}).items():
        if busy := at_work.get(unit.app):
            yield Finding(f"unit {name}", UNKNOWN, busy)
            continue
        if isinstance(look.seen.postgresql, Down) and unit.what == DATABASE:
            yield Finding(f"unit {name}", UNKNOWN, "see postgresql")
            continue
        known = look.memory.restarts.get(name)
        state, says = judged(unit, known.recent if known else [])
        if state != OK:
            says = f"{unit.what} {says}; see why with `journalctl -u {name} -n 50`"
            says += f", then `systemctl restart {name}`"
        yield Finding(f"unit {name}", state, says)


def judged(unit: Unit, recent: list[int]) -> tuple[str, str]:
    """The state of a unit that must be active, and what it does."""
    worst, shows = WARNING if unit.kind == CALENDAR else CRITICAL, unit.shows
    active, sub = shows.get("ActiveState", ""), shows.get("SubState", "")
    if shows.get("LoadState") not in ("loaded", None):
        return (
            worst,
            f"has no usable unit file ({shows['LoadState']}): deploy again to have it made",
        )
    if active == "activating" and sub.startswith("auto-restart"):
        return worst, "ended, and is started again and again"
    if sum(recent) >= RESTARTS and sum(map(bool, recent)) > 1:
        return worst, f"was restarted {sum(recent)} times within {len(recent)} looks: it crashes"
    if active not in ("active", "reloading", "refreshing"):
        return worst, f"is not running: {active} ({sub}), result {shows.get('Result', '?')}"
    if unit.kind == CALENDAR and sub != "running" and never_again(shows):
        return worst, "has no next run: its calendar names no time to come"
    return OK, "active"


def never_again(shows: dict[str, str]) -> bool:
    times = ("NextElapseUSecRealtime", "NextElapseUSecMonotonic")
    return all(shows.get(time, "") in NEVER for time in times)


def others(look: Look) -> Iterator[Finding]:
    """Failed units beside those, one finding each; jobs whose result says it are told there."""
    if look.seen.units is None:
        return
    told = not all(result.ok for result in look.seen.results_read.values())
    idle = idle_slots(look.seen.apps or [])
    there = set(look.seen.vital or {})
    for unit in look.seen.units:
        if unit in there or (told and unit.startswith("pergola-backup")):
            continue
        there.add(unit)
        says = f"failed; see why with `systemctl status {unit}`"
        if unit in idle:
            says = (
                "the release before had not ended within its time (app_drain_seconds) when "
                f"{idle[unit]} took over, and was killed: requests that took longer were cut. "
                f"Nothing is left to do but `systemctl reset-failed {unit}`"
            )
        yield Finding(f"unit {unit}", WARNING, says)
    for name, before in look.before.items():
        gone = name.startswith("unit ") and name.removeprefix("unit ") not in there
        if gone and before != OK:
            yield Finding(name, OK, "has not failed any more")


def idle_slots(apps: Iterable[Application]) -> dict[str, str]:
    """The slots that serve nobody -> the release that does."""
    return {
        f"{app.app}@{colour}.service": app.release
        for app in apps
        for colour in COLOURS
        if app.release and colour != app.colour
    }


CHECKS = (vital, others)
