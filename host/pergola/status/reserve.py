"""A file that takes room while there is enough, and gives it up when there is none.

On a full disk PostgreSQL does not start and nobody can even edit a file. What the reserve held is
the room to work in; that it was given up is told, and it is taken again later.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from pergola.people import size
from pergola.status import store
from pergola.status.look import CRITICAL, OK, Finding, Look
from pergola.status.memory import Reserve

FILE = store.HOME / "reserve"
# Of the file system, and at most so many bytes: some of PostgreSQL's WAL files of 16 MB.
SHARE = 1 / 64
AT_MOST = 128 * 10**6
# It is given up when less than this share of it is free, and taken when so many times it is.
GIVEN_UP_BELOW = 1 / 8
TAKEN_ABOVE = 4


def kept(before: Reserve | None, file: Path = FILE) -> Reserve:
    """Take the reserve, keep it or give it up.

    `before` is what the last look returned. OSError where the file system does not give it.
    """
    at = os.statvfs(file.parent)
    share, free = int(at.f_blocks * at.f_frsize * SHARE), at.f_bavail * at.f_frsize
    room, there = min(share, AT_MOST), file.exists()
    given_up = bool(before and before.given_up)
    if there and free < room * GIVEN_UP_BELOW:
        file.unlink()
        there, given_up = False, True
    elif not there and free > room * TAKEN_ABOVE:
        take(file, room)
        there, given_up = True, False
    return Reserve(room, there, given_up, str(file.parent))


def take(file: Path, room: int) -> None:
    """Take so many bytes; OSError, and no file, where the file system does not give them."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, room)
    except OSError:
        file.unlink()
        raise
    finally:
        os.close(descriptor)


def reserve(look: Look) -> Iterator[Finding]:
    """The room that is kept in reserve; a look by hand only sees whether it is there."""
    if look.seen.reserve:
        yield judged(look.seen.reserve)


def judged(seen: Reserve) -> Finding:
    room = size(seen.bytes)
    if seen.there:
        return Finding("reserve", OK, f"{room} are kept for a day on which the disk is full")
    if not seen.given_up:
        says = f"less than {TAKEN_ABOVE} times {room} are free: none is kept"
        return Finding("reserve", OK, says)
    says = (
        f"the disk of {seen.place} was full: the {room} kept in reserve were given up, and are all "
        "the room that there is. Make more now: find what grows with `du -xh --max-depth=2 / | "
        "sort -h`; `ls -d /var/lib/postgresql/*/main.before-*` names data that restores have put "
        "aside, `sudo journalctl --vacuum-size=200M` shortens the journal"
    )
    return Finding("reserve", CRITICAL, says)


CHECKS = (reserve,)
