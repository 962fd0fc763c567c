"""Trees that another account made: looked at and made root's without following a name in them.

What runs as root must not trust a name in a directory that another account may write: it may be a
link by now, a FIFO, or gone. Here everything is reached by the descriptor of the directory that
holds it, and no link is followed.
"""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

from pergola.errors import PergolaError

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Opening a FIFO or a device must not wait for anybody.
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
DEEPEST = 200  # directories in each other; every one of them is open while it is worked on
LONGEST_READ = 64 * 2**20  # bytes
MOST_LINKS = 40  # as the kernel has it
CHUNK = 2**24  # bytes
# Links into these mean something else for each process.
UNSTABLE = ("/proc", "/dev", "/sys")


@contextlib.contextmanager
def opened(name: str | Path, flags: int, at: int | None = None) -> Iterator[int]:
    descriptor = os.open(name, flags, dir_fd=at)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def look(name: str, at: int) -> os.stat_result:
    return os.stat(name, dir_fd=at, follow_symlinks=False)


# -- reading -------------------------------------------------------------------------------------


def read_text(top: Path, *names: str) -> str | None:
    """A plain file's text, through directories and no link; None when there is none such."""
    try:
        with contextlib.ExitStack() as stack:
            at = stack.enter_context(opened(top, DIRECTORY))
            for name in names[:-1]:
                at = stack.enter_context(opened(name, DIRECTORY, at))
            file = stack.enter_context(opened(names[-1], FILE, at))
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode) or found.st_size > LONGEST_READ:
                return None
            with os.fdopen(os.dup(file), "rb") as content:
                return content.read(LONGEST_READ).decode(errors="replace")
    except OSError:
        return None


def open_plain(path: Path) -> IO[bytes]:
    """Open a plain file for reading, whose directory may be another account's: no link, no FIFO."""
    descriptor = os.open(path, FILE)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a plain file", str(path))
    return os.fdopen(descriptor, "rb")


def size(top: Path) -> int:
    """The bytes that the plain files of a tree say they have."""

    def of(at: int, depth: int) -> int:
        refuse_depth(depth, top)
        total = 0
        for name in os.listdir(at):
            found = look(name, at)
            if stat.S_ISREG(found.st_mode):
                total += found.st_size
            elif stat.S_ISDIR(found.st_mode):
                with opened(name, DIRECTORY, at) as below:
                    total += of(below, depth + 1)
        return total

    with opened(top, DIRECTORY) as at:
        return of(at, 0)


def refuse_depth(depth: int, top: Path) -> None:
    if depth > DEEPEST:
        raise PergolaError(
            f"{top} has more than {DEEPEST} directories in each other: that is not a release",
        )


# -- making it root's ----------------------------------------------------------------------------


class Seal:
    """Makes a tree root's, for as long as it lives.

    Directories get root as their owner; each plain file is replaced by a copy that root makes, so
    that neither a hard link nor a descriptor that somebody kept leads to it. Modes become 0644 or
    0755, access lists and capabilities go. Links stay when they lead to what only root can change.
    All else is left out: FIFOs, sockets, devices, other accounts' files. The accounts in `owners`
    must have no process any more.
    """

    def __init__(self, top: Path, owners: Collection[int], root: tuple[int, int] = (0, 0)) -> None:
        self.top, self.owners, self.root = top, owners, root
        self.left_out: list[str] = []
        self.links: list[Path] = []
        self.fresh = f".{os.urandom(8).hex()}"

    def make(self, *names: str, plain: str = "") -> list[str]:
        """Seal directories of `top`, which is root's already; return what was left out.

        Of the one called `plain` links become copies of the files that they lead to.
        """
        for name in names:
            with opened(self.top / name, DIRECTORY) as at:
                self.seal_directory(at, self.top / name, 0)
        for link in self.links:
            self.link(link, self.top / plain if plain else None)
        return sorted(self.left_out)

    def seal_directory(self, at: int, path: Path, depth: int) -> None:
        refuse_depth(depth, self.top)
        os.fchown(at, *self.root)
        os.fchmod(at, 0o755)
        for attribute in os.listxattr(at):
            if not attribute.startswith("security.") or attribute == "security.capability":
                os.removexattr(at, attribute)
        for name in sorted(os.listdir(at)):
            found = look(name, at)
            if stat.S_ISDIR(found.st_mode):
                with opened(name, DIRECTORY, at) as below:
                    self.seal_directory(below, path / name, depth + 1)
            elif stat.S_ISREG(found.st_mode) and found.st_uid in self.owners:
                self.seal_file(name, at)
            elif stat.S_ISLNK(found.st_mode):
                os.chown(name, *self.root, dir_fd=at, follow_symlinks=False)
                self.links.append(path / name)
            else:
                self.leave_out(name, at, path)

    def leave_out(self, name: str, at: int, path: Path) -> None:
        os.unlink(name, dir_fd=at)
        self.left_out.append(str((path / name).relative_to(self.top)))

    def seal_file(self, name: str, at: int) -> None:
        with opened(name, FILE, at) as source:
            self.copy(source, name, at)

    def copy(self, source: int, name: str, at: int) -> None:
        """Put a copy of an open file, made by root, in the place of a name."""
        found = os.fstat(source)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fresh = os.open(self.fresh, flags, 0o600, dir_fd=at)
        try:
            copy_content(source, fresh)
            os.fchmod(fresh, 0o755 if found.st_mode & 0o100 else 0o644)
            # Python compares it with what it wrote into compiled files.
            os.utime(fresh, ns=(found.st_atime_ns, found.st_mtime_ns))
        finally:
            os.close(fresh)
        os.rename(self.fresh, name, src_dir_fd=at, dst_dir_fd=at)

    def link(self, link: Path, plain: Path | None) -> None:
        """Keep a link, or leave it out; everything in the tree is root's by now."""
        leads = destination(link, self.top)
        with opened(link.parent, DIRECTORY) as at:
            keep = leads is not None
            if leads and plain and link.is_relative_to(plain):
                keep = leads.is_relative_to(plain) and self.copied(leads, link.name, at)
            if not keep:
                self.leave_out(link.name, at, link.parent)

    def copied(self, leads: Path, name: str, at: int) -> bool:
        """Put a copy of a plain file in the place of the link to it; return whether it is one."""
        with contextlib.suppress(OSError), opened(leads, FILE) as source:
            if stat.S_ISREG(os.fstat(source).st_mode):
                self.copy(source, name, at)
                return True
        return False


def copy_content(source: int, to: int) -> None:
    with contextlib.suppress(OSError):  # not every file system shares blocks, or copies by itself
        while os.copy_file_range(source, to, CHUNK):
            pass
        return
    os.lseek(source, 0, os.SEEK_SET)
    os.lseek(to, 0, os.SEEK_SET)
    while chunk := os.read(source, 2**20):
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(to, rest) :]


def destination(link: Path, top: Path) -> Path | None:
    """Where a link leads; None when somebody else than root could change that.

    Each step is inside `top`, which is root's, or is something that only root can write: such as
    the system's Python.
    """
    at, pending = after(link.parent, str(link.readlink()), top)
    followed = 1
    while pending:
        name = pending.pop(0)
        if name in ("", "."):
            continue
        if name == "..":
            at = at.parent
            continue
        step = at / name
        try:
            found = step.lstat()
        except OSError:  # nothing is there, and only root could put something there
            return step if at.is_relative_to(top) or is_roots(at.lstat()) else None
        inside = step.is_relative_to(top)
        if not inside and (not is_roots(found) or str(step).startswith(UNSTABLE)):
            return None
        if stat.S_ISLNK(found.st_mode):
            followed += 1
            if followed > MOST_LINKS:
                return None
            at, words = after(at, str(step.readlink()), top)
            pending = [*words, *pending]
        else:
            at = step
    return at


def after(at: Path, target: str, top: Path) -> tuple[Path, list[str]]:
    """Where a link's target begins, and the names that follow; what is above `top` is root's."""
    if target.startswith(f"{top}/"):
        return top, target.removeprefix(f"{top}/").split("/")
    return Path("/") if target.startswith("/") else at, target.split("/")


def is_roots(found: os.stat_result) -> bool:
    """Whether only root can change it; of a link, its directory was looked at before."""
    writable = found.st_mode & 0o022 and not stat.S_ISLNK(found.st_mode)
    return found.st_uid == 0 and not writable


def remove(path: Path) -> None:
    """Remove a tree, or whatever is there instead of one; no link is followed."""
    try:
        shutil.rmtree(path)
    except NotADirectoryError:
        path.unlink()
    except FileNotFoundError:
        pass
    except OSError:
        if not path.is_symlink():
            raise
        path.unlink()
