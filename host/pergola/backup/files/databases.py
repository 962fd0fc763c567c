"""SQLite's files of an application, by a program that has the application's rights only."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from pergola.errors import PergolaError
from pergola.people import last_lines
from pergola.system import Done, account_of, attempt

WORKER = Path(__file__).with_name("worker.py")
COPIES = Path("/run/copies")  # as the sandbox calls the directory of the copies
SECONDS = 6 * 3600
# The application's rights on its own directories, and nothing else of the server's. What it opens
# may be made to do harm.
SANDBOX = (
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "PrivateMounts=yes",
    "PrivateUsers=yes",
    "PrivateIPC=yes",
    "PrivateNetwork=yes",
    "ProtectProc=invisible",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectControlGroups=yes",
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "RestrictNamespaces=yes",
    "RestrictAddressFamilies=AF_UNIX",
    "DevicePolicy=closed",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged",
    "SystemCallErrorNumber=EPERM",
    *(f"TemporaryFileSystem={path}:ro" for path in ("/srv", "/var", "/run", "/mnt", "/media")),
    "MemoryMax=50%",
    "Nice=10",
    "IOWeight=20",
    "UMask=0077",
)
# What may be beside a database, and is part of it: a copy has all of it in one file.
BESIDE = ("", "-wal", "-shm", "-journal")


@dataclass(frozen=True)
class Database:
    """A file of SQLite's below an application's directories.

    `wrong`: why there is no copy; `damaged`: because it is no database, or not whole.
    """

    path: str
    wrong: str = ""
    damaged: bool = False


def copied(app: str, top: Path, to: Path) -> list[Database]:
    """Copy all that are below a directory, with the same paths."""
    to.mkdir(mode=0o700)
    person = account_of(app)
    os.chown(to, person.pw_uid, person.pw_gid)
    return answers(in_sandbox(app, {top: top, to: COPIES}, "copy", top, COPIES))


def checked(app: str, top: Path) -> list[Database]:
    """Have SQLite look through all that are below a directory."""
    return answers(in_sandbox(app, {top: COPIES}, "check", COPIES))


def in_sandbox(app: str, visible: dict[Path, Path], *words: object) -> Done:
    """Run the worker. `visible`: the directories that it sees, and as what."""
    binds = " ".join(f"{path}:{name}" for path, name in visible.items())
    lines = (*SANDBOX, f"User={app}", f"Group={app}", f"BindPaths={binds}")
    return attempt(
        *("systemd-run", "--quiet", "--pipe", "--wait", "--collect"),
        *(f"--property={line}" for line in (*lines, f"RuntimeMaxSec={SECONDS}")),
        f"--description={app}, SQLite's files",
        *("--", "/usr/bin/python3", "-I", "-", *words),
        stdin=WORKER.read_text(),
    )


def answers(done: Done) -> list[Database]:
    """What the worker said; PergolaError if it did not get to its end."""
    if done.returncode:
        reason = "SQLite's files could not be copied or looked at"
        raise PergolaError(reason, last_lines(done.stderr or done.stdout))
    try:
        found = [json.loads(line) for line in done.stdout.splitlines()]
        return [Database(str(path), str(wrong), bool(damaged)) for path, wrong, damaged in found]
    except ValueError as error:
        raise PergolaError("what was said of SQLite's files cannot be read", str(error)) from None


def left_out(database: Database, tree: Path) -> list[str]:
    """Options of restic's for the live files of a database that was copied."""
    name = str(tree / database.path)
    for character in "\\*?[":
        name = name.replace(character, f"\\{character}")
    return [f"--exclude={name}{end}" for end in BESIDE]
