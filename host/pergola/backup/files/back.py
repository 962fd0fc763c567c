"""An application's files as they were: restored beside the live ones, then put in their place.

The former ones stay beside them, which is the way back.
"""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pergola.app import directories
from pergola.apps import HOMES, App
from pergola.backup.fence import Closed
from pergola.backup.files import repositories
from pergola.backup.files.make import COPIES, TREE, WORK, remove
from pergola.backup.files.repositories import Repository, Snapshot, said
from pergola.backup.files.shown import mounts
from pergola.backup.places import exchange, move
from pergola.backup.restore import told_to_stop
from pergola.errors import PergolaError
from pergola.lock import AT_ONCE, locked
from pergola.people import duration, moment_of, size, stamp
from pergola.results import recorded
from pergola.system import account_of, opened_folder, run

BEFORE = "shared.before-"
ROOM = 1.1  # times the bytes in the files: small ones take whole blocks
ROOM_FOR_OTHERS = 1 << 30  # stays free for them meanwhile
TO_OPEN = """\
why: sudo journalctl -u '{name}[.@]*'. Then repair the application (a deploy starts it) and take its
page away: playbooks/maintenance.yml -e state=off; or go back: playbooks/restore.yml -e what=files
-e undo=true"""


@dataclass(frozen=True)
class Plan:
    """What would be restored. `silent`: repositories that could not be asked, and why."""

    app: App
    repository: Repository
    snapshot: Snapshot
    silent: list[str] = field(default_factory=list)

    def words(self) -> str:
        return f"the files of {self.app.name} as of {stamp(self.snapshot.at)}"


# -- the plan --------------------------------------------------------------------------------------


def make_plan(name: str, to: str = "") -> Plan:
    """The newest backup, or the newest before a moment; PergolaError where there is none."""
    app, now = application(name), time.time()
    until = moment_of(to, now) if to else now
    found: list[tuple[Snapshot, Repository]] = []
    silent: list[str] = []
    for repository in repositories.of(name):
        try:
            found += [(one, repository) for one in repository.snapshots()]
        except PergolaError as error:
            silent.append(said(error))
    # The first repository's where several are as new: it is on this host.
    if fitting := [one for one in found if one[0].at <= until or not to]:
        snapshot, repository = max(fitting, key=lambda one: one[0].at)
        return Plan(app, repository, snapshot, silent)
    oldest = min((one[0].at for one in found), default=None)
    what = f"the oldest is of {stamp(oldest)}" if oldest else "there is none"
    raise PergolaError(
        f"there is no backup of the files of {name} to go back to: {what}", "\n".join(silent)
    )


def application(name: str) -> App:
    """PergolaError where it has none of the directories."""
    if not repositories.APP.fullmatch(name):
        raise PergolaError(f"'{name}' is no application's name")
    app = App(HOMES / name)
    shared = app.home / "shared"
    if not shared.is_dir():
        raise PergolaError(
            f"this host has no {shared}",
            hint="deploy the application first, with its app_shared_directories",
        )
    return app


def in_the_way(app: App) -> str:
    """Why its directories cannot change places with others; empty: they can."""
    there = mounts(app.home / "shared")
    return f"{there[0]} is a mount: restore beside it (-e into=scratch) and copy" if there else ""


def told(plan: Plan) -> str:
    """For people."""
    home = plan.app.home
    rows = {
        "restore": f"{plan.words()} (backup {plan.snapshot.id})",
        "from": plan.repository.name + lost_and_copied(plan.repository),
        "lost": f"what was written below {home}/shared in the "
        f"{duration(max(time.time() - plan.snapshot.at, 0))} since",
        "application": outage(plan.app),
        "kept": f"the current files, as {home}/{BEFORE}<time>; the way back is -e undo=true",
        "not in place": in_the_way(plan.app),
        "not asked": "; ".join(plan.silent),
    }
    return table(rows)


def lost_and_copied(repository: Repository) -> str:
    if not repository.copies or repository.is_there():
        return ""
    return f", which comes back from {' or '.join(one.name for one in repository.copies)} first"


def told_undo(name: str) -> str:
    app = application(name)
    rows = {
        "restore": f"{last_before(app)}, which was put aside",
        "application": outage(app),
        "kept": f"the current files, as {app.home}/{BEFORE}<time>; -e undo=true again returns",
    }
    return table(rows)


def outage(app: App) -> str:
    if not app.is_live():
        return f"{app.name}: no release is live, nothing is stopped"
    return f"{app.name}: maintenance page, its processes and schedules are stopped for some seconds"


def table(rows: dict[str, str]) -> str:
    return "\n".join(f"{name:<13} {text}" for name, text in rows.items() if text)


# -- what is done ----------------------------------------------------------------------------------


def restore(name: str, to: str) -> None:
    """Put the files of a backup in the place of the live ones."""
    with recorded("files-restore") as result:
        plan = make_plan(name, to)
        with held(plan.app):
            aside = plan.app.home / ".restored"
            try:
                kept = change_places(plan.app, fetch(plan, aside))
            finally:
                remove(aside)
        result.says = f"{plan.words()} from {plan.repository.name}; the former files are {kept}"


def undo(name: str) -> None:
    """Go back to what the last restore, or undo, has put aside."""
    with recorded("files-restore", type="undo") as result:
        app = application(name)
        with held(app):
            before = last_before(app)
            kept = change_places(app, before)
        result.says = f"back to what was {before}; what was live is {kept}"


def beside(name: str, to: str) -> Path:
    """Restore for a look, for root only; where that is."""
    plan = make_plan(name, to)
    target = scratch_of(name)
    remove(target)
    return fetch(plan, target)


def scratch_of(name: str) -> Path:
    return WORK / f"{name}.scratch"


@contextlib.contextmanager
def held(app: App) -> Iterator[None]:
    """Keep out whatever else changes the application; give up in good order when told to."""
    if why := in_the_way(app):
        raise PergolaError(f"the files of {app.name} cannot be replaced in place: {why}")
    with told_to_stop(), locked([app.place], "a restore of its files", AT_ONCE, "restore"):
        yield


def last_before(app: App) -> Path:
    """The directory that was put aside last."""
    if found := sorted(app.home.glob(f"{BEFORE}*")):
        return found[-1]
    raise PergolaError(f"there is no {app.home}/{BEFORE}<time> to go back to")


def refuse_without_room(plan: Plan, target: Path) -> None:
    """PergolaError before anything is written: the disk may be PostgreSQL's too."""
    place = next(path for path in target.parents if path.exists())
    needed = int(sum(plan.repository.sizes(plan.snapshot).values()) * ROOM) + ROOM_FOR_OTHERS
    if (free := shutil.disk_usage(place).free) < needed:
        raise PergolaError(
            f"there is no room to restore {plan.words()}: {size(needed)} are needed below {place}, "
            f"{size(free)} are free"
        )


def fetch(plan: Plan, target: Path) -> Path:
    """Restore below a directory that only root can enter; where the files are then."""
    remove(target)
    plan.repository.bring_back()
    refuse_without_room(plan, target)
    target.mkdir(mode=0o700, parents=True)
    try:
        plan.repository.restore(plan.snapshot, target)
        top = target / WORK.relative_to("/") / plan.app.name
        tree, copies = top / TREE, top / COPIES
        own(tree, plan.app.name)
        own(copies, plan.app.name)
        put_in(copies, tree)
    except BaseException:
        remove(target)
        raise
    return tree


def own(tree: Path, account: str) -> None:
    """Give the files to the application: on another server it has another number.

    What is root's stays root's: the directories above the application's own.
    """
    person = account_of(account)
    for folder, folders, names in os.walk(tree):
        for name in (".", *folders, *names):
            path = os.path.normpath(Path(folder, name))
            if os.lstat(path).st_uid != 0:
                os.lchown(path, person.pw_uid, person.pw_gid)


def put_in(copies: Path, tree: Path) -> None:
    """Move SQLite's copies to where the databases were, by no link of the application's."""
    for folder, _, names in os.walk(copies):
        for name in names:
            to = tree / Path(folder).relative_to(copies)
            with opened_folder(Path(folder)) as source, opened_folder(to) as target:
                os.replace(name, name, src_dir_fd=source, dst_dir_fd=target)


def change_places(app: App, other: Path) -> Path:
    """Have other files live while the application is kept away; where the former ones are."""
    shared = app.home / "shared"
    kept = app.home / f"{BEFORE}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # from here on it takes seconds
    with away(app):
        # Under its name beforehand: whatever fails after the exchange removes no files.
        move(other, kept)
        exchange(shared, kept, app.home / ".aside")
        if (file := Path(f"/etc/tmpfiles.d/{app.name}.conf")).exists():
            run("systemd-tmpfiles", "--create", file)
        directories.show_again(app.home)
    return kept


@contextlib.contextmanager
def away(app: App) -> Iterator[None]:
    """Keep an application away, and start it again whatever happens."""
    if not app.is_live():
        yield
        return
    closed = Closed(app)
    closed.page_is_ours = not closed.has_page()
    closed.hide()
    closed.plan_stop()
    closed.stop()
    try:
        yield
    finally:
        try:
            closed.start()
        except PergolaError as error:
            raise error.but(
                "the maintenance page stays", hint=TO_OPEN.format(name=app.name)
            ) from None
        closed.show()
