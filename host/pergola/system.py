"""Programs, files and systemd's units: one way for each."""

import contextlib
import os
import pwd
import shlex
import stat
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from pergola.errors import ROOM_HINT, PergolaError, has_no_room
from pergola.people import ENDS, duration, last_lines, shortened

Done = subprocess.CompletedProcess[str]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LINKS_FOLLOWED = 20
UNITS = Path("/etc/systemd/system")  # the files of units that are no distribution's


class TookTooLongError(PergolaError):
    """A program was ended at its time limit."""


# -- programs --------------------------------------------------------------------------------------


def run(
    *command: object,
    account: str = "",
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
    what: str = "",
) -> str:
    """Run a program to its end; what it printed, or PergolaError with its last lines.

    `account`: whose rights it has, with nothing of root's left; empty: those of this process.
    `timeout`: seconds. `what`: how the error calls it, instead of by the whole command line.
    """
    done = attempt(
        *command, account=account, stdin=stdin, environment=environment, timeout=timeout, what=what
    )
    return checked(done, what or called(command))


def checked(done: Done, what: str, hint: str = "") -> str:
    """What a program printed; PergolaError with its last lines when it failed."""
    if not done.returncode:
        return done.stdout
    said = (done.stdout or "") + (done.stderr or "")
    if has_no_room(said):
        raise PergolaError(f"{what} found no room on the disk", last_lines(said), hint=ROOM_HINT)
    raise PergolaError(f"{what} ended with {done.returncode}", last_lines(said), hint=hint)


def attempt(
    *command: object,
    account: str = "",
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
    what: str = "",
    merged: bool = False,
    output: BinaryIO | None = None,
) -> Done:
    """The same for a program that may fail; TookTooLongError when it does not end in time.

    `merged`: its errors stand among what it printed, in their order. `output`: the file that gets
    what it prints, as it is.
    """
    words = [str(word) for word in command]
    variables = {**(of_account(account) if account else os.environ), "LC_ALL": "C.UTF-8"}
    variables |= environment or {}
    user = account_of(account) if account else None
    try:
        return subprocess.run(
            words,
            cwd="/",
            env=variables,
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=os.getgrouplist(user.pw_name, user.pw_gid) if user else None,
            input=stdin,
            stdout=output or subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            text=True,
            errors="replace",  # pgBackRest quotes what it has decrypted with a wrong key
            check=False,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        raise TookTooLongError(
            f"{what or called(command)} did not end within {duration(error.timeout)}"
        ) from None


def called(command: tuple[object, ...]) -> str:
    return f"`{shlex.join(map(str, command))}`"


def account_of(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise PergolaError(f"this host has no account {name}") from None


def of_account(name: str) -> dict[str, str]:
    """The environment of an account's programs."""
    user = account_of(name)
    return {
        "PATH": PATH, "HOME": user.pw_dir, "USER": name, "LOGNAME": name, "SHELL": user.pw_shell
    }  # fmt: skip


# -- files -----------------------------------------------------------------------------------------


def write(
    path: Path,
    content: str | bytes,
    mode: int = 0o644,
    owner: str = "",
    group: str = "",
    durable: bool = True,
) -> None:
    """Write a file that is never there half, nor with wider rights than it ends with.

    It is a new file in the place of the old one: a link there is replaced, not followed, and
    neither is one on the way that root has not made. Missing directories are made, 0755. `owner`,
    `group`: accounts' names; empty: those of this process. `durable`: it outlives a power loss.
    """
    # The account that owns the directory could have put a link under a name that can be guessed.
    beside = f".{path.name}.{os.urandom(4).hex()}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    whose = ids(owner, group)
    with opened_folder(path.parent, make=True) as folder:
        try:
            descriptor = os.open(beside, flags, 0o600, dir_fd=folder)
            with os.fdopen(descriptor, "wb") as file:
                if owner or group:
                    os.fchown(descriptor, *whose)
                os.fchmod(descriptor, mode)
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                if durable:
                    os.fsync(descriptor)
            os.replace(beside, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(beside, dir_fd=folder)
            error.filename, error.filename2 = str(path), None  # a write that fails knows no name
            raise
        if durable:
            os.fsync(folder)


def ids(owner: str, group: str) -> tuple[int, int]:
    """The numbers of an owner and a group, both accounts' names; -1: as it is."""
    account = account_of(owner) if owner else None
    default = account.pw_gid if account else -1
    return account.pw_uid if account else -1, account_of(group).pw_gid if group else default


def read(path: Path) -> str:
    """What is in a file that `opened` opens."""
    with opened(path) as file:
        return file.read().decode(errors="replace")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A plain file in a directory of another account's; OSError if it is anything else.

    That account could have put a link, a pipe or a device in its place: none is followed, waited
    for or read.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with opened_folder(path.parent) as folder:
        descriptor = os.open(path.name, flags, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a plain file")
    with os.fdopen(descriptor, "rb") as file:
        yield file


def persist(*directories: Path) -> None:
    """Have the names in some directories outlive a power loss, without waiting for all the disk."""
    for directory in directories:
        with opened_folder(directory) as folder:
            os.fsync(folder)


@contextlib.contextmanager
def opened_folder(path: Path, make: bool = False) -> Iterator[int]:
    """A descriptor of a directory, reached step by step: links of root's are followed only."""
    folder = os.O_DIRECTORY | os.O_CLOEXEC
    descriptor = os.open("/", os.O_PATH | folder)
    names, followed = list(path.absolute().parts[1:]), 0
    try:
        while names:
            name = names.pop(0)
            target = link_of_root(name, descriptor)
            if target is not None:
                followed += 1
                if followed > LINKS_FOLLOWED:
                    raise OSError(f"{path}: too many links")
                names = [*Path(target).parts, *names]
                if not target.startswith("/"):
                    continue
                names, name = names[1:], "/"
            elif make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=descriptor)
            try:
                below = os.open(name, os.O_PATH | os.O_NOFOLLOW | folder, dir_fd=descriptor)
            except OSError as error:
                error.filename = f"{path}, at {name}"
                raise
            os.close(descriptor)
            descriptor = below
        reached = os.open(".", os.O_RDONLY | folder, dir_fd=descriptor)
        try:
            yield reached
        finally:
            os.close(reached)
    finally:
        os.close(descriptor)


def link_of_root(name: str, folder: int) -> str | None:
    """Where a link leads that root has made, or whoever this is; None: it is none."""
    try:
        there = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISLNK(there.st_mode) or there.st_uid not in (0, os.geteuid()):
        return None
    return os.readlink(name, dir_fd=folder)


# -- systemd ---------------------------------------------------------------------------------------


def systemctl(*arguments: str) -> Done:
    return attempt("systemctl", "--quiet", "--no-ask-password", *arguments)


def show(unit: str, name: str) -> str:
    """One property of a unit."""
    return systemctl("show", f"--property={name}", "--value", unit).stdout.strip()


def is_active(unit: str) -> bool:
    return systemctl("is-active", unit).returncode == 0


def enable(*units: str) -> None:
    """Have the next boot start units; the caller has systemd reread its files after the last."""
    systemctl("enable", "--no-reload", *units)


def disable(*units: str) -> None:
    """The opposite of `enable`."""
    systemctl("disable", "--no-reload", *units)


def listed(*patterns: str, states: str = "active,activating,reloading") -> list[str]:
    """The units in some states whose names fit."""
    said = systemctl("list-units", "--plain", "--no-legend", f"--state={states}", *patterns).stdout
    return [line.split()[0] for line in said.splitlines() if line.strip()]


def start(unit: str) -> None:
    """Start a unit, or say why it does not."""
    systemctl("reset-failed", unit)
    if systemctl("start", unit).returncode:
        raise PergolaError(f"{unit} does not start", journal(unit))


def reread(*units: str) -> bool:
    """Have systemd reread its unit files when one of these changed since; whether one did."""
    if changed := "yes" in systemctl("show", "--property=NeedDaemonReload", *units).stdout:
        systemctl("daemon-reload")
    return changed


def journal(unit: str, most: int = 30, since: float | None = None) -> str:
    """The first and the last lines that the latest run of a unit, or all since then, wrote."""
    wanted = [f"--unit={unit}"]
    if since is not None:
        wanted = [f"_SYSTEMD_UNIT={unit}", f"--since=@{int(since)}"]
    elif run_of := show(unit, "InvocationID"):
        wanted = [f"_SYSTEMD_INVOCATION_ID={run_of}"]
    attempt("journalctl", "--sync")
    said = attempt("sh", "-c", ENDS, "journalctl", "--no-pager", "--output=cat", *wanted).stdout
    return shortened(said, most) or "(no line in the journal)"
