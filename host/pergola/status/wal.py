"""The write-ahead log: what a repository does not have of it, and what was given up.

"Archived" is what PostgreSQL calls WAL that is in all repositories, and a number of files that wait
says nothing of time. Here the WAL itself is asked, which notes when each transaction ended: which
is the oldest that a repository does not have?
"""

import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from pergola.postgres import ACCOUNT, Cluster
from pergola.status.look import CRITICAL, OK, Finding, Look
from pergola.status.memory import Gap, Repository
from pergola.status.seen import Logs
from pergola.status.server import Server
from pergola.system import account_of, of_account

COMMIT = re.compile(r"desc: COMMIT\w* (?:\d+: )?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) UTC")
BYTES_IN_LOG = 1 << 32
LOGS = ("/var/log/pgbackrest/*archive-push*.log", "/var/log/postgresql/*.log")
# Bytes of a log that one look reads at most.
LOG_BYTES = 4 * 2**20
DROPPED = re.compile(rb"dropped WAL file '?(\w+)'?")


# -- seen ------------------------------------------------------------------------------------------


def oldest_after(server: Server, archived: str) -> float | None:
    """When the first transaction ended that is not in WAL up to that file; None: there is none.

    In seconds since 1970. With "" nothing of the live timeline is archived.
    """
    current, size = server.segment or "", server.segment_bytes
    folder = Path(server.data_directory, "pg_wal")
    if archived[:8] == current[:8]:
        start = number_of(archived, size) + 1
    else:
        names = [path.name for path in folder.glob(f"{current[:8]}" + 16 * "?")]
        start = number_of(min(names, default=current), size)
    # One that is not begun, as after a switch of WAL, pg_waldump would wait five seconds for.
    if not (folder / named(current[:8], start, size)).exists():
        return None
    place = start * size
    command = [
        Cluster(int(server.version.partition(".")[0])).program("pg_waldump"),
        f"--path={folder}", f"--timeline={int(current[:8], 16)}", "--rmgr=Transaction",
        f"--start={place >> 32:X}/{place % BYTES_IN_LOG:X}",
    ]  # fmt: skip
    user = account_of(ACCOUNT)
    # It ends with an error, as it reads to the end of what is written: its first lines are enough.
    with subprocess.Popen(
        command,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        cwd="/",
        env={**of_account(ACCOUNT), "TZ": "UTC"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as dump:
        for line in dump.stdout or ():
            if found := COMMIT.search(line):
                dump.kill()
                return datetime.fromisoformat(found[1]).replace(tzinfo=UTC).timestamp()
    return None


def number_of(segment: str, size: int) -> int:
    """A WAL file's place in the order of all, whatever its timeline."""
    return int(segment[8:16], 16) * (BYTES_IN_LOG // size) + int(segment[16:24], 16)


def named(timeline: str, number: int, size: int) -> str:
    """The WAL file of a timeline at that place in the order of all."""
    in_log = BYTES_IN_LOG // size
    return f"{timeline}{number // in_log:08X}{number % in_log:08X}"


def logs(positions: dict[str, tuple[int, int]] | None) -> Logs:
    """WAL files that new lines of logs call dropped, and how far the logs are read now.

    The first look begins at the logs' ends.
    """
    at: dict[str, tuple[int, int]] = {}
    dropped: list[str] = []
    paths = [path for pattern in LOGS for path in sorted(Path("/").glob(pattern[1:]))]
    for path in paths:
        with path.open("rb") as log:
            there = os.fstat(log.fileno())
            inode, offset = (positions or {}).get(str(path), (there.st_ino, 0))
            if positions is None:
                offset = there.st_size
            elif inode != there.st_ino or offset > there.st_size:
                offset = 0
            log.seek(max(offset, there.st_size - LOG_BYTES))
            text = log.read(LOG_BYTES)
            # A line that is still being written is read again.
            whole = text[: text.rfind(b"\n") + 1]
            dropped += [name.decode() for name in DROPPED.findall(whole)]
            at[str(path)] = (there.st_ino, log.tell() - len(text) + len(whole))
    # What sends WAL and PostgreSQL, for which it is sent, both log it.
    return Logs(list(dict.fromkeys(dropped)), at)


# -- remembered ------------------------------------------------------------------------------------


def given_up(
    known: Gap | None, logs: Logs | None, repositories: Iterable[Repository], wall: float
) -> Gap | None:
    """The WAL that was given up, until a repository has a full backup that begins after it.

    By the names of WAL: when a line of a log is read says nothing of which came first.
    """
    dropped = logs.dropped if logs else []
    if dropped:
        known = Gap(max(dropped), len(dropped) + (known.count if known else 0), wall)
    newest = max((one.full for one in repositories), default="")
    return known if known and newest <= known.wal else None


# -- judged ----------------------------------------------------------------------------------------


def gap(look: Look) -> Iterator[Finding]:
    known = look.memory.gap
    if known is None:
        yield Finding("gap", OK, "no WAL was given up")
        return
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(known.wall))
    says = (
        f"{known.count} WAL files were given up, the last one {known.wal} ({when}): no restore can "
        "go beyond that gap until a newer full backup succeeds; fix the archive, then "
        "`pergola-backup full`"
    )
    yield Finding("gap", CRITICAL, says)


CHECKS = (gap,)
