"""The files of a repository in which clients can change names: handled by descriptor.

Directories are opened one by one, none by a symbolic link, and a file is what is open, whatever its
name means a moment later.
"""

import contextlib
import errno
import fcntl
import filecmp
import os
import pwd
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pergola.errors import PergolaError
from pergola.postgres import ACCOUNT

# pgBackRest replaces these as it goes on; all else it writes once. The history of a timeline may be
# sent again (see send_histories), and is other bytes then, as each file has a cipher of its own.
CHANGING = re.compile(r"(archive|backup)\.info(\.copy)?|[0-9A-F]{8}\.history")
UNFINISHED = ".pgbackrest.tmp"
LABEL = re.compile(r"\d{8}-\d{6}F(_\d{8}-\d{6}[DI])?")
COMPLETE = "backup.manifest"  # a backup has it when nothing of it is written any more
WAL = re.compile(r"/\d+-(\d+)/[0-9A-F]{16}/[0-9A-F]{8}([0-9A-F]{16})-[0-9a-f]{40}(\.\w+)?$")
DEEPEST = 30  # far below any file of pgBackRest's
# What opening a name says when pgBackRest, or somebody else, has changed it meanwhile.
VANISHED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Not to be held up by a FIFO.
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass
class Found(contextlib.AbstractContextManager["Found"]):
    """An open file, its path below the repository, and the open directory that it is in."""

    path: str
    fd: int
    directory: int

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    @property
    def changes(self) -> bool:
        return changes(self.path)

    def is_same_as(self, other: Path) -> bool:
        """It is that file, or has its content."""
        if not other.exists():
            return False
        if os.path.samestat(os.fstat(self.fd), other.stat()):
            return True
        return filecmp.cmp(f"/proc/self/fd/{self.fd}", other, shallow=False)

    def seal(self) -> bool:
        """Make it root's, readable by the daemon; False when somebody has it open for writing."""
        os.fchown(self.fd, 0, pwd.getpwnam(ACCOUNT).pw_gid)
        os.fchmod(self.fd, 0o640)
        try:
            # A read lease is given on a file that nobody has open for writing.
            fcntl.fcntl(self.fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except BlockingIOError:
            return False
        except OSError as error:
            raise PergolaError(
                f"the file system of {self.path} cannot say whether a file is open for writing "
                f"({error.strerror})",
                hint="put backup_dir on a local one, as ext4 or XFS",
            ) from None
        fcntl.fcntl(self.fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return True

    def link_to(self, place: Path) -> None:
        """Give it another name, in a directory of root's."""
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        link(self.fd, place.name, open_directory(place.parent))

    def remove(self) -> None:
        os.unlink(Path(self.path).name, dir_fd=self.directory)


def link(file: int, name: str, directory: int) -> None:
    """Give an open file a name in an open directory, which is closed."""
    try:
        # Only with a descriptor Python uses the call that follows the link in /proc.
        os.link(f"/proc/self/fd/{file}", name, dst_dir_fd=directory, follow_symlinks=True)
    finally:
        os.close(directory)


def open_directory(path: Path | str, parent: int | None = None) -> int:
    return os.open(path, DIRECTORY, dir_fd=parent)


def files(repository: Path, stanza: str) -> Iterator[Found]:
    """The complete files of a stanza, each open while it is looked at."""
    for part in ("archive", "backup"):
        with contextlib.ExitStack() as opened:
            try:
                at = opened_in(opened, [str(repository), part, stanza])
            except OSError as error:
                if error.errno in VANISHED:
                    continue
                raise
            yield from below(at, f"{part}/{stanza}")


def opened_in(stack: contextlib.ExitStack, names: list[str]) -> int:
    """Open a directory, step by step."""
    at: int | None = None
    for name in names:
        at = open_directory(name, at)
        stack.callback(os.close, at)
    assert at is not None  # noqa: S101 - there are names
    return at


def below(directory: int, path: str) -> Iterator[Found]:
    names = sorted(os.listdir(directory))
    if LABEL.fullmatch(Path(path).name) and COMPLETE not in names:
        return
    for name in names:
        below_it = f"{path}/{name}"
        try:
            kind = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
            if stat.S_ISDIR(kind) and below_it.count("/") < DEEPEST:
                inner = open_directory(name, directory)
                try:
                    yield from below(inner, below_it)
                finally:
                    os.close(inner)
            elif stat.S_ISREG(kind) and not name.endswith(UNFINISHED):
                file = os.open(name, FILE, dir_fd=directory)
                if stat.S_ISREG(os.fstat(file).st_mode):
                    yield Found(below_it, file, directory)
                else:
                    os.close(file)
        except OSError as error:
            if error.errno not in VANISHED:
                raise


def changes(path: str) -> bool:
    """Whether pgBackRest replaces that file as it goes on."""
    return bool(CHANGING.fullmatch(Path(path).name))


def position(path: str) -> tuple[int, str] | None:
    """The cluster of a file of WAL, and its place whatever its timeline; None for other files."""
    found = WAL.search(path)
    return (int(found[1]), found[2]) if found else None


def have_home(home: Path) -> None:
    """Have root's directory beside the repository; PergolaError where others could exchange it."""
    for parent in home.parent.parents:
        found = parent.stat()
        if found.st_uid != 0 or (found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX):
            raise PergolaError(
                f"{parent} could be changed by others than root: nothing below it can be protected",
                hint=f"chown root:root {parent} && chmod go-w {parent}",
            )
    # The distribution's package makes it PostgreSQL's own, who could give `home` another name.
    directory = open_directory(home.parent)
    os.fchown(directory, 0, pwd.getpwnam(ACCOUNT).pw_gid)
    os.fchmod(directory, 0o750)
    os.close(directory)
    home.mkdir(mode=0o700, exist_ok=True)
    if home.is_symlink() or home.stat().st_uid != 0:
        raise PergolaError(
            f"{home} is not root's: somebody made it before", hint="look at it, and remove it"
        )


def put_back(kept: Path, repository: Path, path: str) -> None:
    """Give a protected file its name in the repository again, in the place of what has it now."""
    account = pwd.getpwnam(ACCOUNT)
    *directories, name = path.split("/")
    with contextlib.ExitStack() as opened:
        at = opened_in(opened, [str(repository)])
        for directory in directories:
            try:
                inner = open_directory(directory, at)
            except NotADirectoryError:  # a link, or a file
                os.unlink(directory, dir_fd=at)
                inner = made(directory, at, account)
            except FileNotFoundError:
                inner = made(directory, at, account)
            opened.callback(os.close, inner)
            at = inner
        fresh = f"{name}.recovered"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=at)
        os.link(kept, fresh, dst_dir_fd=at)
        os.rename(fresh, name, src_dir_fd=at, dst_dir_fd=at)


def made(name: str, parent: int, account: pwd.struct_passwd) -> int:
    """Make a directory of the repository's account; it is open."""
    os.mkdir(name, 0o750, dir_fd=parent)
    directory = open_directory(name, parent)
    os.fchown(directory, account.pw_uid, account.pw_gid)
    return directory
