"""Static files that Caddy serves: those of all kept releases, in one directory that is root's.

A file there is a hard link to the file in the release that brought it, so the count of links says
whether a kept release still uses it. Both trees are root's and hold directories and plain files
only; what else somebody put there is not published, and no name is followed.
"""

import contextlib
import os
import shutil
import stat
from pathlib import Path

from pergola.release.tree import DIRECTORY, FILE, look, opened

FRESH = ".pergola-new"
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # <fcntl.h>, <linux/fs.h>


def publish(source: Path, shared: Path) -> None:
    """Put a release's static files where Caddy serves them, each of them at once."""
    with opened(source, DIRECTORY) as files, opened(shared, DIRECTORY) as served:
        publish_directory(files, served)


def publish_directory(files: int, served: int) -> None:
    for name in sorted(os.listdir(files)):
        found = look(name, files)
        if stat.S_ISDIR(found.st_mode):
            make_directory(name, served)
            with opened(name, DIRECTORY, files) as below, opened(name, DIRECTORY, served) as beside:
                publish_directory(below, beside)
        elif stat.S_ISREG(found.st_mode):
            publish_file(name, found, files, served)


def make_directory(name: str, served: int) -> None:
    there = seen(name, served)
    if there and not stat.S_ISDIR(there.st_mode):
        os.unlink(name, dir_fd=served)
        there = None
    if not there:
        os.mkdir(name, 0o755, dir_fd=served)


def publish_file(name: str, found: os.stat_result, files: int, served: int) -> None:
    there = seen(name, served)
    if there and stat.S_ISDIR(there.st_mode):
        shutil.rmtree(name, dir_fd=served)
        there = None
    if there and (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino):
        return
    if there and stat.S_ISREG(there.st_mode) and same(name, files, served):
        link(name, served, files)  # what browsers know by its date stays
    else:
        link(name, files, served)


def seen(name: str, at: int) -> os.stat_result | None:
    try:
        return look(name, at)
    except FileNotFoundError:
        return None


def same(name: str, files: int, served: int) -> bool:
    """Whether two files have the same content."""
    with opened(name, FILE, files) as one, opened(name, FILE, served) as other:
        if os.fstat(one).st_size != os.fstat(other).st_size:
            return False
        while True:
            mine, theirs = os.read(one, 2**20), os.read(other, 2**20)
            if mine != theirs:
                return False
            if not mine:
                return True


def link(name: str, files: int, to: int) -> None:
    """Make a name in one directory a hard link to that in another, replacing what is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(FRESH, dir_fd=to)
    os.link(name, FRESH, src_dir_fd=files, dst_dir_fd=to, follow_symlinks=False)
    os.rename(FRESH, name, src_dir_fd=to, dst_dir_fd=to)


def prune(shared: Path) -> None:
    """Remove static files that no kept release uses, and what is neither file nor directory."""
    with opened(shared, DIRECTORY) as served:
        prune_directory(served)


def prune_directory(served: int) -> None:
    for name in os.listdir(served):
        found = look(name, served)
        if stat.S_ISDIR(found.st_mode):
            with opened(name, DIRECTORY, served) as below:
                prune_directory(below)
            with contextlib.suppress(OSError):  # not empty
                os.rmdir(name, dir_fd=served)
        elif not stat.S_ISREG(found.st_mode) or found.st_nlink == 1:
            os.unlink(name, dir_fd=served)


def exchange(one: Path, other: Path) -> None:
    """Let two names change places, at once."""
    import ctypes  # few calls need it, and each would wait for its import

    libc = ctypes.CDLL(None, use_errno=True)
    paths = AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other)
    if libc.renameat2(*paths, RENAME_EXCHANGE) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one))
