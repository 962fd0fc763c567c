"""The two slots: one serves, the other is idle, or is about to take over or has just done so."""

import time
from pathlib import Path

from releases.store import Store, point
from releases.system import UNITS, ReleaseError, journal, persist, reread_units, show, systemctl


class Slots:
    """Starts and stops the slots of one application."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def units(self, colour: str) -> list[str]:
        return [self.store.unit(colour, "socket"), self.store.unit(colour)]

    def reread(self) -> None:
        reread_units(*self.units("blue"), *self.units("green"))

    def is_current(self, colour: str) -> bool:
        """Whether the slot runs, and no file that it was started with is newer than its process."""
        unit = self.store.unit(colour)
        states = systemctl("show", "--property=ActiveState", "--value", *self.units(colour)).stdout
        if states.split() != ["active", "active"]:
            return False
        started = int(show(unit, "ExecMainStartTimestampMonotonic") or 0) / 1e6
        # Compare ages, not dates: the wall clock may have been set in between.
        age_of_process = time.clock_gettime(time.CLOCK_MONOTONIC) - started
        files = [Path(f"/etc/systemd/system/{self.store.app}@.{k}") for k in ("service", "socket")]
        files.append(self.store.home / "lib/launcher/serve.py")
        return all(time.time() - path.stat().st_mtime > age_of_process for path in files)

    def start(self, colour: str, release: str) -> None:
        """Start a slot on a release; systemd runs the gate and kills what does not pass it."""
        self.stop(colour)
        point(self.store.home / "slots" / colour, self.store.path(release))
        answer = self.store.run_dir / f"{colour}.answer"
        answer.unlink(missing_ok=True)
        unit = self.store.unit(colour)
        began = time.monotonic()
        # The service pulls its socket in.
        if systemctl("start", unit).returncode == 0:
            return
        seen = answer.read_text() if answer.exists() else "none: it never answered"
        lines = journal(unit)
        systemctl("kill", "--signal=KILL", unit)
        self.stop(colour)
        raise ReleaseError(
            "gate",
            f"{release} did not become ready in {time.monotonic() - began:.0f} s",
            f"last health response: {seen}\njournal of {unit}:\n{lines}",
            "the refused release got no request; mend it, commit and deploy again. To look at what "
            f"is kept of it: sudo {self.store.home}/bin/release show {release}",
        )

    def stop(self, colour: str, wait: bool = True) -> None:
        """Stop a slot gracefully. Socket and service together, or a connection starts it again."""
        units = self.units(colour)
        systemctl("stop", *([] if wait else ["--no-block"]), *units)
        if wait:
            systemctl("reset-failed", *units)

    def switch(self, colour: str) -> None:
        """Make a slot the live one, now and after a boot."""
        # A boot after a power loss must find the live slot enabled, whenever it happens.
        systemctl("enable", *self.units(colour))
        persist(UNITS, *UNITS.glob("*.wants"))
        self.store.flip(colour)

    def retire(self, colour: str) -> None:
        """Stop the slot that is not live any more, without waiting for its last requests."""
        systemctl("disable", *self.units(colour))
        self.stop(colour, wait=False)
