"""The account that builds releases: what runs as it, and its cache of packages."""

import os
import signal
import time
from pathlib import Path

from pergola.errors import PergolaError
from pergola.system import account_of

PROC = Path("/proc")
CACHES = Path("/var/cache")
SECONDS_TO_DIE = 10
LOOK_EVERY = 0.02


def end_all_of(account: str) -> None:
    """Kill whatever runs as a build account, of this build or one before; PergolaError if it stays.

    A unit's end kills all that is in it. This is for what an earlier Pergola left, which ran builds
    outside of units, and for a unit whose deploy was killed.
    """
    person = account_of(account)
    if person.pw_uid == 0:
        raise PergolaError(f"the account {account}, which builds releases, is root")
    until = time.monotonic() + SECONDS_TO_DIE
    while processes_of(person.pw_uid):
        if time.monotonic() > until:
            raise PergolaError(
                f"processes of {account} do not end, so the release cannot be made safely",
                hint=f"see what hangs: ps -u {account}; nothing was changed",
            )
        kill_all_of(person.pw_uid, person.pw_gid)
        time.sleep(LOOK_EVERY)


def kill_all_of(uid: int, gid: int) -> None:
    """SIGKILL for all processes of an account in one call, which no fork can run away from."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def processes_of(uid: int) -> list[int]:
    """The processes that run as an account, dead ones that nobody waited for left out."""
    found = []
    for process in PROC.glob("[0-9]*"):
        try:
            status = (process / "status").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        if str(uid) in fields["Uid"].split() and not fields["State"].startswith(("Z", "X")):
            found.append(int(process.name))
    return found


def cache_of(account: str) -> Path:
    """The account's cache of packages, which only root can get at: see `packages.fetch`.

    What else is below its directory is of an earlier Pergola, whose builds could change it.
    """
    person = account_of(account)
    home = CACHES / account
    home.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchown(descriptor, 0, 0)
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)
    cache = home / "packages"
    if cache.is_symlink():
        cache.unlink()
    cache.mkdir(mode=0o700, exist_ok=True)
    os.chown(cache, person.pw_uid, person.pw_gid)
    return cache
