"""What each repository of the backups has, asked from itself."""

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pergola.documents import parsed
from pergola.errors import PergolaError
from pergola.notes import BACKUP, BACKUP_FILE, BackupRepository
from pergola.people import last_lines
from pergola.postgres import ACCOUNT
from pergola.status import memory, wal
from pergola.status.seen import Backup, Kept, Repository
from pergola.status.server import Server
from pergola.status.together import together
from pergola.system import TookTooLongError, attempt

CONFIGURATION = Path("/etc/pgbackrest/pgbackrest.conf")
SECONDS = 25
# pgBackRest's status of a repository that could not be asked.
UNREACHABLE = 99
# A whole one: what pgBackRest has not written to its end is called SEGMENT-SHA1.zst.pgbackrest.tmp.
SEGMENT = re.compile(r"([0-9A-F]{24})-[0-9a-f]{40}(?:\.[a-z0-9]+)?$")


# -- what pgBackRest answers to `info` -------------------------------------------------------------


@dataclass
class Stored:
    """A repository of the stanza's; `status` has a code and a message."""

    status: dict[str, object]


@dataclass
class Archived:
    """The WAL of one version of the database; `id` is that of its directory."""

    id: str
    database: dict[str, int]
    max: str | None = None


@dataclass
class Made:
    """A backup: when it ended (`stop`), and the first WAL that it needs (`start`).

    `error`: pages in it are damaged.
    """

    label: str
    timestamp: dict[str, int]
    type: str = ""
    error: bool | None = None
    archive: dict[str, str | None] = field(default_factory=dict)


@dataclass
class Info:
    """What it says of one stanza; it is asked for one repository alone."""

    repo: list[Stored]
    archive: list[Archived] = field(default_factory=list)
    backup: list[Made] = field(default_factory=list)


# -- seen ------------------------------------------------------------------------------------------


def gathered(server: Server | None, known: dict[str, memory.Repository]) -> list[Repository] | None:
    """What each repository of this host's PostgreSQL says; None: there are no backups.

    `known` is what is remembered of those that do not answer now.
    """
    settings = BACKUP.read(BACKUP_FILE)
    if settings is None:
        return None
    segment = server.segment if server else None
    questions = {
        one.name: partial(asked, settings.stanza, one, segment or "")
        for one in settings.repositories
    }
    said = together(questions, lambda error: Repository("", why=str(error)), SECONDS + 5)
    since: dict[str, float | None] = {}
    found = []
    for name, answer in said.items():
        one = answer or Repository(name, why=f"no answer in {SECONDS} s")
        last = one.archived or (known[name].archived if name in known else "")
        if server and segment and last not in since:
            since[last] = wal.oldest_after(server, last)
        lacks = since.get(last)
        found.append(dataclasses.replace(one, name=name, archived=last, lacks_since=lacks))
    return found


def asked(stanza: str, repository: BackupRepository, segment: str) -> Repository:
    """The newest WAL and the newest backup in one repository, or `why` it does not answer.

    `segment` is the WAL file that PostgreSQL writes to now.
    """
    name, archived = repository.name, ""
    options = [f"--stanza={stanza}", f"--repo={repository.number}", "--output=json"]
    try:
        said = parsed(pgbackrest(*options, "info"), list[Info], "what pgBackRest says")
        if not said:
            return Repository(name)
        info = said[0]
        status = info.repo[0].status
        if status.get("code") == UNREACHABLE:
            return Repository(name, why=str(status.get("message")))
        archived = newest_wal(info.archive, segment, stanza, options)
        return of_backups(Repository(name, archived=archived), info.backup)
    except TookTooLongError:
        why = f"no answer in {SECONDS} s"
    except PergolaError as error:
        why = last_lines(error.evidence, 1) or error.reason
    except (OSError, LookupError) as error:
        why = str(error)
    return Repository(name, why=why, archived=archived)


def newest_wal(archives: Iterable[Archived], segment: str, stanza: str, options: list[str]) -> str:
    """The newest WAL file of the timeline that is live; "" where there is none."""
    there = sorted(archives, key=lambda one: one.database["id"])
    if not there:
        return ""
    newest = there[-1].max or ""
    if segment and newest[:8] != segment[:8]:
        # Of another timeline, which a restore or an undo gave up.
        where = f"archive/{stanza}/{there[-1].id}/{segment[:16]}"
        listed = parsed(pgbackrest(*options, "repo-ls", where) or "{}", dict[str, object], where)
        names = [match[1] for name in listed if (match := SEGMENT.match(name))]
        newest = max(names, default="")
    return newest


def of_backups(found: Repository, made: Iterable[Made]) -> Repository:
    """The repository with its newest backup and its newest full one."""
    backups = sorted(made, key=lambda one: one.timestamp["stop"])
    if not backups:
        return found
    last = backups[-1]
    backup = Backup(last.label, last.timestamp["stop"], bool(last.error))
    fulls = [
        one.archive.get("start") or "" for one in backups if one.type == "full" and not one.error
    ]
    return dataclasses.replace(found, backup=backup, full=fulls[-1] if fulls else "")


def pgbackrest(*arguments: str) -> str:
    """What it says to PostgreSQL's account, which has the keys; PergolaError with its last line."""
    options = ("--io-timeout=2", "--log-level-file=off")
    done = attempt("pgbackrest", *options, *arguments, account=ACCOUNT, timeout=SECONDS)
    if done.returncode:
        said = last_lines(done.stdout + done.stderr, 1) or "it did not say why"
        raise PergolaError("pgBackRest failed", said)
    return done.stdout


def kept() -> Kept:
    """Where pgBackRest keeps this host's backups, as its configuration says."""
    if not CONFIGURATION.exists():
        return Kept([], [])
    # Another host's repository has a file of its own.
    files = (CONFIGURATION, *sorted(CONFIGURATION.parent.glob("conf.d/*.conf")))
    text = "\n".join(file.read_text() for file in files)
    numbers = set(re.findall(r"^\s*repo(\d+)-(?:path|host|type)\s*=", text, re.MULTILINE))
    elsewhere = set(re.findall(r"^\s*repo(\d+)-(?:host|type\s*=\s*(?!posix))", text, re.MULTILINE))
    paths = re.findall(r"^\s*repo(\d+)-path\s*=\s*(\S+)", text, re.MULTILINE)
    here = [path for number, path in paths if number not in elsewhere]
    return Kept(here, sorted(numbers & elsewhere))


# -- remembered ------------------------------------------------------------------------------------


def advanced(
    known: dict[str, memory.Repository],
    seen: Iterable[Repository] | None,
    now: float,
    wall: float,
) -> dict[str, memory.Repository]:
    """The memory after a look: each repository by its name."""
    if seen is None:
        return known
    return {one.name: noted(known.get(one.name), one, now, wall) for one in seen}


def noted(
    old: memory.Repository | None, one: Repository, now: float, wall: float
) -> memory.Repository:
    """A repository after a look."""
    was = old.backup if old else None
    backup, full = was, old.full if old else ""
    if not one.why:
        backup, full = None, one.full
        if there := one.backup:
            at = now - max(0.0, wall - there.ended)
            if was and was.label == there.label:
                at = was.at
            backup = memory.Backup(there.label, there.ended, there.damaged, at)
    before = old.away if old else None
    away = None if not one.why else now if before is None else before
    return memory.Repository(one.archived, away, backup, full)
