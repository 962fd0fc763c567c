"""Apply an application's settings to this server; its releases come afterwards."""

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pergola import apps
from pergola.app import directories, postgresql, services
from pergola.app.order import Order
from pergola.database import server as servers
from pergola.database.restart import Restarted
from pergola.errors import PergolaError
from pergola.notes import in_no_backup
from pergola.system import run
from pergola.web import load, site

COUNT_SECONDS = 10
LOCK = Path("/run/pergola/applying")


@dataclass(frozen=True)
class Files:
    """How many files an application keeps, and their bytes; `more`: not all could be counted."""

    count: int = 0
    bytes: int = 0
    more: bool = False


@dataclass(frozen=True)
class Applied:
    """The result: what was made, in words; PostgreSQL's restart; what Caddy needed.

    `files`: how many are in no backup, below `places`; `left`: directories with files that the
    application does not name any more; `left_by_services`: those in which none of its services
    keeps anything any more.
    """

    changed: bool
    made: list[str] = field(default_factory=list)
    restarted: Restarted | None = None
    web: str = ""
    files: Files = field(default_factory=Files)
    places: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    left_by_services: list[str] = field(default_factory=list)


def apply(order: Order, kept: Path | None = None) -> Applied:
    """Have all of it in force. `kept`: where the files are that this run has replaced."""
    home = apps.HOMES / order.app
    made = accounts(order.app) if order.here else []
    with alone():
        try:
            more, restarted = what_it_needs(order, home)
        except PergolaError:
            # Nobody's next reload must put a site into force that this run did not get to.
            if kept is not None:
                load.take_back(kept, load.FOLDER)
            raise
        made += more
        if order.here:
            apps.App(home).have_nothing_live()
        web = ""
        if order.site:
            site.forget_others(order.app, bool(order.domains), order.path_file)
            web = load.load(kept, for_site=True)
    changed = bool(made or restarted or web)
    if not order.here:
        return Applied(changed, made, restarted, web)
    places, left = in_no_backup(order.app, order.files), directories.left(home, order.shared)
    left_by_services = services.left(order.app, order.services)
    files = counted(map(Path, places))
    return Applied(changed, made, restarted, web, files, places, left, left_by_services)


def what_it_needs(order: Order, home: Path) -> tuple[list[str], Restarted | None]:
    """Have its directories, its databases and its services, as far as they belong here."""
    made: list[str] = []
    restarted = None
    if order.here:
        made += directories.make(order.app, order.writable)
        made += directories.show(home, order.shared)
    if order.has_database:
        server = servers.noted()
        more, restarted = postgresql.apply(order, server, postgresql.of_server(server))
        made += more
    if order.here:
        made += services.apply(order.app, order.services)
    postgresql.note(order)
    return made, restarted


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Wait until no other application's settings are applied here: what all need is added up."""
    LOCK.parent.mkdir(mode=0o755, exist_ok=True)
    with LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def accounts(app: str) -> list[str]:
    """Make its accounts and directories, as its files say; the accounts that were missing.

    Both programs make what is missing and correct owners and modes.
    """
    before = set(Path("/etc/passwd").read_text().splitlines())
    run("systemd-sysusers", f"/etc/sysusers.d/{app}.conf")
    run("systemd-tmpfiles", "--create", f"/etc/tmpfiles.d/{app}.conf")
    after = Path("/etc/passwd").read_text().splitlines()
    return [f"account {line.partition(':')[0]}" for line in after if line not in before]


def counted(folders: Iterable[Path]) -> Files:
    """What is below some directories, each within its file system, for ten seconds at most."""
    until = time.monotonic() + COUNT_SECONDS
    count = size = 0
    for folder in folders:
        for status in files(folder):
            count, size = count + 1, size + status.st_size
            if time.monotonic() > until:
                return Files(count, size, more=True)
    return Files(count, size)


def files(folder: Path) -> Iterator[os.stat_result]:
    """The plain files below a directory: no link is followed, what cannot be read is left out."""
    try:
        device = folder.stat().st_dev
    except OSError:
        return
    for path, names, inside in os.walk(folder):
        place = Path(path)
        names[:] = [name for name in names if is_on(device, place / name)]
        for name in inside:
            with contextlib.suppress(OSError):  # gone since
                status = (place / name).lstat()
                if stat.S_ISREG(status.st_mode):
                    yield status


def is_on(device: int, path: Path) -> bool:
    try:
        return path.lstat().st_dev == device
    except OSError:
        return False
