"""The archive is brought up to now, and has named points that a restore can go to."""

import os
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pergola.backup.repository import Repositories
from pergola.backup.server import Server
from pergola.backup.settings import Settings
from pergola.documents import Form
from pergola.errors import PergolaError
from pergola.people import last_lines, of_seconds, stamp

FILE = Path("/var/lib/pergola/points.jsonl")
SPOOL = Path("/var/spool/pgbackrest/archive")
SECONDS_TO_ARCHIVE = 60
PATIENCE = 3
# PostgreSQL tries three times, a second apart, and then waits for a minute.
FAILURES = 2
# Of a whole one: pgBackRest writes to SEGMENT-SHA1.zst.pgbackrest.tmp, which it may leave behind.
SEGMENT = re.compile(r"([0-9A-F]{24})-[0-9a-f]{40}(?:\.[a-z0-9]+)?$")


@dataclass(frozen=True)
class Point:
    """A named point: when it was made, and its position in the WAL, such as 0/3000150."""

    name: str
    at: str
    position: str


FORM = Form(Point)


def every() -> list[Point]:
    """The points that were made on this host, the oldest first."""
    return FORM.lines(FILE)


def mark(settings: Settings) -> float:
    """Bring the archive up to now; the moment (seconds since 1970) until which it then reaches.

    Recovery stops at a moment when it meets a transaction that ended after it: on a server where
    nothing happens this one is that.
    """
    moment = time.time()
    Server(settings.version).ask("select pg_current_xact_id()")
    archived(settings, "mark")
    return moment


def make_point(settings: Settings, name: str) -> str:
    """Make a named point that a restore can go to, and wait until it is in the archive; its name.

    Called before each migration of a deploy, which names its release in the environment.
    """
    release = os.environ.get("PERGOLA_RELEASE")
    usual = f"before-{release}" if release else f"point-{of_seconds(time.time()):%Y%m%dT%H%M%SZ}"
    name = name or usual
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,63}", name):
        raise PergolaError(
            f"'{name}' is not a point's name: letters, digits, '.', '_', '-', 63 at most"
        )
    position = archived(settings, name)
    FORM.add(FILE, Point(name, stamp(time.time()), position))
    return name


def archived(settings: Settings, name: str) -> str:
    """Make a named point, wait until it is in the archive, return its position in the WAL."""
    server = Server(settings.version)
    create = f"pg_create_restore_point('{name}')"
    made = server.ask(f"select lsn, pg_walfile_name(lsn) from {create} lsn")  # noqa: S608 - a plain name
    position, segment = made.split("|")
    before = int(server.ask("select failed_count from pg_stat_archiver"))
    server.ask("select pg_switch_wal()")
    began = time.monotonic()
    done = f"select from pg_ls_archive_statusdir() where name = '{segment}.done'"
    arrived = f"select last_archived_wal >= '{segment}' or exists ({done}) from pg_stat_archiver"  # noqa: S608
    while server.ask(arrived) != "t":
        waited = time.monotonic() - began
        # PostgreSQL hears of it when all repositories have it. One that is away stops no deploy.
        if waited > PATIENCE and (holder := holder_of(settings, segment)):
            why = refusals(settings) or "the others have not answered yet"
            print(f"WARNING: archived in {holder} only: {why}", file=sys.stderr)
            break
        failed = int(server.ask("select failed_count from pg_stat_archiver")) - before
        if waited > SECONDS_TO_ARCHIVE or failed > FAILURES:
            raise PergolaError(
                f"what was written last did not reach the archive within {waited:.0f} s",
                refusals(settings),
                hint=f"see /var/log/pgbackrest/ and the end of {server.log} on the server",
            )
        time.sleep(0.1 if waited < PATIENCE else 1)
    return position


def segment_in(path: str) -> str:
    """The name of the segment of WAL that a file in the archive is; "" for all other files."""
    match = SEGMENT.match(path.rpartition("/")[2])
    return match[1] if match else ""


def holder_of(settings: Settings, segment: str) -> str:
    """The name of a repository of this host's that has a segment of WAL."""
    repositories = Repositories(settings)
    for one in settings.local:
        where = [f"--filter={segment}", "--recurse", f"archive/{settings.stanza}"]
        found = repositories.run("repo-ls", f"--repo={one.number}", *where).stdout
        if any(segment_in(line) == segment for line in found.splitlines()):
            return one.name
    return ""


def refusals(settings: Settings) -> str:
    """Why WAL is not archived, as the sending process has noted it; "" when it has not."""
    found = sorted((SPOOL / settings.stanza / "out").glob("*.error"))
    return last_lines("\n".join(found[0].read_text().splitlines()[1:])) if found else ""


def forget_spool(settings: Settings) -> None:
    """Drop what is noted of one data directory's WAL: of another one's it is not to be believed."""
    shutil.rmtree(SPOOL / settings.stanza, ignore_errors=True)
