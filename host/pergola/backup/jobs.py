"""Making backups."""

import math
import time
from collections.abc import Sequence

from pergola.backup.gaps import gap_after
from pergola.backup.pages import HINT as DAMAGED_HINT
from pergola.backup.pages import LIVE as DAMAGED_LIVE
from pergola.backup.pages import DamagedError, named
from pergola.backup.repository import (
    MISMATCH_HINT,
    NEXT_XID,
    WRONG_KEY_HINT,
    Backup,
    Repositories,
    make_room,
)
from pergola.backup.server import Server
from pergola.backup.settings import Repository, Settings
from pergola.errors import PergolaError
from pergola.people import size
from pergola.postgres import ACCOUNT
from pergola.results import recorded
from pergola.system import run

# pgBackRest waits for a minute for what sends WAL, also where that has given up because of a lock.
SECONDS_TO_PROVE = 75


def back_up(settings: Settings, kind: str) -> None:
    """Make a full or an incremental backup of one server; see back_up_all."""
    back_up_all([settings], kind)


def back_up_all(stanzas: Sequence[Settings], kind: str) -> None:
    """Make a full or an incremental backup in every repository that this host backs up to.

    One that fails does not keep the others from theirs; PergolaError names it afterwards.
    """
    with recorded("backup", type=kind) as result:
        said: list[str] = []
        damaged: list[str] = []
        failed: list[tuple[str, PergolaError]] = []
        for settings in stanzas:
            for repository in settings.local:
                where = f"{repository.name} of {settings.stanza}"
                try:
                    said.append(back_up_to(Repositories(settings), repository, kind))
                except DamagedError as error:
                    damaged.append(error.reason)
                except PergolaError as error:
                    failed.append((where, error))
        if failed or damaged:
            where = ", ".join(where for where, _ in failed)
            none = [f"no {kind} backup could be made in {where}"] if failed else []
            raise PergolaError(
                "; ".join(damaged + none) + (f" (made: {'; '.join(said)})" if said else ""),
                "\n".join(str(error) for _, error in failed),
                live=DAMAGED_LIVE if damaged else "",
                hint=DAMAGED_HINT if damaged else "",
            )
        result.says = "; ".join(said)


def back_up_to(repositories: Repositories, repository: Repository, kind: str) -> str:
    """Make one backup; return a sentence on it.

    DamagedError when pages of PostgreSQL's are damaged. Older backups are removed only after one
    that is not: else the last ones before the damage would go (expire-auto is off for that).
    """
    began, number = time.monotonic(), f"--repo={repository.number}"
    repositories.do("backup", number, f"--type={kind}")
    made = repositories.newest(repository.number)
    annotate(repositories, made)
    if made.damaged:
        files = named(Server(repositories.settings.version), repositories.damaged_files(made))
        raise DamagedError(
            f"the backup {made.label} in {repository.name} has damaged pages of PostgreSQL, in "
            + files
        )
    repositories.do("expire", number)
    return (
        f"{made.label} in {repository.name}: {size(made.bytes_in_database)} of the server, "
        f"{size(made.bytes_in_repository)} added, {time.monotonic() - began:.1f} s"
    )


def annotate(repositories: Repositories, backup: Backup) -> None:
    """Note which transactions come after a backup: a restore to one of them can begin with it.

    Only the server itself knows; a host that keeps its backups does not.
    """
    server = Server(repositories.settings.version)
    if not server.data.exists():
        return
    xid = server.ask("select pg_snapshot_xmax(pg_current_snapshot())")
    repositories.do(
        "annotate",
        f"--repo={backup.repository}",
        f"--set={backup.label}",
        f"--annotation={NEXT_XID}={xid}",
    )


def set_up(settings: Settings) -> tuple[bool, list[str]]:
    """Make the repositories usable, prove it, have a first backup in those that are this host's.

    Returns whether one was made, and the other hosts that hold none yet.
    """
    for repository in settings.local:
        if repository.path:
            make_room(repository.path)
    repositories = Repositories(settings)
    # One that does not answer lacks nothing that is known; `check` says what is wrong with it.
    silent = repositories.still_away().keys()
    holders = holders_of(repositories)
    if any(one.number not in holders | silent for one in settings.repositories):
        # Not at each call: WAL that is sent just then finds the lock taken, and waits for a minute.
        repositories.do("stanza-create")
    have = {backup.repository for backup in repositories.backups()}
    if any(one.number not in have for one in settings.repositories):
        send_histories(settings)
    try:
        repositories.do("check", f"--archive-timeout={SECONDS_TO_PROVE}")
    except PergolaError as error:
        raise error.but(
            "WAL does not reach a repository",
            hint=error.hint
            or "see /var/log/pgbackrest/ on the server, and whether there is room and the hosts "
            "that keep copies can be reached",
        ) from None
    others = [one for one in settings.repositories if not one.local]
    made = have_first([settings]) or go_on_after_gap(settings)
    return made, [one.name for one in others if one.number not in have]


def holders_of(repositories: Repositories) -> set[int]:
    """The repositories that hold the backups of this server's cluster.

    PergolaError where one holds another's: pgBackRest would begin in those that have none.
    """
    settings = repositories.settings
    here = Server(settings.version).system_id()
    if unreadable := repositories.unreadable():
        names = ", ".join(map(settings.name_of, unreadable))
        raise PergolaError(f"{names} cannot be read with this key", hint=WRONG_KEY_HINT)
    found = repositories.clusters()
    if others := [one for one, clusters in found.items() if here not in clusters]:
        names = ", ".join(map(settings.name_of, others))
        reason = f"{names} holds the backups of another cluster; nothing was changed"
        raise PergolaError(reason, hint=MISMATCH_HINT)
    return set(found)


def send_histories(settings: Settings) -> None:
    """Send the histories of the server's timelines to all repositories once more.

    PostgreSQL sent each when its timeline began, at a restore. A repository that came later lacks
    it, and nothing could be restored from there: recovery does not know the timeline.
    """
    wal = Server(settings.version).data / "pg_wal"
    again = [wal / f"archive_status/{one.name}.ready" for one in wal.glob("*.history")]
    if again:
        # PostgreSQL does it: pgBackRest sends by one process at a time.
        run("touch", *again, account=ACCOUNT, what="marking the timelines' histories")


def have_first(stanzas: Sequence[Settings]) -> bool:
    """Make a full backup of each server that this host has none of; whether there was such."""
    missing = []
    for settings in stanzas:
        have = {backup.repository for backup in Repositories(settings).backups()}
        if any(repository.number not in have for repository in settings.local):
            missing.append(settings)
    if missing:
        back_up_all(missing, "full")
    return bool(missing)


def go_on_after_gap(settings: Settings) -> bool:
    """Make a backup where WAL is lacking after the newest: backups were off. Whether there was."""
    repositories, segment_bytes = Repositories(settings), Server(settings.version).segment_bytes()
    for repository in settings.local:
        newest = repositories.newest(repository.number)
        # Its own timeline only: another one's WAL may begin anywhere.
        if gap_after(repositories, newest, {newest.timeline: math.inf}, segment_bytes):
            back_up(settings, "incr")
            return True
    return False
