"""An application that ran on this host before runs on others now: here it stops, and stays.

Its releases and files are kept: with the inventory as it was, a deploy has one serve again.
"""

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from pergola import apps, lock
from pergola.apps import App
from pergola.system import UNITS, disable, systemctl
from pergola.web import load, site

# What the monitoring looks at, by the application's deploys (role app).
WATCHED = Path("/etc/pergola/monitoring")


@dataclass(frozen=True)
class Retired:
    """`units`: those that ran, or would run at the next boot."""

    changed: bool
    units: list[str] = field(default_factory=list)


def retire(name: str, leads: bool = False, only_look: bool = False) -> Retired:
    """Stop all that runs of an application, now and at each boot, each within its own time.

    `leads`: the host has its site, which leads visitors to the others; else that goes as well.
    """
    app = App(apps.HOMES / name)
    ran = app.settings_file.exists()
    units = sorted({*app.units(), *enabled(name)}) if ran else []
    slots = [slot for slot in (app.home / "slots").glob("*") if slot.is_symlink()]
    files = [] if leads else [*filter(Path.exists, [WATCHED / f"{name}.json", site_of(name)])]
    if only_look or not (units or slots or files):
        return Retired(bool(units or slots or files), units)
    with contextlib.ExitStack() as stack:
        if ran:
            held = lock.locked([app.place], "its end on this host", apps.PATIENCE, "retire")
            stack.enter_context(held)
        if files:
            (WATCHED / f"{name}.json").unlink(missing_ok=True)
            site.forget_others(name, False, "")
            load.load(for_site=True)
        stop(app, units, slots)
    return Retired(True, units)


def stop(app: App, units: list[str], slots: list[Path]) -> None:
    """Stop units, and have nothing called live, or no look, restore and pause would pass it by."""
    if units:
        disable(*units)
        # All together, timers among them: nothing starts anything again meanwhile.
        systemctl("stop", *units)
    for slot in slots:
        slot.unlink()
    if slots:
        app.have_nothing_live()


def site_of(name: str) -> Path:
    return load.FOLDER / f"{name}.caddy"


def enabled(name: str) -> set[str]:
    """Its units that start at a boot, by the links that say so: systemd lists no instances."""
    links = [*UNITS.glob(f"*.wants/{name}@*"), *UNITS.glob(f"*.wants/{name}.*")]
    return {link.name for link in links}
