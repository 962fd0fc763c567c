"""What the clients of a host that keeps copies cannot touch: hard links that belong to root.

pgBackRest lets a client name any path, and write and remove there whatever the account of its
daemon can. The daemon sees the backups read-only; the archive it must be able to write. Every file
of both gets a second name in a directory that only root enters, and becomes root's, so that no
client can change its content either. What vanishes from the repository keeps that name for some
days, and `recover` puts it back. Until then it takes no space.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pergola.backup import links
from pergola.backup.repository import Repositories
from pergola.backup.settings import Settings
from pergola.errors import PergolaError
from pergola.people import DAY, stamp
from pergola.results import recorded
from pergola.system import write

# Versions of one changing file: who makes more of them wants to fill the disk.
VERSIONS = 1000
NAMED = 5  # files named in a report


@dataclass
class Entry:
    """When a file was first seen here, and when it was first missed; seconds since 1970.

    `removed`: by `recover`, which went back to a moment before it.
    """

    seen: float
    gone: float | None = None
    removed: bool = False


class Protected:
    """The protected files of one server's stanza.

    pgBackRest's info files and histories of timelines change: of each there is a version for every
    content that was seen, as @<seconds since 1970>/<path>.
    """

    def __init__(self, settings: Settings) -> None:
        (repository,) = settings.local
        self.settings = settings
        place = Path(repository.path)
        self.live = place.parent.resolve() / place.name
        self.home = self.live.parent / "protected"
        self.tree = self.home / settings.stanza
        self.index = self.home / f"{settings.stanza}.json"
        self.entries: dict[str, Entry] = {}
        self.written = self.index.read_text() if self.index.exists() else ""
        if self.written:
            found = json.loads(self.written)
            self.entries = {path: Entry(*times) for path, times in found.items()}

    def take(self, now: float) -> list[str]:
        """Protect what is new, drop what has been gone for long; return what is wrong."""
        wrong: list[str] = []
        there = set()
        for found in links.files(self.live, self.settings.stanza):
            with found:
                there.add(self.protect(found, now, wrong))
        self.note_gone(there, now)
        times = {path: dataclasses.astuple(one) for path, one in self.entries.items()}
        text = json.dumps(times) + "\n"
        if text != self.written:  # it may have megabytes, and is looked at every minute
            write(self.index, text, 0o600)
            self.written = text
        return wrong

    def protect(self, found: links.Found, now: float, wrong: list[str]) -> str:
        """Give a file its second name; return the path by which it stands in the index."""
        versions = self.versions(found.path)
        if versions and found.is_same_as(self.tree / versions[-1]):
            return versions[-1]
        if versions and not found.changes:
            wrong.append(f"{found.path} was replaced by another file")
            return versions[-1]
        if len(versions) >= VERSIONS:
            wrong.append(f"{found.path} was changed {VERSIONS} times")
            return versions[-1]
        if not found.seal():
            wrong.append(f"{found.path} is held open for writing")
            return found.path
        name = f"@{int(now)}/{found.path}" if found.changes else found.path
        found.link_to(self.tree / name)
        self.entries[name] = Entry(now)
        return name

    def versions(self, path: str) -> list[str]:
        """The names of what is protected of a file, the oldest first."""
        if not links.changes(path):
            return [path] if path in self.entries else []
        found = [name for name in self.entries if path_of(name) == path]
        return sorted(found, key=lambda name: self.entries[name].seen)

    def note_gone(self, there: set[str], now: float) -> None:
        """Note what the repository has no more, and drop what it has not had for long enough."""
        limit = now - self.settings.protected_days * DAY
        for path, entry in list(self.entries.items()):
            if path in there:
                entry.gone, entry.removed = None, False
            else:
                entry.gone = entry.gone or now
            if entry.gone and entry.gone < limit:
                (self.tree / path).unlink(missing_ok=True)
                del self.entries[path]

    def missed(self) -> list[str]:
        """What the repository lacks although this host, which expires its backups, did not."""
        repositories = Repositories(self.settings)
        # It is a directory here: one that is away was spoilt in what it begins with.
        away = repositories.away()
        backups = [] if away else repositories.backups()
        if not backups:
            had = any(path.endswith(links.COMPLETE) for path in self.entries)
            why = "".join(f": {reason.splitlines()[0]}" for reason in away.values())
            return [f"pgBackRest finds no backup in it any more{why}"] if had or away else []
        # By cluster and on any timeline: what is older than all its backups was expired.
        first: dict[int, str] = {}
        for one in backups:
            first[one.history] = min(first.get(one.history, "G"), one.first_wal[8:])
        gone = [path for path, one in self.entries.items() if one.gone and not one.removed]
        places = {path: place for path in gone if (place := links.position(path))}
        lost = sorted(p for p, (history, wal) in places.items() if wal >= first.get(history, "G"))
        more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
        return [f"{', '.join(lost[:NAMED])}{more} vanished"] if lost else []

    def recover(self, before: float | None) -> tuple[int, int]:
        """Put the repository's files back as they were; how many were put back, and removed.

        Files that were first seen at `before` or later are removed; they stay protected.
        """
        wanted = self.as_of(before) if before else self.everything()
        right, removed = set(), 0
        for found in links.files(self.live, self.settings.stanza):
            with found:
                if found.path not in wanted:
                    found.remove()
                    if entry := self.entries.get(found.path):
                        entry.removed = True
                    removed += 1
                elif found.is_same_as(self.tree / wanted[found.path]):
                    right.add(found.path)
        for path in wanted.keys() - right:
            links.put_back(self.tree / wanted[path], self.live, path)
        return len(wanted) - len(right), removed

    def everything(self) -> dict[str, str]:
        """All files that are protected, the newest version of each, by their paths."""
        names = [name for name, entry in self.entries.items() if not entry.removed]
        return {path_of(name): name for name in sorted(names, key=lambda n: self.entries[n].seen)}

    def as_of(self, before: float) -> dict[str, str]:
        """The files that there were before a moment, by their paths in the repository."""
        wanted: dict[str, str] = {}
        for name, entry in sorted(self.entries.items(), key=lambda item: item[1].seen):
            # A version is gone when there is a newer one.
            expired = entry.gone and entry.gone < before and not links.changes(name)
            if entry.seen < before and not expired:
                wanted[path_of(name)] = name
        return wanted


def path_of(name: str) -> str:
    """The path in the repository of what is protected by that name."""
    return name.partition("/")[2] if name.startswith("@") else name


@contextlib.contextmanager
def alone(settings: Settings) -> Iterator[Protected]:
    """A stanza's protected files, while no other process works on them."""
    protected = Protected(settings)
    links.have_home(protected.home)
    directory = links.open_directory(protected.home)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield Protected(settings)  # as the process before left them
    finally:
        os.close(directory)


def protect(stanzas: Sequence[Settings]) -> None:
    """Protect what the servers have sent; PergolaError says what somebody did to their copies."""
    with recorded("protect") as result:
        count = 0
        wrong: list[str] = []
        for settings in stanzas:
            with alone(settings) as protected:
                found = protected.take(time.time()) + protected.missed()
            wrong += [f"the copies of {settings.stanza}: {what}" for what in found]
            count += len(protected.entries)
        if wrong:
            raise PergolaError(
                "; ".join(wrong),
                hint="this host did not do that: see to the server first, then put its copies back "
                "(pergola-backup recover --help, and docs/backups.md)",
            )
        result.says = f"{count} files are protected"


def recover(settings: Settings, before: float | None) -> str:
    """Put a server's copies back as they were before a moment, or all that vanished of them."""
    with alone(settings) as protected:
        if not protected.entries:
            raise PergolaError(f"nothing is protected of {settings.stanza} here")
        protected.take(time.time())
        back, removed = protected.recover(before)
        missed = [*protected.take(time.time()), *protected.missed()]
    if missed:
        raise PergolaError(
            f"the copies of {settings.stanza} are not complete: {'; '.join(missed)}",
            hint="name an earlier moment: --before",
        )
    when = f" as they were before {stamp(before)}" if before else ""
    return (
        f"the copies of {settings.stanza} are back{when}: {back} files put back, {removed} removed"
    )
