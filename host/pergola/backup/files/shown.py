"""An application's directories for root to read: read only, and no link in them is followed.

An application could put a link into the way of whoever reads its files, at any moment, and have
files in its backup that it may not read itself.
"""

import contextlib
import ctypes
import os
import re
from collections.abc import Iterator
from pathlib import Path

from pergola.system import opened_folder

# Of mount(2) and umount2(2). The program mount knows no nosymfollow in older distributions.
READ_ONLY, NO_SUID, NO_DEVICES, NO_PROGRAMS = 1, 2, 4, 8
REMOUNT, NO_LINKS, BIND = 32, 256, 4096
DETACH = 2
MOUNTS = Path("/proc/self/mountinfo")


@contextlib.contextmanager
def shown(top: Path, at: Path) -> Iterator[None]:
    """Have a directory in another place, with what is mounted below it."""
    at.mkdir(mode=0o700, parents=True, exist_ok=True)
    hide(at)
    try:
        for path in [top, *(path for path in mounts(top) if path != top)]:
            bind(path, at / path.relative_to(top))
        yield
    finally:
        hide(at)


def bind(path: Path, at: Path) -> None:
    with opened_folder(path) as folder:
        call("mount", f"/proc/self/fd/{folder}", at, None, BIND, None)
    safe = READ_ONLY | NO_SUID | NO_DEVICES | NO_PROGRAMS | NO_LINKS
    call("mount", None, at, None, BIND | REMOUNT | safe, None)


def hide(at: Path) -> None:
    """Take away what is mounted there, also by a run that was killed."""
    for path in reversed(mounts(at)):
        call("umount2", path, DETACH)


def mounts(top: Path) -> list[Path]:
    """What is mounted at a directory and below it, outer ones first."""
    lines = MOUNTS.read_text(errors="surrogateescape").splitlines()
    fields = [line.split(" ")[4] for line in lines]
    paths = [Path(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), name)) for name in fields]
    return sorted(path for path in paths if path == top or top in path.parents)


def call(name: str, *arguments: Path | str | int | None) -> None:
    """A call of the system's; OSError if it is refused."""
    libc = ctypes.CDLL(None, use_errno=True)
    words = [one if one is None or isinstance(one, int) else os.fsencode(one) for one in arguments]
    if getattr(libc, name)(*words):
        code = ctypes.get_errno()
        where = next((str(one) for one in arguments if isinstance(one, Path)), "")
        raise OSError(code, os.strerror(code), where)
