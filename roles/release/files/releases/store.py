"""What is where: releases, slots, the flag file, the ledger.

/srv/<app>/
  releases/<id>/     release.json (the manifest), environment, credentials/, code/, venv/, assets/,
                     ready
  incoming/          <id>.tar.gz, as the control node sent it
  slots/             blue, green: links to releases; live: a link to the live one of these
  live/green         exists: green is live; absent: blue is. Caddy looks at it for each request
  assets/            static files of all kept releases
  ledger.jsonl       one line for each thing that was done
"""

import contextlib
import datetime
import functools
import json
import os
import shutil
from pathlib import Path
from typing import Any

from releases.system import ReleaseError, persist, show

COLOURS = ("blue", "green")


def other(colour: str) -> str:
    return COLOURS[1 - COLOURS.index(colour)]


class Store:
    """One application's releases below `home`."""

    def __init__(self, home: Path, who: str = "") -> None:
        self.home, self.who = home, who
        self.app = home.name
        self.run_dir = Path("/run") / self.app

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """How releases are made on this host: role release's __release_settings."""
        try:
            return json.loads((self.home / "settings.json").read_text())
        except FileNotFoundError:
            raise ReleaseError(
                "start", f"nothing of {self.app} was deployed to this host"
            ) from None

    # -- releases and slots ----------------------------------------------------------------------

    def path(self, release: str) -> Path:
        return self.home / "releases" / release

    def manifest(self, release: str) -> dict[str, Any]:
        try:
            return json.loads((self.path(release) / "release.json").read_text())
        except FileNotFoundError:
            kept = ", ".join(sorted(p.name for p in (self.home / "releases").iterdir())) or "none"
            raise ReleaseError(
                "start", f"there is no release {release} on this host", f"kept releases: {kept}"
            ) from None

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

    def live_colour(self) -> str:
        return "green" if (self.home / "live/green").exists() else "blue"

    def in_slot(self, colour: str) -> str | None:
        """The id of the release that a slot points to."""
        slot = self.home / "slots" / colour
        return slot.resolve().name if slot.is_symlink() and slot.exists() else None

    def live(self) -> str | None:
        return self.in_slot(self.live_colour())

    def flip(self, colour: str) -> None:
        """Make a slot the live one: the whole switch."""
        point(self.home / "slots/live", Path(colour))
        persist(self.home / "slots", self.home / "releases")
        flag = self.home / "live/green"
        if colour == "green":
            flag.touch()
        else:
            flag.unlink(missing_ok=True)
        persist(flag.parent)

    def unit(self, colour: str, kind: str = "service") -> str:
        return f"{self.app}@{colour}.{kind}"

    def describe_live(self) -> str:
        release = self.live()
        if release is None:
            return f"nothing: no release of {self.app} was ever live on this host"
        state = show(self.unit(self.live_colour()), "ActiveState")
        commit = self.manifest(release).get("describe", "")
        return f"{release} ({commit}) in slot {self.live_colour()}, {state}"

    # -- ledger ----------------------------------------------------------------------------------

    def ledger(self) -> list[dict[str, Any]]:
        """Every line of the ledger, oldest first; a line cut off by a power loss is left out."""
        entries = []
        with contextlib.suppress(FileNotFoundError):
            for line in (self.home / "ledger.jsonl").read_text().splitlines():
                with contextlib.suppress(json.JSONDecodeError):
                    entries.append(json.loads(line))
        return entries

    def record(self, action: str, release: str, outcome: str, **more: object) -> None:
        """Append a line.

        action: deploy, rollback, found, run; outcome: live, refused, returned (had been live), or a
        command's exit code.
        """
        commit = ""
        with contextlib.suppress(ReleaseError):
            commit = self.manifest(release)["commit"]
        entry = {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "action": action,
            "outcome": outcome,
            "who": self.who,
            "to": release,
            "commit": commit,
            **more,
        }
        path = self.home / "ledger.jsonl"
        cut_off = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size
        with path.open("a") as ledger:
            ledger.write(("\n" if cut_off else "") + json.dumps(entry) + "\n")
            ledger.flush()
            os.fsync(ledger.fileno())

    def good(self) -> list[str]:
        """Releases that went live and were not rolled back from since, most recent first."""
        good: list[str] = []
        for entry in self.ledger():
            if entry["outcome"] != "live":
                continue
            release, left = entry["to"], entry.get("from")
            went_back = release in good and left in good and good.index(release) > good.index(left)
            if entry["action"] == "rollback" and went_back:
                good.remove(left)
            good = [release, *(other for other in good if other != release)]
        return [release for release in good if self.is_ready(release)]

    def prune(self, began: float) -> list[str]:
        """Remove what is neither in a slot nor among the last good releases.

        The live one and the one before it stay, whatever the setting says. An archive that came
        after this deploy began is the next one's, which waits for its turn.
        """
        kept = set(self.good()[: max(2, self.settings["keep"])])
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

    # -- assets ----------------------------------------------------------------------------------

    # A file in assets/ is a hard link to the file in the release that brought it, so the count of
    # links says whether a kept release still uses it.

    def publish_assets(self, release: str) -> None:
        """Put a release's static files where Caddy serves them, each of them at once."""
        source = self.path(release) / "assets"
        for path in sorted(source.rglob("*")):
            shared = self.home / "assets" / path.relative_to(source)
            if path.is_dir():
                shared.mkdir(mode=0o755, exist_ok=True)
            elif path.is_file() and not (shared.exists() and shared.samefile(path)):
                same = shared.is_file() and shared.read_bytes() == path.read_bytes()
                link(shared, path) if same else link(path, shared)

    def prune_assets(self) -> None:
        """Remove static files that no kept release uses."""
        for path in sorted((self.home / "assets").rglob("*"), reverse=True):
            if path.is_dir():
                with contextlib.suppress(OSError):  # not empty
                    path.rmdir()
            elif path.stat().st_nlink == 1:
                path.unlink()


def point(link: Path, target: Path) -> None:
    """Make a symlink point elsewhere, at once."""
    fresh = link.with_name(f".{link.name}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)


def link(path: Path, to: Path) -> None:
    """Make `to` a hard link to `path`, in the place of what is there."""
    fresh = to.with_name(f".{to.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.hardlink_to(path)
    fresh.replace(to)
