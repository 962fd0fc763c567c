"""An application on this host: where its parts are, what is live of it, what it can be told.

All that is read here is root's: the links of the slots, the releases' manifests, the settings. What
is done with it does the noun `release` of this very version, whatever /srv/<app>/bin/release is: an
earlier Pergola left a program of its own there.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pergola import lock, postgres
from pergola.documents import Json
from pergola.errors import PergolaError
from pergola.lock import SERVER, Patience, Place
from pergola.records import MANIFEST, SETTINGS, Manifest, Settings
from pergola.system import attempt, journal, listed, run, show, write

HOMES, RUN = Path("/srv"), Path("/run")
LOGS = Path("/var/log/caddy")
PROGRAM = Path(__file__).resolve().parents[1] / "bin/pergola"
Colour = Literal["blue", "green"]
PAGES = ("maintenance.htmx.html", "maintenance.html")
SERVICES = ("valkey",)  # their names; see app/services.py
# Caddy shows it while it is there: from the first settings to the first release that is live.
NOTHING = "nothing.html"
TEMPLATE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="30">
<title>Maintenance</title>
<style>
body {{ font: 1.1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 20vh auto }}
</style>
<h1>Maintenance</h1>
<p>{text}</p>
</html>
"""
NOTHING_YET = "This site is being set up. It will be here shortly."
PAUSE_SECONDS = 45  # less than Caddy waits for an answer's beginning
READY_SECONDS = 120
# A phase of a deploy, such as a migration, is waited for, and so is its next one; a run that was
# killed leaves its lock behind, and says nothing any more.
PATIENCE = Patience(seconds=300, silent=60)


@dataclass(frozen=True)
class App:
    """One application; `home` is its directory."""

    home: Path

    @property
    def name(self) -> str:
        return self.home.name

    @property
    def run_dir(self) -> Path:
        return RUN / self.name

    @property
    def place(self) -> Place:
        """What whoever changes it must hold."""
        return Place(self.name, self.run_dir, f"sudo {self.home}/bin/release unlock")

    # -- what is live ------------------------------------------------------------------------------

    @property
    def colour(self) -> Colour:
        """The slot that is live: Caddy looks at this flag for each request."""
        return "green" if (self.home / "live/green").exists() else "blue"

    @property
    def slot(self) -> Path:
        return self.home / "slots" / self.colour

    @property
    def release(self) -> str | None:
        """The id of the live release; None: none was ever live here."""
        return self.slot.resolve().name if self.is_live() else None

    def is_live(self) -> bool:
        return (self.slot / "release.json").exists()

    def have_nothing_live(self) -> None:
        """Unless something is, have nothing called live, and visitors told so.

        An absent flag means blue, and the first release is started there: until it has passed its
        gate the flag says green, which is empty.
        """
        green = self.home / "slots/green"
        if self.slot.is_symlink() or green.is_symlink():
            return
        page = self.home / "live" / NOTHING
        if not page.exists():
            (self.home / "live/green").touch()
            write(page, TEMPLATE.format(text=NOTHING_YET))

    def has_site(self) -> bool:
        """Whether visitors see anything of it: its releases, or that none is live yet."""
        return not self.is_live() or self.manifest.web

    @property
    def manifest(self) -> Manifest:
        """The live release's; empty where somebody removed that by hand."""
        return MANIFEST.read(self.slot / "release.json") or Manifest()

    @property
    def settings_file(self) -> Path:
        """There from its first deploy to this host on."""
        return self.home / "settings.json"

    @property
    def settings(self) -> Settings:
        """How its releases are made here; what an earlier Pergola did not write is filled in."""
        found = SETTINGS.read(self.settings_file) or Settings()
        return self.completed(found)

    def completed(self, settings: Settings) -> Settings:
        if settings.database is None:  # it was on its own host, where there is PostgreSQL
            there = postgres.CONFIGURATIONS.is_dir()
            settings = replace(settings, database=f"dbname={self.name}" if there else "")
        log = settings.access_log or str(LOGS / f"{self.name}.log")
        return replace(settings, access_log=log)

    @property
    def database(self) -> str:
        """Its database, as libpq describes one; empty: it has none."""
        return self.settings.database or ""

    def has_local_database(self) -> bool:
        """Whether its data is in this host's own PostgreSQL."""
        words = self.database.split()
        hosts = [word.removeprefix("host=") for word in words if word.startswith("host=")]
        return bool(words) and all(host.strip("'").startswith("/") for host in hosts)

    # -- units -------------------------------------------------------------------------------------

    @property
    def live_unit(self) -> str:
        return f"{self.name}@{self.colour}.service"

    def units(self) -> list[str]:
        """What runs of it now: the live slot and its socket, processes, timers, schedules.

        Not its services, such as Valkey: what these have in memory would be lost with a stop.
        """
        names = listed(f"{self.name}@*", f"{self.name}.*")
        # That timer takes a page away that somebody else has put there.
        beside = {service_unit(self.name, one) for one in SERVICES}
        return [name for name in names if ".maintenance-ends." not in name and name not in beside]

    def ready(self) -> None:
        """Wait until the live slot passes its gate; PergolaError when it does not."""
        unit, manifest = self.live_unit, self.manifest
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until:
            if show(unit, "ActiveState") == "active":
                if not manifest.web:
                    return
                gate = attempt(
                    *("timeout", "30", "/usr/bin/python3", "-I", self.home / "lib/gate.py"),
                    *(self.run_dir, self.colour),
                    environment={"MAINPID": show(unit, "MainPID")},
                )
                if gate.returncode == 0:
                    return
            time.sleep(0.5)
        raise PergolaError(f"{self.name} did not become ready", f"{unit}:\n{journal(unit)}")

    # -- what it is told ---------------------------------------------------------------------------

    def call(self, *words: str, who: str = "") -> Json:
        """What the program of its releases answers."""
        by = [f"--who={who}"] if who else []
        answer = json.loads(run(*self.program, *by, *words))
        if not isinstance(answer, dict):
            raise PergolaError(f"`pergola release` answered with {answer!r}")
        return answer

    @property
    def program(self) -> list[object]:
        """The command line of what looks after its releases."""
        return [PROGRAM, "release", f"--app={self.name}"]

    def has_page(self) -> bool:
        """Whether a maintenance page is on, for a time or until it is turned off."""
        return any((folder / PAGES[-1]).exists() for folder in (self.home / "live", self.run_dir))

    def pause(self) -> str:
        """Hold its requests; why that cannot be, or empty."""
        done = attempt(*self.program, "pause", "on", "--for", f"{PAUSE_SECONDS}s")
        if not done.returncode:
            return ""
        return (done.stderr.strip().splitlines() or ["its program failed"])[0]

    def go_on(self) -> None:
        attempt(*self.program, "pause", "off")


def service_unit(app: str, name: str) -> str:
    """The unit of one of its services.

    Files `<app>.*` are a release's, which removes those that it does not know; this looks like a
    slot's, of which none is called so.
    """
    return f"{app}@{name}.service"


def every() -> list[App]:
    """The applications of this host that have a program."""
    return [App(path.parent.parent) for path in sorted(HOMES.glob("*/bin/release"))]


def live() -> list[App]:
    """Those of which some release is live."""
    return [app for app in every() if app.is_live()]


@contextlib.contextmanager
def locked(what: str, patience: Patience = PATIENCE) -> Iterator[None]:
    """Keep everything else that changes the server or an application out; HeldError otherwise.

    `what` is told to whoever is refused meanwhile.
    """
    with lock.locked([SERVER, *(app.place for app in every())], what, patience, "restart"):
        yield


@contextlib.contextmanager
def paused(must: bool = True) -> Iterator[dict[str, str]]:
    """Hold the requests of what is live, and let it go on whatever happens.

    Yields why an application could not be held, by its name; PergolaError for these when all
    `must`.
    """
    # Importing it takes as long as all else that a call needs, and few calls need it.
    from concurrent.futures import ThreadPoolExecutor

    apps = live()
    with ThreadPoolExecutor(max(len(apps), 1)) as pool:
        try:
            # All at once: the first one's requests must not wait for the last one's to end.
            said = dict(zip((app.name for app in apps), pool.map(App.pause, apps), strict=True))
            failed = {name: why for name, why in said.items() if why}
            if failed and must:
                raise PergolaError(
                    "requests would fail, as they cannot be held: "
                    + "; ".join(f"{name}: {why}" for name, why in failed.items()),
                    hint="run deploy.yml with the inventory of that application first",
                )
            yield failed
        finally:
            # Also one whose pause failed half-way.
            list(pool.map(App.go_on, apps))
