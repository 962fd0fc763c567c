"""SQLite's files of an application, copied or looked at with the application's rights alone.

They are what somebody uploaded as often as not: root opens none of them. `databases` runs this text
as the application in a sandbox, with nothing of Pergola to import. A line of output for each file:
its path below the top in JSON, what is wrong with it, and whether that is damage: then it is no
database that a copy could be made of.
"""

import contextlib
import json
import os
import shutil
import sqlite3
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

MAGIC = b"SQLite format 3\0"
SECONDS_TO_WAIT = 60  # for whoever writes
PAGES = 1000  # are copied at a time
ROOM = 1 << 30  # bytes that stay free: the disk is the server's


def main() -> None:
    verb, top, *to = sys.argv[1:]
    for path in databases(Path(top)):
        wrong, damaged = "", False
        try:
            if verb == "copy":
                copy(path, Path(to[0], path.relative_to(top)))
            else:
                wrong = check(path)
        except (OSError, sqlite3.Error) as error:
            wrong, damaged = str(error) or type(error).__name__, is_damage(error)
        print(json.dumps([str(path.relative_to(top)), wrong, damaged]), flush=True)


def is_damage(error: Exception) -> bool:
    """Whether SQLite says that the file is not one of its own, or not whole: anybody uploads such.

    Extended codes have the kind of error in their lowest byte.
    """
    kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return kind in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def databases(top: Path) -> Iterator[Path]:
    """The plain files that begin as SQLite's do, whatever they are called."""
    for folder, _, names in os.walk(top):
        for name in sorted(names):
            path = Path(folder, name)
            with contextlib.suppress(OSError):
                if begins_with_magic(path):
                    yield path


def begins_with_magic(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        is_plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return is_plain and os.read(descriptor, len(MAGIC)) == MAGIC
    finally:
        os.close(descriptor)


def opened(path: Path, mode: str) -> sqlite3.Connection:
    address = f"file:{quote(os.fsencode(path))}?{mode}"
    return sqlite3.connect(address, uri=True, timeout=SECONDS_TO_WAIT)


def copy(path: Path, to: Path) -> None:
    """A copy of one moment, also while the application writes; none that is half."""
    to.parent.mkdir(parents=True, exist_ok=True)
    refuse_without_room(path, to.parent)
    try:
        with (
            contextlib.closing(opened(path, "mode=rw")) as source,
            contextlib.closing(sqlite3.connect(to)) as target,
        ):
            source.backup(target, pages=PAGES, progress=patience(), sleep=0.1)
        shutil.copystat(path, to)
    except BaseException:
        to.unlink(missing_ok=True)
        raise


def refuse_without_room(path: Path, folder: Path) -> None:
    needed, free = path.stat().st_size, shutil.disk_usage(folder).free
    if free < needed + ROOM:
        raise OSError(f"no room for a copy of {needed >> 20} MB: {free >> 20} MB are free")


def patience() -> Callable[[int, int, int], None]:
    """Give up when nothing more could be copied for a while: SQLite itself would try for ever."""
    last, since = -1, time.monotonic()

    def progress(_: int, remaining: int, __: int) -> None:
        nonlocal last, since
        if remaining != last:
            last, since = remaining, time.monotonic()
        elif time.monotonic() > since + SECONDS_TO_WAIT:
            raise TimeoutError(f"locked for more than {SECONDS_TO_WAIT} s")

    return progress


def check(path: Path) -> str:
    with contextlib.closing(opened(path, "mode=ro&immutable=1")) as database:
        said = [str(row[0]) for row in database.execute("pragma integrity_check")]
    return "" if said == ["ok"] else "; ".join(said[:3])


if __name__ == "__main__":
    main()
