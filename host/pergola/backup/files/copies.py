"""The copies of other servers' files that this host keeps, in copies/files/SERVER/APPLICATION.

This host fetches them, each hour, and a server can do nothing to them: its client only reads here.
What the server has no more is kept for as long as backups are.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pergola.backup.files.make import alone, collected, together
from pergola.backup.files.mirror import Mirror, digest, files, rank
from pergola.backup.files.readers import of_root, share
from pergola.backup.files.remote import Remote, reached, told
from pergola.backup.files.repositories import APP
from pergola.backup.settings import Settings
from pergola.errors import PergolaError
from pergola.people import DAY, size
from pergola.results import recorded
from pergola.system import write

CONFIGURATIONS = Path("/etc/pgbackrest/conf.d")
NAMED = 5
NONE = "no server has backups of applications' files"
HINT = """\
this host did not do that: see to the server first (docs/backups.md, "When the server is in somebody
else's hands"). If it was meant, remove the copy, and the next run makes another:
sudo rm -r {place}"""


@dataclass
class Copy:
    """The copy of one application's repository. `days`: how long it keeps what has gone there."""

    server: str
    app: str
    remote: Remote
    place: Path
    days: int

    def keep(self, now: float) -> str:
        """Fetch what is new, and drop what has gone for long; a sentence on it.

        PergolaError says what is wrong: nothing is dropped then.
        """
        self.place.mkdir(mode=0o750, exist_ok=True)
        mirror = Mirror(self.remote, self.place, began=now)
        mirror.look()
        if self.is_another(mirror):
            raise self.refused(["the server has begun another repository in its place"])
        new = mirror.fetch()
        have = mirror.have()
        gone = self.note_gone(have.keys() - mirror.listed.keys(), now)
        if wrong := [*changed(mirror, have), *vanished(self.place, gone, mirror.listed)]:
            raise self.refused(wrong)
        # The other way round than they were written: nothing names what is not there.
        for path in sorted(gone, key=rank, reverse=True):
            if gone[path] < now - self.days * DAY:
                (self.place / path).unlink()
        total = size(sum(have.values()))
        return f"{self.app} of {self.server}: {len(have)} files ({total}), {new} of them new"

    def is_another(self, mirror: Mirror) -> bool:
        """Whether the server has there no more what this is the copy of."""
        ours = (self.place / "config").exists()
        return ours and "config" in mirror.listed and not mirror.is_same()

    def note_gone(self, gone: set[str], now: float) -> dict[str, float]:
        """Since when the server has each of these files no more."""
        file = self.place.with_name(f"{self.app}.gone.json")
        before = json.loads(file.read_text()) if file.exists() else {}
        since = {path: before.get(path, now) for path in sorted(gone)}
        if since != before:
            write(file, json.dumps(since, indent=1) + "\n", 0o600)
        return since

    def refused(self, wrong: list[str]) -> PergolaError:
        more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        says = f"{'; '.join(wrong[:NAMED])}{more}"
        return PergolaError(
            f"the copy of the files of {self.app} of {self.server}: {says}",
            hint=HINT.format(place=self.place),
        )


def changed(mirror: Mirror, have: Mapping[str, int]) -> list[str]:
    """What is not, or no more, what its name says."""
    wrong = [f"{path} {why}" for path, why in mirror.refused.items()]
    others = (path for path, count in have.items() if mirror.listed.get(path, count) != count)
    return wrong + [f"{path} was replaced by another file" for path in others]


def vanished(place: Path, gone: Mapping[str, float], listed: Mapping[str, int]) -> list[str]:
    """What the server has no more although nobody removes it, or not yet: backups go by their age.

    Those that came in one hour are of one age.
    """
    if gone and not listed:
        return ["the server has nothing of it any more"]
    left = [path for path in listed if path.startswith("snapshots/") and (place / path).exists()]
    oldest = min(((place / path).stat().st_mtime for path in left), default=0)
    return [
        f"{path} has vanished there"
        for path in gone
        if path.startswith(("config", "keys/"))
        or (path.startswith("snapshots/") and (place / path).stat().st_mtime > oldest)
    ]


# -- those of all servers --------------------------------------------------------------------------


def fetch(stanzas: Sequence[Settings], now: float) -> None:
    """Copy the files of all servers; PergolaError says what could not be, or was done to them."""
    with recorded("files-copy") as result, alone(), together() as failed:
        said: list[str] = []
        for settings in filter(are_kept, stanzas):
            with collected(failed):
                for copy in of_server(settings):
                    with collected(failed):
                        said.append(copy.keep(now))
        result.says = "; ".join(said) or NONE


def of_server(settings: Settings) -> Iterator[Copy]:
    """Those of the applications that a server has, or had; PergolaError: it does not answer."""
    file = CONFIGURATIONS / f"{settings.stanza}.conf"
    (remote,) = reached(file, settings.stanza, settings.files)
    (repository,) = settings.local
    days = int(told(file)[settings.stanza][f"repo{repository.number}-retention-full"])
    home = home_of(settings)
    if apps := {name for name in remote.folders() if APP.fullmatch(name)} | kept(home):
        of_root(home)
        share(home.parent)
    for app in sorted(apps):
        yield Copy(settings.stanza, app, remote.below(app), home / app, days)


def are_kept(settings: Settings) -> bool:
    """Whether they are another server's, by a role that knows of files."""
    return bool(settings.files)


def home_of(settings: Settings) -> Path:
    (repository,) = settings.local
    return Path(repository.path) / "files" / settings.stanza


def kept(home: Path) -> set[str]:
    return {path.name for path in home.iterdir() if path.is_dir()} if home.is_dir() else set()


def damaged(settings: Settings) -> tuple[int, list[str]]:
    """Read all copies of a server's files; how many there are, and which are not as they were."""
    if not are_kept(settings):
        return 0, []
    home = home_of(settings)
    paths = [home / app / path for app in kept(home) for path in files(home / app)]
    return len(paths), [str(path) for path in sorted(paths) if not is_whole(path)]


def is_whole(path: Path) -> bool:
    with path.open("rb") as file:
        return path.name in ("config", digest(file))
