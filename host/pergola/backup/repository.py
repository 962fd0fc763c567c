"""pgBackRest's repositories."""

import functools
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pergola.backup.info import Entry, Info, merged, stanzas_in
from pergola.backup.settings import Settings
from pergola.errors import PergolaError
from pergola.people import last_lines
from pergola.postgres import ACCOUNT
from pergola.system import Done, attempt, checked

T = TypeVar("T")
# pgBackRest's exit code for a stanza that belongs to another cluster, or another major version.
MISMATCH = 28
# The one for a lock that another of its processes holds, and how long that is waited for: WAL is
# sent all the time, and for some seconds where a copy's host does not answer.
LOCKED = 50
SECONDS_FOR_OTHERS = 120
SECONDS_TO_ANSWER = 30
LOOK_EVERY = 0.5
# Seconds for one try to reach a repository that is only asked; pgBackRest makes three.
PATIENCE = "--io-timeout=3"
# The status of a repository that could not be asked, whatever the reason; and what pgBackRest says
# of one that it did reach, where the files that it begins with are missing, damaged or encrypted
# with another key.
UNREACHABLE = 99
UNREADABLE = "unable to load info file"
# The annotation of a backup that says which transactions come after it.
NEXT_XID = "next-xid"
MISMATCH_HINT = """\
which of these is it?
- This server stands in the place of a lost one: site.yml -e rebuild=true brings its databases back
  (docs/disaster.md).
- PostgreSQL's major version was upgraded by hand: pergola-backup stanza-upgrade
- They are another server's backups: give this one a name of its own, backup_stanza."""
WRONG_KEY_HINT = """\
if backup_key_file was made by this run, the key of these backups is lost here: put it back from
where you keep its copy (docs/disaster.md). To do without them, give the new backups another name,
backup_stanza in host_vars. Nothing was changed there"""

# How pgBackRest begins a report on a storage that speaks S3.
REFUSED = "HTTP request failed with"
REFUSED_HINT = """\
set backup_s3 right, and run site.yml again.
- 403: its key, key_secret or region is wrong, or the key may not write to the bucket.
- 404: there is no such bucket."""


@dataclass(frozen=True)
class Backup:
    """One backup set in one repository. Times are seconds since 1970, positions PostgreSQL's."""

    repository: int
    label: str
    kind: str  # full, diff or incr
    began: int
    ended: int
    first_wal: str
    last_wal: str
    last_position: str
    history: int  # pgBackRest's id of the cluster: an upgrade or a new cluster begins another one
    bytes_in_database: int
    bytes_in_repository: int
    damaged: bool
    next_xid: int | None  # when it had ended; None: nobody noted it

    @property
    def timeline(self) -> int:
        return int(self.last_wal[:8], 16)

    @classmethod
    def of(cls, found: Entry) -> "Backup":
        """From an entry of `pgbackrest info --output=json`."""
        return cls(
            repository=found["database"]["repo-key"],
            label=found["label"],
            kind=found["type"],
            began=found["timestamp"]["start"],
            ended=found["timestamp"]["stop"],
            first_wal=found["archive"]["start"],
            last_wal=found["archive"]["stop"],
            last_position=found["lsn"]["stop"],
            history=found["database"]["id"],
            bytes_in_database=found["info"]["size"],
            bytes_in_repository=found["info"]["repository"]["delta"],
            damaged=bool(found.get("error")),
            next_xid=int(xid) if (xid := found.get("annotation", {}).get(NEXT_XID)) else None,
        )


def pgbackrest(*words: object) -> Done:
    """Run pgBackRest as PostgreSQL's account, whose files it reads and writes."""
    return attempt("pgbackrest", *words, account=ACCOUNT)


class Repositories:
    """All repositories of this host's stanza, through pgBackRest."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def run(self, command: str, *words: str) -> Done:
        """Run one of pgBackRest's commands, with options and what else it is about."""
        return pgbackrest(f"--stanza={self.settings.stanza}", command, *words)

    def do(self, command: str, *words: str) -> str:
        """The same, which must succeed; it waits for another backup, and for WAL that is sent."""
        until = time.monotonic() + SECONDS_FOR_OTHERS
        while (done := self.run(command, *words)).returncode == LOCKED:
            if time.monotonic() > until:
                break
            time.sleep(LOOK_EVERY)
        said, what = last_lines(done.stdout + done.stderr), f"pgbackrest {command}"
        if done.returncode == MISMATCH:
            raise PergolaError(
                "the repository holds the backups of another cluster under this name "
                f"({self.settings.stanza}); nothing was changed",
                said,
                hint=MISMATCH_HINT,
            )
        if REFUSED in said:
            reason = f"The storage of backup_s3 refuses the requests: {what} failed"
            raise PergolaError(reason, said, hint=REFUSED_HINT)
        return checked(done, what)

    def info(self, repository: int | None = None) -> Info:
        """What pgBackRest knows of the stanza, in one repository or in all that answer.

        Empty when there is none. PergolaError when the one that is asked for does not answer.
        """
        away = self.away()
        if repository in away:
            reason = away[repository]
            raise PergolaError(f"repository {repository} {trouble(reason)}", reason)
        numbers = [repository] if repository else self.answering()
        if not numbers:
            silent = not all(UNREADABLE in reason for reason in away.values())
            what = "no repository answers" if silent else "no repository can be read"
            raise PergolaError(what, "\n".join(away.values()))
        return merged(at_once(self.info_of, numbers))

    def info_of(self, number: int, *options: str) -> Info:
        """What one repository says of the stanza."""
        asked = [f"--repo={number}", "--output=json", PATIENCE, *options]
        found = stanzas_in(self.do("info", *asked))
        return found[0] if found else {}

    def unreadable(self) -> list[int]:
        """The repositories whose files were encrypted with another key than is configured."""
        signs = ("CryptoError", "FormatError")
        return [
            number
            for number, reason in self.away().items()
            # A certificate that is not trusted is a CryptoError too.
            if UNREADABLE in reason and any(sign in reason for sign in signs)
        ]

    def clusters(self) -> dict[int, set[int]]:
        """The system identifiers of the clusters whose backups each repository has."""
        found: dict[int, set[int]] = {}
        for one in self.info().get("db", []):
            found.setdefault(one["repo-key"], set()).add(one["system-id"])
        return found

    def away(self) -> dict[int, str]:
        """The repositories that cannot be used, and why; asked once by a process."""
        return unreachable(self.settings)

    def still_away(self) -> dict[int, str]:
        """The same, of those that do not answer for a while: a daemon may just begin to know us."""
        until = time.monotonic() + SECONDS_TO_ANSWER
        while (away := self.away()) and time.monotonic() < until:
            time.sleep(LOOK_EVERY)
            unreachable.cache_clear()
        return away

    def answering(self) -> list[int]:
        """The numbers of the others."""
        numbers = [one.number for one in self.settings.repositories]
        return [number for number in numbers if number not in self.away()]

    def archives(self) -> list[int]:
        """The numbers of those that answer and have an archive of this stanza."""
        return sorted({one["database"]["repo-key"] for one in self.info().get("archive", [])})

    def backups(self, repository: int | None = None) -> list[Backup]:
        """The backups of one repository, or of all that answer, the oldest first."""
        found = [Backup.of(one) for one in self.info(repository).get("backup", [])]
        return sorted(found, key=lambda backup: (backup.ended, backup.repository))

    def newest(self, repository: int | None = None) -> Backup:
        """The newest backup, of one repository or of any; PergolaError when there is none."""
        found = self.backups(repository)
        if not found:
            raise PergolaError("there is no backup yet", hint="make one: pergola-backup full")
        return found[-1]

    def damaged_files(self, backup: Backup) -> list[str]:
        """The files of PostgreSQL whose pages were damaged when a backup was made."""
        found = self.info_of(backup.repository, f"--set={backup.label}")
        return [file for one in found.get("backup", []) for file in one.get("error-list") or []]


def at_once(ask: Callable[[int], T], numbers: Sequence[int]) -> list[T]:
    """The answers of several repositories, which are asked at the same time."""
    # Importing it takes as long as all else that a call needs, and few calls need it.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max(len(numbers), 1)) as pool:
        return list(pool.map(ask, numbers))


def make_room(path: str) -> None:
    """Have the directory of a repository."""
    directory = Path(path)
    if not directory.exists():
        directory.mkdir(mode=0o750, parents=True)
        shutil.chown(directory, ACCOUNT, ACCOUNT)


def trouble(reason: str) -> str:
    """What is wrong with a repository that cannot be used, in two words after its name."""
    return "cannot be read" if UNREADABLE in reason else "does not answer"


@functools.cache
def unreachable(settings: Settings) -> dict[int, str]:
    """The repositories that cannot be used, and why not: most often they do not answer."""

    def why(number: int) -> str:
        asked = [f"--repo={number}", "--output=json", PATIENCE]
        done = Repositories(settings).run("info", *asked)
        if done.returncode:
            return last_lines(done.stdout + done.stderr) or f"exit code {done.returncode}"
        stanzas = stanzas_in(done.stdout)
        status = stanzas[0]["repo"][0]["status"] if stanzas else {}
        return status.get("message", "") if status.get("code") == UNREACHABLE else ""

    numbers = [one.number for one in settings.repositories]
    return {n: reason for n, reason in zip(numbers, at_once(why, numbers), strict=True) if reason}
