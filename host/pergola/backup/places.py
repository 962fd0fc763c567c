"""Two directories change places: in one step, durably, and so that the disk says if they did.

The directory that comes in carries a mark, a file with the id of its restore: whatever name it has
after a power loss, it is known by that. PostgreSQL's account could put links into its directories:
root follows none.
"""

import contextlib
import ctypes
import errno
import os
import shutil
import tempfile
from pathlib import Path

from pergola.postgres import ACCOUNT
from pergola.system import opened_folder, persist

MARK = "pergola-restore-id"
# Of renameat2(2).
AT_FDCWD = -100
RENAME_EXCHANGE = 2
# What a file system answers that cannot do it; ENOSYS is the kernel's.
CANNOT = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def exchange(one: Path, other: Path, aside: Path) -> bool:
    """Have two paths change places; whether that was done in one step.

    Where the file system cannot, three renames do it: `one` is `aside` in between.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    first, second = os.fsencode(one), os.fsencode(other)
    failed = libc.renameat2(AT_FDCWD, first, AT_FDCWD, second, RENAME_EXCHANGE)
    code = ctypes.get_errno() if failed else 0
    if code and code not in CANNOT:
        raise OSError(code, os.strerror(code), str(one), None, str(other))
    if code:
        move(one, aside)
        move(other, one)
        move(aside, other)
    persist(one.parent)
    return not code


def can_exchange(directory: Path) -> bool:
    """Whether the file system of a directory exchanges two of its entries in one step."""
    with tempfile.TemporaryDirectory(prefix=".pergola-", dir=directory) as folder:
        one, other = Path(folder, "one"), Path(folder, "other")
        one.mkdir()
        other.mkdir()
        return exchange(one, other, Path(folder, "aside"))


def move(path: Path, to: Path) -> None:
    """Rename, durably."""
    path.rename(to)
    persist(to.parent)


def mark(directory: Path, name: str) -> None:
    """Mark a directory with the id of a restore, instead of an earlier one's."""
    unmark(directory)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with opened_folder(directory) as at:
        with os.fdopen(os.open(MARK, flags, 0o600, dir_fd=at), "w") as file:
            shutil.chown(file.fileno(), ACCOUNT, ACCOUNT)  # pgBackRest reads all files
            file.write(name)
            file.flush()
            os.fsync(file.fileno())
        os.fsync(at)


def marked(directory: Path) -> str:
    """The id that a directory is marked with; "" where there is no directory or no mark."""
    try:
        with opened_folder(directory) as at:
            descriptor = os.open(MARK, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=at)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    with os.fdopen(descriptor) as file:
        return file.read(100)


def unmark(directory: Path) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), opened_folder(directory) as at:
        os.unlink(MARK, dir_fd=at)
