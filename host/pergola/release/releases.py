"""What is where: releases, slots, the flag file, the ledger.

/srv/<app>/
  releases/<id>/     release.json (the manifest), environment, credentials/, code/, venv/, assets/,
                     ready
  incoming/          <id>.tar.gz, as the control node sent it
  slots/             blue, green: links to releases; live: a link to the live one of these
  live/green         exists: green is live; absent: blue is. Caddy looks at it for each request
  live/nothing.html  exists: nothing was ever live; visitors see it, with 503
  assets/            static files of all kept releases
  bytecode/          byte-code by the content that it was compiled from
  ledger.jsonl       one line for each thing that was done
"""

import contextlib
import datetime
import functools
import os
import shutil
from dataclasses import replace
from pathlib import Path

from pergola.apps import NOTHING, App, Colour
from pergola.errors import PergolaError
from pergola.records import AFTER, LINE, MANIFEST, SETTINGS, Line, Manifest, Settings
from pergola.release import assets
from pergola.system import persist, show

COLOURS: tuple[Colour, Colour] = ("blue", "green")


def other(colour: Colour) -> Colour:
    return "green" if colour == "blue" else "blue"


class Releases:
    """The releases of one application on this host; `who` is written into the ledger."""

    def __init__(self, app: App, who: str = "") -> None:
        self.app, self.home, self.who = app, app.home, who

    @functools.cached_property
    def settings(self) -> Settings:
        """How releases are made on this host; PergolaError before the first deploy."""
        if not (self.home / "settings.json").exists():
            raise PergolaError(f"nothing of {self.app.name} was deployed to this host")
        return self.app.settings

    def use(self, settings: Settings) -> None:
        """Go by these settings from here on."""
        self.settings = self.app.completed(settings)

    def keep_settings(self, settings: Settings) -> bool:
        """Store how releases are made on this host; return whether that is new."""
        self.use(settings)
        path = self.home / "settings.json"
        if SETTINGS.read(path) == settings:
            return False
        SETTINGS.write(path, settings, 0o600)
        return True

    @property
    def host(self) -> str:
        """The name by which people know this host: the inventory's, or its own before a deploy."""
        try:
            return self.settings.host or os.uname().nodename
        except (PergolaError, OSError):
            return os.uname().nodename

    # -- releases and slots ------------------------------------------------------------------------

    def path(self, release: str) -> Path:
        return self.home / "releases" / release

    def manifest(self, release: str) -> Manifest:
        """What a release is made of; PergolaError, with those that are kept, when there is none."""
        found = MANIFEST.read(self.path(release) / "release.json")
        if found is None:
            kept = ", ".join(sorted(p.name for p in (self.home / "releases").iterdir())) or "none"
            raise PergolaError(
                f"there is no release {release} on this host", f"kept releases: {kept}"
            )
        return found

    def is_ready(self, release: str) -> bool:
        """Whether a release was prepared completely."""
        return (self.path(release) / "ready").exists()

    def lost_python(self, release: str) -> str:
        """The Python that a release was made for, when the system has it no more; else empty."""
        venv = self.path(release) / "venv"
        interpreter = (venv / "bin/python").resolve()
        made_for = [path.name for path in (venv / "lib").glob("python3.*")]
        if not made_for or (interpreter.exists() and interpreter.name in made_for):
            return ""
        return made_for[0].replace("python", "Python ")

    def in_slot(self, colour: Colour) -> str | None:
        """The id of the release that a slot points to."""
        slot = self.home / "slots" / colour
        return slot.resolve().name if slot.is_symlink() and slot.exists() else None

    def live(self) -> str | None:
        return self.in_slot(self.app.colour)

    def must_live(self) -> str:
        """The live release; PergolaError when there is none."""
        release = self.live()
        if release is None:
            raise PergolaError(f"no release yet: none of {self.app.name} is live on this host")
        return release

    def flip(self, colour: Colour) -> None:
        """Make a slot the live one: the whole switch."""
        point(self.home / "slots/live", Path(colour))
        persist(self.home / "slots", self.home / "releases")
        flag = self.home / "live/green"
        if colour == "green":
            flag.touch()
        else:
            flag.unlink(missing_ok=True)
        (flag.parent / NOTHING).unlink(missing_ok=True)
        persist(flag.parent)

    def unit(self, colour: Colour, kind: str = "service") -> str:
        return f"{self.app.name}@{colour}.{kind}"

    def describe_live(self) -> str:
        release = self.live()
        if release is None:
            return f"no release yet: none of {self.app.name} was ever live on this host"
        state = show(self.app.live_unit, "ActiveState")
        commit = self.manifest(release).describe
        return f"{release} ({commit}) in slot {self.app.colour}, {state}"

    # -- ledger ------------------------------------------------------------------------------------

    def ledger(self) -> list[Line]:
        """Every line of the ledger, oldest first; a line cut off by a power loss is left out."""
        return LINE.lines(self.home / "ledger.jsonl", forgiving=True)

    def record(self, line: Line) -> None:
        """Add a line: now, by whoever called, with the commit of its release."""
        commit = line.commit
        if not commit:
            with contextlib.suppress(PergolaError):
                commit = self.manifest(line.to).commit
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        LINE.add(
            self.home / "ledger.jsonl", replace(line, time=now, who=self.who, commit=commit), 0o600
        )

    def has_migrated_after(self, release: str) -> bool:
        """Whether what comes after the switch has succeeded since the release was last deployed."""
        for line in reversed(self.ledger()):
            if line.to == release and line.action == AFTER and line.outcome == "done":
                return True
            if line.to == release and line.action == "deploy" and line.outcome == "live":
                return False
        return False

    def good(self) -> list[str]:
        """Releases that went live and were not rolled back from since, most recent first."""
        good: list[str] = []
        for line in self.ledger():
            if line.outcome != "live":
                continue
            release, left = line.to, line.from_
            went_back = release in good and left in good and good.index(release) > good.index(left)
            if line.action == "rollback" and left and went_back:
                good.remove(left)
            good = [release, *(other for other in good if other != release)]
        return [release for release in good if self.is_ready(release)]

    def prune(self, began: float) -> list[str]:
        """Remove what is neither in a slot nor among the last good releases.

        The live one and the one before it stay, whatever the setting says. An archive that came
        after this deploy began (seconds since 1970) is the next one's, which waits for its turn.
        """
        kept = set(self.good()[: max(2, self.settings.keep)])
        kept |= {release for colour in COLOURS if (release := self.in_slot(colour))}
        removed = []
        for path in (self.home / "releases").iterdir():
            if path.name not in kept:
                shutil.rmtree(path)
                removed.append(path.name)
        for path in (self.home / "incoming").iterdir():
            if path.name.removesuffix(".tar.gz") not in kept and path.stat().st_mtime < began:
                path.unlink()
        self.prune_assets()
        return removed

    # -- assets ------------------------------------------------------------------------------------

    def publish_assets(self, release: str) -> None:
        assets.publish(self.path(release) / "assets", self.home / "assets")

    def prune_assets(self) -> None:
        assets.prune(self.home / "assets")


def point(link: Path, target: Path) -> None:
    """Make a symlink point elsewhere, at once."""
    fresh = link.with_name(f".{link.name}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)
