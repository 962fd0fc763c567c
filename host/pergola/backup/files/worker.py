"""SQLite's files of an application, copied or looked at with the application's rights alone.

They are what somebody uploaded as often as not: root opens none of them. `databases` runs this text
as the application in a sandbox, with nothing of Pergola to import. A line of output for each file:
its path below the top in JSON, and what is wrong with it.
"""

import contextlib
import json
import os
import shutil
import sqlite3
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

MAGIC = b"SQLite format 3\0"
SECONDS_TO_WAIT = 60  # for whoever writes


def main() -> None:
    verb, top, *to = sys.argv[1:]
    for path in databases(Path(top)):
        wrong = ""
        try:
            if verb == "copy":
                copy(path, Path(to[0], path.relative_to(top)))
            else:
                wrong = check(path)
        except (OSError, sqlite3.Error) as error:
            wrong = str(error) or type(error).__name__
        print(json.dumps([str(path.relative_to(top)), wrong]), flush=True)


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
    try:
        with (
            contextlib.closing(opened(path, "mode=rw")) as source,
            contextlib.closing(sqlite3.connect(to)) as target,
        ):
            source.backup(target)
        shutil.copystat(path, to)
    except BaseException:
        to.unlink(missing_ok=True)
        raise


def check(path: Path) -> str:
    with contextlib.closing(opened(path, "mode=ro&immutable=1")) as database:
        said = [str(row[0]) for row in database.execute("pragma integrity_check")]
    return "" if said == ["ok"] else "; ".join(said[:3])


if __name__ == "__main__":
    main()
