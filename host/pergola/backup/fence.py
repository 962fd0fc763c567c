"""The applications with a database on this host are kept away while that is replaced.

An application is stopped altogether: its processes remember what the database held before, and no
pool survives a server that was stopped.
"""

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pergola import apps, lock
from pergola.apps import PAGES, App
from pergola.documents import NewerError
from pergola.errors import PergolaError
from pergola.lock import AT_ONCE, SERVER, Patience
from pergola.system import is_active, journal, systemctl

UNITS = Path("/etc/systemd/system")
LINES_OF_JOURNAL = 15


class Notes(Protocol):
    """Where it is noted what must be undone: pages that are ours, units that were stopped."""

    pages: list[str]
    units: dict[str, list[str]]

    def save(self) -> None: ...


@dataclass
class Closed:
    """An application that is kept away.

    `stopped`: the units to start again; `interrupted`: commands of schedules, which are not.
    """

    app: App
    page_is_ours: bool = False
    stopped: list[str] = field(default_factory=list)
    interrupted: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.app.name

    # -- the page ----------------------------------------------------------------------------------

    def has_page(self) -> bool:
        """Whether a maintenance page is on that no reboot ends."""
        return (self.app.home / "live" / PAGES[-1]).exists()

    def hide(self) -> None:
        """Show the maintenance page, unless one is on: that stays, and afterwards too."""
        if self.has_page() or not self.app.has_site():
            return
        if not self.app.has_page():
            self.app.call("maintenance", "on")
            return
        for name in PAGES:  # one for a time: it must not end too soon
            shutil.copy2(self.app.run_dir / name, self.app.home / "live" / name)

    def show(self) -> None:
        """Take our page away."""
        if self.page_is_ours:
            for name in reversed(PAGES):
                (self.app.home / "live" / name).unlink(missing_ok=True)
            self.page_is_ours = False

    # -- units -------------------------------------------------------------------------------------

    def plan_stop(self) -> None:
        """Note which slots, processes and schedules there are to stop."""
        found = [unit for unit in self.units() if unit not in self.stopped]
        self.interrupted += [unit for unit in found if is_job(unit)]
        self.stopped += [unit for unit in found if not is_job(unit)]

    def stop(self) -> None:
        """Stop them, each within the time it has for that."""
        # All together, and timers among them: nothing starts anything again meanwhile.
        if found := [*self.stopped, *self.interrupted]:
            systemctl("stop", *found)

    def note_stopped(self, units: list[str]) -> None:
        """Units that a restore before stopped; the slot may have changed with a deploy since."""
        idle = "blue" if self.app.colour == "green" else "green"
        of_idle_slot = re.compile(rf"[@.]{idle}\.")
        found = sorted({*units, *self.units()} if units else [])
        self.stopped = [
            unit for unit in found if not of_idle_slot.search(unit) and not is_job(unit)
        ]

    def units(self) -> list[str]:
        """The units that run, and the live slot's, which may just have failed."""
        found = self.app.units()
        if self.app.is_live():
            found.append(self.app.live_unit)
            if self.app.has_site():
                found.append(f"{self.name}@{self.app.colour}.socket")
        return sorted(set(found))

    def start(self) -> None:
        """Start what was stopped; systemd waits until the slot's health check has answered 200.

        PergolaError with the journal's end where something does not come up.
        """
        if not self.stopped:
            return
        systemctl("reset-failed", *self.stopped)
        systemctl("start", *self.stopped)
        if down := [unit for unit in self.stopped if not is_active(unit)]:
            raise PergolaError(
                f"{self.name} does not come up on the restored data: {', '.join(down)}",
                f"the end of the journal of {down[-1]}:\n{journal(down[-1], LINES_OF_JOURNAL)}",
            )
        self.stopped = []


class Fence:
    """All of them, kept out and let in again."""

    def __init__(self, found: list[App]) -> None:
        self.closed = [Closed(app) for app in found]

    @contextlib.contextmanager
    def locked(self, patience: Patience = AT_ONCE) -> Iterator[None]:
        """Keep out whatever else changes the server or one of them; HeldError otherwise."""
        places = [SERVER, *(one.app.place for one in self.closed)]
        with lock.locked(places, "a restore of the databases", patience, "restore"):
            yield

    def close(self, notes: Notes) -> None:
        """Show the pages, then stop what could write; which of it is ours is noted before."""
        for one in self.closed:
            one.page_is_ours |= not one.has_page()
        notes.pages = [one.name for one in self.closed if one.page_is_ours]
        notes.save()
        for one in self.closed:
            one.hide()
        for one in self.closed:
            one.plan_stop()
        notes.units = {one.name: one.stopped for one in self.closed if one.stopped}
        notes.save()
        for one in self.closed:
            one.stop()

    def take_over(self, notes: Notes) -> None:
        """Have as ours what a restore that was cut off has closed."""
        for one in self.closed:
            one.page_is_ours = one.name in notes.pages
            one.note_stopped(notes.units.get(one.name, []))

    def open(self) -> None:
        """Start all of them, and take the pages away from those that are ready.

        PergolaError names the others, whose pages stay.
        """
        failed = []
        for one in self.closed:
            try:
                one.start()
            except PergolaError as error:
                failed.append(error)
            else:
                one.show()
        if failed:
            raise PergolaError(
                "; ".join(error.reason for error in failed),
                "\n".join(error.evidence for error in failed),
            )

    def interrupted(self) -> list[str]:
        """Commands of schedules that were ended at their work."""
        return [unit for one in self.closed for unit in one.interrupted]


def is_job(unit: str) -> bool:
    """Whether a unit is a schedule's command at work: it is not begun again by us."""
    timer = UNITS / f"{unit.removesuffix('.service')}.timer"
    return unit.endswith(".service") and timer.exists()


def applications_here() -> list[App]:
    """The applications with a database in this host's PostgreSQL."""
    return [app for app in apps.every() if is_here(app)]


def is_here(app: App) -> bool:
    try:
        return app.has_local_database()
    except NewerError:
        raise
    except PergolaError:  # what nobody can read says of no database
        return False
