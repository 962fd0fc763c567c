"""The nightly backup of files: made, older ones removed, a part of all data read."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pergola import apps
from pergola.app import directories
from pergola.apps import App
from pergola.backup.files import databases, repositories
from pergola.backup.files.databases import Database
from pergola.backup.files.repositories import Repository
from pergola.backup.files.shown import shown
from pergola.errors import PergolaError, of_system
from pergola.people import DAY, size
from pergola.results import recorded
from pergola.system import run

# All backups are of these two paths: of the files as they are, and of SQLite's copies.
WORK = Path("/var/lib/pergola/files")
TREE, COPIES = "tree", "databases"
# Each night another part: all data is read within a week.
PARTS = 7
NAMED = 5
NONE = "no application has files in a shared directory"
HERE_ONLY = "on this server's own disk only: group backup, or backup_s3, has another copy kept"


def make() -> None:
    """Back up the files of each application to all its repositories.

    One that fails does not keep the others from theirs; PergolaError names it afterwards.
    """
    with recorded("files") as result, alone(), together() as failed:
        said: list[str] = []
        kept = [app for app in apps.every() if has_files(app)]
        for app in kept:
            with collected(failed):
                said += back_up(app, failed)
        if said and not repositories.are_elsewhere():
            said.append(HERE_ONLY)
        result.says = "; ".join(said) or NONE


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Wait until nobody else works in the directory."""
    WORK.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (WORK / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def remove(path: Path) -> None:
    """Remove a directory with all that is in it, but for what is mounted there."""
    run("rm", "-rf", "--one-file-system", path)


@contextlib.contextmanager
def together() -> Iterator[list[PergolaError]]:
    """Raise what is in the list at the end as one PergolaError."""
    failed: list[PergolaError] = []
    yield failed
    if failed:
        raise PergolaError(
            "; ".join(error.reason for error in failed),
            "\n".join(filter(None, (error.evidence for error in failed))),
            hint=next((error.hint for error in failed if error.hint), ""),
        )


@contextlib.contextmanager
def collected(failed: list[PergolaError]) -> Iterator[None]:
    """Go on after a failure, which is told at the end."""
    try:
        yield
    except PergolaError as error:
        failed.append(error)
    except OSError as error:
        failed.append(of_system(error))


def has_files(app: App) -> bool:
    return next(directories.applications(app.home / "shared"), None) is not None


def back_up(app: App, failed: list[PergolaError]) -> list[str]:
    """A sentence for each repository that one application's files are in now."""
    work, said = WORK / app.name, []
    copies, tree = work / COPIES, work / TREE
    work.mkdir(mode=0o700, exist_ok=True)
    remove(copies)
    try:
        found: list[Database] = []
        with collected(failed):
            found = databases.copied(app.name, app.home / "shared", copies)
        if wrong := [one for one in found if one.wrong and not one.damaged]:
            failed.append(not_copied(app, wrong))
        with shown(app.home / "shared", tree):
            for repository in repositories.of(app.name):
                with collected(failed):
                    said.append(back_up_to(app, repository, found, work))
    finally:
        remove(copies)
    return said


def not_copied(app: App, wrong: Sequence[Database]) -> PergolaError:
    names = ", ".join(f"{one.path} ({one.wrong})" for one in wrong[:NAMED])
    return PergolaError(
        f"SQLite's files of {app.name} could not be copied at one moment, and are in the backup as "
        f"they lie on the disk: {names}",
        hint=f"look at them: sudo -u {app.name} sqlite3 {app.home}/shared/… 'pragma "
        "integrity_check'",
    )


def back_up_to(app: App, repository: Repository, found: Sequence[Database], work: Path) -> str:
    began = time.monotonic()
    repository.have()
    live = [
        option for one in found if not one.wrong for option in databases.left_out(one, work / TREE)
    ]
    counted, unread = repository.add(*live, work / TREE, work / COPIES)
    repository.forget()
    repository.check(int(time.time() // DAY) % PARTS + 1, PARTS)
    # What the application has removed meanwhile is no fault.
    if still_there := [path for path in unread if os.path.lexists(path)]:
        names = ", ".join(path.removeprefix(f"{work / TREE}/") for path in still_there[:NAMED])
        raise PergolaError(f"files of {app.name} could not be read: {names}")
    return f"{told(app.name, counted, found)} in {repository.name}, {seconds(began)}"


def told(app: str, counted: Mapping[str, int], found: Sequence[Database]) -> str:
    count, total = counted["total_files_processed"], size(counted["total_bytes_processed"])
    whole = sum(not one.damaged for one in found)
    of_sqlite = f", {whole} of SQLite" if whole else ""
    files = "1 file" if count == 1 else f"{count} files"
    added = f"{size(counted['data_added'])} added"
    # Visitors upload all kinds of files: these are no failure, and somebody may want to know.
    as_they_lie = ", ".join(one.path for one in found if one.damaged)
    remark = f" (no whole databases, as they lie on the disk: {as_they_lie})" if as_they_lie else ""
    return f"{app}: {files} ({total}{of_sqlite}), {added}{remark}"


def seconds(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"
