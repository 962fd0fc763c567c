"""The two slots: one serves, the other is idle, or is about to take over or has just done so."""

import re
import time

from pergola.apps import Colour
from pergola.errors import PergolaError
from pergola.records import Line
from pergola.release.commands import refused
from pergola.release.releases import Releases, other, point
from pergola.system import UNITS, disable, enable, journal, persist, reread, show, systemctl

# How Uvicorn says that the module, or the name in it, is not there.
NO_APPLICATION = re.compile(r"Error loading ASGI app|Import string .* must be in format")

# What an application answers at a path that it does not have, or not for everybody.
NO_HEALTH_PATH = re.compile(r"3\d\d |40[1345] ")


class Slots:
    """Starts and stops the slots of one application."""

    def __init__(self, releases: Releases) -> None:
        self.releases, self.app = releases, releases.app

    def units(self, colour: Colour) -> list[str]:
        return [self.releases.unit(colour, "socket"), self.releases.unit(colour)]

    def reread(self) -> None:
        reread(*self.units("blue"), *self.units("green"))

    def is_current(self, colour: Colour) -> bool:
        """Whether the slot runs, and no file that it was started with is newer than its process."""
        states = systemctl("show", "--property=ActiveState", "--value", *self.units(colour)).stdout
        if states.split() != ["active", "active"]:
            return False
        unit = self.releases.unit(colour)
        started = int(show(unit, "ExecMainStartTimestampMonotonic") or 0) / 1e6
        # Compare ages, not dates: the wall clock may have been set in between.
        age_of_process = time.clock_gettime(time.CLOCK_MONOTONIC) - started
        files = [UNITS / f"{self.app.name}@.{kind}" for kind in ("service", "socket")]
        files.append(self.app.home / "lib/launcher/serve.py")
        return all(time.time() - path.stat().st_mtime > age_of_process for path in files)

    def start(self, colour: Colour, release: str) -> None:
        """Start a slot on a release; systemd runs the gate and kills what does not pass it."""
        self.stop(colour)
        point(self.app.home / "slots" / colour, self.releases.path(release))
        answer = self.app.run_dir / f"{colour}.answer"
        answer.unlink(missing_ok=True)
        unit = self.releases.unit(colour)
        began = time.monotonic()
        # The service pulls its socket in.
        if systemctl("start", unit).returncode == 0:
            return
        seen = answer.read_text() if answer.exists() else "none: it never answered"
        lines = journal(unit)
        systemctl("kill", "--signal=KILL", unit)
        self.stop(colour)
        raise PergolaError(
            f"{release} did not become ready in {time.monotonic() - began:.0f} s",
            f"last health response: {seen}\njournal of {unit}:\n{lines}",
            hint=f"{self.remedy(release, lines, seen)}. The refused release got no request. "
            f"To look at what is kept of it: sudo {self.app.home}/bin/release show {release}"
            f"{refused(lines)}",
        )

    def remedy(self, release: str, lines: str, seen: str) -> str:
        """What to correct, by what a slot's workers wrote while they started, and its answer."""
        manifest = self.releases.manifest(release)
        if NO_APPLICATION.search(lines):
            return (
                f"Setting: app_asgi: the release has no '{manifest.asgi}'; correct it and deploy "
                "again"
            )
        if NO_HEALTH_PATH.match(seen):
            return (
                f"Setting: app_health_path: the release answers {seen[:3]} at "
                f"'{manifest.health_path}'; name a path that answers 200 when it is ready, and "
                "deploy again"
            )
        return "correct it, commit and deploy again"

    def stop(self, colour: Colour, wait: bool = True) -> None:
        """Stop a slot gracefully. Socket and service together, or a connection starts it again."""
        units = self.units(colour)
        systemctl("stop", *([] if wait else ["--no-block"]), *units)
        if wait:
            systemctl("reset-failed", *units)

    def drained(self) -> bool:
        """Write down that the idle slot was killed at its time limit; whether that was so.

        By then its deploy has ended, as nobody is kept waiting for a drain. It is that deploy's
        to be looked at, and not a unit's that failed for good.
        """
        colour = other(self.app.colour)
        unit = self.releases.unit(colour)
        release = self.releases.in_slot(colour)
        shown = systemctl("show", "--property=ActiveState,Result", "--value", unit).stdout.split()
        if release is None or sorted(shown) != ["failed", "timeout"]:
            return False
        systemctl("reset-failed", unit)
        limit = show(unit, "TimeoutStopUSec")
        reason = f"it had not ended after {limit}: what it was still answering was cut off"
        self.releases.record(Line(action="drain", to=release, outcome="killed", reason=reason))
        return True

    def switch(self, colour: Colour) -> None:
        """Make a slot the live one, now and after a boot."""
        # A boot after a power loss must find the live slot enabled, whenever it happens.
        enable(*self.units(colour))
        persist(UNITS, *UNITS.glob("*.wants"))
        self.releases.flip(colour)

    def retire(self, colour: Colour) -> None:
        """Stop the slot that is not live any more, without waiting for its last requests."""
        disable(*self.units(colour))
        self.stop(colour, wait=False)


def left(*units: str) -> list[str]:
    """Those of some units that run, or would at the next boot."""
    found = []
    for unit in units:
        # Not its UnitFileState, which systemd remembers until it rereads its unit files.
        enabled = systemctl("is-enabled", unit).returncode == 0
        if enabled or show(unit, "ActiveState") in ("active", "activating"):
            found.append(unit)
    return found
