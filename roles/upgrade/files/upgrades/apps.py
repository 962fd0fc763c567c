"""The applications of this host: each has its own program, /srv/<app>/bin/release."""

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from upgrades.system import UpgradeError, attempt, journal, run, show, systemctl

HOMES = Path("/srv")
PAUSE_SECONDS = 45  # the program refuses more than 50: Caddy waits no longer
READY_SECONDS = 120
TEXT = "We are updating our database. This site will be back in a moment."


class App:
    """One application, of which some release is live."""

    def __init__(self, home: Path) -> None:
        self.home, self.name = home, home.name

    def call(self, *arguments: str) -> dict[str, Any]:
        """Have its program do something."""
        return json.loads(run(self.home / "bin/release", "--who=pergola-upgrade", *arguments))

    def status(self) -> dict[str, Any]:
        return self.call("status")

    def live_unit(self) -> str:
        return f"{self.name}@{self.status()['slot']}.service"

    def units(self) -> list[str]:
        """What runs of it now: the live slot and its socket, processes, timers, schedules."""
        listed = ["list-units", "--plain", "--no-legend", "--state=active,activating"]
        said = systemctl(*listed, f"{self.name}@*", f"{self.name}.*").stdout
        names = [line.split()[0] for line in said.splitlines() if line.strip()]
        # That timer takes a page away that somebody else has put there.
        return [name for name in names if ".maintenance-ends." not in name]

    def ready(self) -> None:
        """Wait until the live slot passes its gate; UpgradeError when it does not."""
        unit, manifest = self.live_unit(), self.manifest()
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until:
            if show(unit, "ActiveState") == "active":
                gate = attempt(
                    *("timeout", "30", "/usr/bin/python3", "-I", self.home / "lib/gate.py"),
                    *(f"/run/{self.name}", unit.partition("@")[2].partition(".")[0]),
                    environment={
                        "MAINPID": show(unit, "MainPID"),
                        "PERGOLA_HEALTH_PATH": manifest.get("health_path", "/"),
                        "PERGOLA_DOMAIN": manifest.get("domain", "localhost"),
                    },
                )
                if gate.returncode == 0:
                    return
            time.sleep(0.5)
        raise UpgradeError(f"{self.name} did not become ready", f"{unit}:\n{journal(unit)}")

    def manifest(self) -> dict[str, Any]:
        return json.loads((self.home / "slots/live/release.json").read_text())


def every() -> list[App]:
    """All applications that have a live release."""
    homes = [path.parent.parent for path in sorted(HOMES.glob("*/bin/release"))]
    return [App(home) for home in homes if (home / "slots/live/release.json").exists()]


@contextmanager
def held(apps: Sequence[App]) -> Iterator[None]:
    """Let the requests of some applications wait in their sockets' queues, then go on."""
    with ThreadPoolExecutor(max(1, len(apps))) as pool:
        # All at once: the first one's requests must not wait for the last one's to end.
        on = lambda app: app.call("pause", "on", f"--for={PAUSE_SECONDS}s")  # noqa: E731
        try:
            list(pool.map(on, apps))
            yield
        finally:
            list(pool.map(lambda app: app.call("pause", "off"), apps))


def close(app: App) -> bool:
    """Show the maintenance page, unless there is one already; return whether it is ours."""
    if app.status()["maintenance"] != "off":
        return False
    app.call("maintenance", "on", f"--message={TEXT}")
    return True
