"""The two slots: one serves, the other is idle, or is about to take over or has just done so."""

import contextlib
import re
import time

from pergola.apps import Colour
from pergola.errors import PergolaError
from pergola.people import shortened
from pergola.records import MANIFEST, Line
from pergola.release.releases import Releases, other, point
from pergola.release.remedies import to_do
from pergola.release.remedies.seen import Seen
from pergola.release.servers import kind
from pergola.system import UNITS, disable, enable, journal, persist, reread, show, systemctl, write

# A server that is told its port ($PORT) is given one of those that the kernel hands out.
MAY_OPEN_A_PORT = "[Service]\nSocketBindAllow=tcp:32768-60999\n"
HOW_IT_ENDED = "ExecMainCode,ExecMainStatus,Result"


class Slots:
    """Starts and stops the slots of one application."""

    def __init__(self, releases: Releases) -> None:
        self.releases, self.app = releases, releases.app

    def units(self, colour: Colour) -> list[str]:
        """Its units; the socket first, if what is in it serves requests."""
        manifest = MANIFEST.read(self.app.home / "slots" / colour / "release.json")
        socket = [self.releases.unit(colour, "socket")] if manifest is None or manifest.web else []
        return [*socket, self.releases.unit(colour)]

    def serve(self) -> bool:
        """Whether the slots' unit, as it is written now, serves requests."""
        unit = UNITS / f"{self.app.name}@.service"
        return not unit.exists() or "\nRemainAfterExit=" not in unit.read_text()

    def reread(self) -> None:
        reread(*self.units("blue"), *self.units("green"))

    def is_current(self, colour: Colour) -> bool:
        """Whether the slot runs, and no file that it was started with is newer than its process."""
        units = self.units(colour)
        states = systemctl("show", "--property=ActiveState", "--value", *units).stdout
        if states.split() != ["active"] * len(units):
            return False
        unit = self.releases.unit(colour)
        started = int(show(unit, "ExecMainStartTimestampMonotonic") or 0) / 1e6
        # Compare ages, not dates: the wall clock may have been set in between.
        age_of_process = time.clock_gettime(time.CLOCK_MONOTONIC) - started
        files = [UNITS / re.sub("@.*[.]", "@.", name) for name in units]
        files += (self.app.home / "lib/launcher").rglob("*.py")
        return all(time.time() - path.stat().st_mtime > age_of_process for path in files)

    def start(self, colour: Colour, release: str) -> None:
        """Start a slot on a release; systemd runs the gate and kills what does not pass it."""
        self.stop(colour)
        self.allow_port(colour, release)
        point(self.app.home / "slots" / colour, self.releases.path(release))
        answer = self.app.run_dir / f"{colour}.answer"
        answer.unlink(missing_ok=True)
        unit = self.releases.unit(colour)
        began, since = time.monotonic(), time.time()
        # The service pulls its socket in.
        if systemctl("start", unit).returncode == 0:
            return
        # At once: systemd starts it again, and forgets.
        result = systemctl("show", f"--property={HOW_IT_ENDED}", unit).stdout
        seconds = time.monotonic() - began
        # Not of the latest run alone: systemd may have begun another, which has said nothing yet.
        raise self.refusal(colour, release, seconds, result, journal(unit, 1000, since))

    def allow_port(self, colour: Colour, release: str) -> None:
        """Let the slot open a port, or no longer: as this release is served, not the last one."""
        manifest = self.releases.manifest(release)
        listens = manifest.server == "command" and kind(manifest.server_command) == "port"
        path = UNITS / f"{self.releases.unit(colour)}.d" / "50-port.conf"
        if listens == path.exists():
            return
        if listens:
            path.parent.mkdir(exist_ok=True)
            write(path, MAY_OPEN_A_PORT, 0o644)
        else:
            path.unlink()
            with contextlib.suppress(OSError):  # somebody else has a file there too
                path.parent.rmdir()
        systemctl("daemon-reload")

    def refusal(
        self, colour: Colour, release: str, seconds: float, result: str, lines: str
    ) -> PergolaError:
        """Stop a slot that did not become ready; what there is to say of it, what to do first."""
        unit, answer = self.releases.unit(colour), self.app.run_dir / f"{colour}.answer"
        said = answer.read_text() if answer.exists() else "none: it never answered"
        manifest = self.releases.manifest(release)
        systemctl("kill", "--signal=KILL", unit)
        self.stop(colour)
        code = self.releases.path(release) / "code" / manifest.directory
        found = to_do(Seen(manifest, lines, said, result, self.app.home, code))
        return PergolaError(
            f"{release} did not become ready in {seconds:.0f} s",
            "\n".join(
                [
                    *filter(None, [found]),
                    f"journal of {unit}:\n{shortened(lines)}",
                    f"last health response: {said.strip()}",
                ]
            ),
            hint=f"{'do that' if found else 'correct it, commit'} and deploy again. The refused "
            "release got no request. To look at what is kept of it: "
            f"sudo {self.app.home}/bin/release show {release}",
        )

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
    active = ("active", "activating")
    return [unit for unit in units if is_enabled(unit) or show(unit, "ActiveState") in active]


def is_enabled(unit: str) -> bool:
    """Not its UnitFileState, which systemd remembers until it rereads its unit files."""
    return systemctl("is-enabled", unit).returncode == 0
