"""The applications of this host whose data is in its PostgreSQL: kept away while that is replaced.

Theirs is the program <home>/bin/release (role release), and what it says of units, locks and the
maintenance page. An application is stopped altogether: its processes remember what the database
held before, and no pool survives a server that was stopped.
"""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backups.system import BackupError, last_lines, systemctl, write

HOMES = Path("/srv")
RUN = Path("/run")
PAGES = ("maintenance.htmx.html", "maintenance.html")
LIVE_STATES = ("active", "activating", "reloading")


class Application:
    """One application; `home` is its directory."""

    def __init__(self, home: Path) -> None:
        self.home, self.name = home, home.name
        self.run_dir = RUN / self.name
        self.page_is_ours = False
        self.stopped: list[str] = []
        self.interrupted: list[str] = []

    def program(self, *words: str) -> dict[str, Any]:
        """What the application's own program answers."""
        command = [str(self.home / "bin/release"), *words]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BackupError(f"{' '.join(command)} failed", last_lines(done.stderr))
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep deploys out; BackupError at once while one is at work.

        The file says to the deploy that is refused what it waits for; see releases/lock.py.
        """
        self.run_dir.mkdir(mode=0o755, exist_ok=True)
        with (self.run_dir / ".lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise self.at_work() from None
            held = self.deploy()
            if held and held["until"] > uptime():
                raise self.at_work()
            entry = {
                "run": f"restore/{os.getpid()}",
                "who": os.environ.get("SUDO_USER") or "root",
                "since": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
                "what": "a restore of the databases",
                "phase": "restore",
                # The kernel's lock ends with this process; without it this says nothing.
                "until": 0,
            }
            write(self.run_dir / "deploy.json", json.dumps(entry))
            try:
                yield
            finally:
                (self.run_dir / "deploy.json").unlink(missing_ok=True)

    def deploy(self) -> dict[str, Any]:
        """The deploy that has the lock; empty when none has."""
        try:
            return json.loads((self.run_dir / "deploy.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    def at_work(self) -> BackupError:
        held = {"who": "somebody", "since": "?", "what": "a deploy", **self.deploy()}
        return BackupError(
            f"{held['who']} is at work on {self.name} since {held['since']}: {held['what']}",
            hint="wait for its end. If you know that it is dead: "
            f"sudo {self.home}/bin/release unlock. Nothing was changed",
        )

    # -- the page --------------------------------------------------------------------------------

    def hide(self) -> None:
        """Show the maintenance page, unless one is on: that stays, and afterwards too."""
        lasting = self.home / "live"
        if (lasting / PAGES[-1]).exists():
            return
        self.page_is_ours = True
        if (self.run_dir / PAGES[-1]).exists():  # one for a time: it must not end too soon
            for name in PAGES:
                shutil.copy2(self.run_dir / name, lasting / name)
            return
        self.program("maintenance", "on")

    def show(self) -> None:
        """Take our page away."""
        if self.page_is_ours:
            for name in reversed(PAGES):
                (self.home / "live" / name).unlink(missing_ok=True)
            self.page_is_ours = False

    # -- units -----------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop the slots, processes and schedules, each within the time it has for that."""
        found = [unit for unit in self.units() if unit not in self.stopped]
        self.interrupted += [unit for unit in found if self.is_job(unit)]
        self.stopped += [unit for unit in found if not self.is_job(unit)]
        # All together, and timers among them: nothing starts anything again meanwhile.
        if found:
            systemctl("stop", *found)

    def units(self) -> list[str]:
        """The units that run, and the live slot's, which may just have failed."""
        patterns = [f"{self.name}@*", f"{self.name}.*"]
        listed = systemctl(
            "list-units", "--plain", "--no-legend", f"--state={','.join(LIVE_STATES)}", *patterns
        )
        found = [line.split()[0] for line in listed.splitlines()]
        if self.release():
            found += [f"{self.name}@{self.colour()}.{kind}" for kind in ("socket", "service")]
        return sorted({unit for unit in found if ".maintenance-ends." not in unit})

    def is_job(self, unit: str) -> bool:
        """Whether a unit is a schedule's command at work: it is not begun again by us."""
        timer = Path(f"/etc/systemd/system/{unit.removesuffix('.service')}.timer")
        return unit.endswith(".service") and timer.exists()

    def start(self) -> None:
        """Start what was stopped; systemd waits until the slot's health check has answered 200.

        BackupError with the journal's end where something does not come up.
        """
        if not self.stopped:
            return
        systemctl("reset-failed", *self.stopped)
        systemctl("start", *self.stopped)
        down = [unit for unit in self.stopped if not self.is_up(unit)]
        if down:
            journal = subprocess.run(
                ["journalctl", "--no-pager", "--output=cat", "--lines=15", f"--unit={down[-1]}"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            raise BackupError(
                f"{self.name} does not come up on the restored data: {', '.join(down)}",
                f"the end of the journal of {down[-1]}:\n{journal.stdout.strip()}",
            )
        self.stopped = []

    def is_up(self, unit: str) -> bool:
        return systemctl("is-active", unit).strip() == "active"

    def colour(self) -> str:
        """The live slot's; see releases/store.py."""
        return "green" if (self.home / "live/green").exists() else "blue"

    def release(self) -> str | None:
        """The live release."""
        slot = self.home / "slots" / self.colour()
        return slot.resolve().name if slot.exists() else None


class Fence:
    """All applications of the host, kept out and let in again."""

    def __init__(self, applications: list[Application]) -> None:
        self.applications = applications

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep deploys of all of them out."""
        with contextlib.ExitStack() as locks:
            for application in self.applications:
                locks.enter_context(application.locked())
            yield

    def close(self) -> None:
        """Show the pages, then stop what could write."""
        for application in self.applications:
            application.hide()
        for application in self.applications:
            application.stop()

    def open(self) -> None:
        """Start all of them, and take the pages away from those that are ready.

        BackupError names the others, whose pages stay.
        """
        failed = []
        for application in self.applications:
            try:
                application.start()
            except BackupError as error:
                failed.append(error)
            else:
                application.show()
        if failed:
            raise BackupError(
                "; ".join(error.reason for error in failed),
                "\n".join(error.detail for error in failed),
            )

    def interrupted(self) -> list[str]:
        """Commands of schedules that were ended at their work."""
        return [unit for application in self.applications for unit in application.interrupted]


def applications_here(homes: Path = HOMES) -> list[Application]:
    """The applications with a database in this host's PostgreSQL."""
    found = []
    for file in sorted(homes.glob("*/settings.json")):
        with contextlib.suppress(json.JSONDecodeError):
            if is_local(json.loads(file.read_text()).get("database", "")):
                found.append(Application(file.parent))
    return found


def is_local(conninfo: str) -> bool:
    """Whether libpq's description of a database leads to this host's sockets."""
    hosts = [word.removeprefix("host=") for word in conninfo.split() if word.startswith("host=")]
    return bool(conninfo) and all(host.strip("'").startswith("/") for host in hosts)


def uptime() -> float:
    """Seconds since the start of the system, as the lock of a deploy counts."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
