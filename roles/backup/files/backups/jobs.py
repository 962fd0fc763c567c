"""Making backups, and points to return to."""

import math
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from backups.cluster import Cluster
from backups.gaps import gap_after
from backups.peers import make_room
from backups.repository import NEXT_XID, Backup, Repositories
from backups.results import recorded
from backups.server import Server
from backups.settings import Repository, Settings
from backups.system import (
    STATE,
    BackupError,
    add_line,
    as_postgres,
    checked,
    last_lines,
    now,
    size,
    stamp,
)

POINTS = STATE / "points.jsonl"
SECONDS_TO_ARCHIVE = 60
PATIENCE = 3
# PostgreSQL tries three times, a second apart, and then waits for a minute.
FAILURES = 2
SPOOL = Path("/var/spool/pgbackrest/archive")
KEEPERS_TIMERS = ("full", "incr", "verify")
TIMERS = (*KEEPERS_TIMERS, "drill")


def back_up(settings: Settings, kind: str) -> None:
    """Make a full or an incremental backup of one server; see back_up_all."""
    back_up_all([settings], kind)


def back_up_all(stanzas: Sequence[Settings], kind: str) -> None:
    """Make a full or an incremental backup in every repository that this host backs up to.

    One that fails does not keep the others from theirs; BackupError names it afterwards.
    """
    with recorded("backup", type=kind) as result:
        said, failed = [], []
        for settings in stanzas:
            for repository in settings.local:
                where = f"{repository.name} of {settings.stanza}"
                try:
                    said.append(back_up_to(Repositories(settings), repository, kind))
                except BackupError as error:
                    failed.append((where, error))
        if failed:
            raise BackupError(
                f"no {kind} backup could be made in {', '.join(where for where, _ in failed)}"
                + (f" (made were {'; '.join(said)})" if said else ""),
                "\n".join(error.report() for _, error in failed),
            )
        result["says"] = "; ".join(said)


def back_up_to(repositories: Repositories, repository: Repository, kind: str) -> str:
    """Make one backup; return a sentence on it."""
    began = time.monotonic()
    repositories.do("backup", f"--repo={repository.number}", f"--type={kind}")
    made = repositories.newest(repository.number)
    annotate(repositories, made)
    return (
        f"{made.label} in {repository.name}: {size(made.bytes_in_database)} of the server, "
        f"{size(made.bytes_in_repository)} added, {time.monotonic() - began:.1f} s"
    )


def annotate(repositories: Repositories, backup: Backup) -> None:
    """Note which transactions come after a backup: a restore to one of them can begin with it.

    Only the server itself knows; a host that keeps its backups does not.
    """
    cluster = Cluster(repositories.settings)
    if not cluster.data.exists():
        return
    xid = cluster.sql("select pg_snapshot_xmax(pg_current_snapshot())")
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
    repositories.do("stanza-create")
    have = {backup.repository for backup in repositories.backups()}
    if any(one.number not in have for one in settings.repositories):
        send_histories(settings)
    repositories.do(
        "check",
        "--archive-timeout=30",
        hint="WAL does not reach a repository: see /var/log/pgbackrest/ on the server, and whether "
        "there is room and the hosts that keep copies can be reached",
    )
    others = [one for one in settings.repositories if not one.local]
    made = have_first([settings]) or go_on_after_gap(settings)
    return made, [one.name for one in others if one.number not in have]


def send_histories(settings: Settings) -> None:
    """Send the histories of the server's timelines to all repositories once more.

    PostgreSQL sent each when its timeline began, at a restore. A repository that came later lacks
    it, and nothing could be restored from there: recovery does not know the timeline.
    """
    wal = Cluster(settings).data / "pg_wal"
    again = [str(wal / f"archive_status/{one.name}.ready") for one in wal.glob("*.history")]
    if again:
        # PostgreSQL does it: pgBackRest sends by one process at a time.
        checked(as_postgres("touch", *again), "marking the timelines' histories")


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
    repositories, segment_bytes = Repositories(settings), Server(Cluster(settings)).segment_bytes()
    for repository in settings.local:
        newest = repositories.newest(repository.number)
        # Its own timeline only: another one's WAL may begin anywhere.
        if gap_after(repositories, newest, {newest.timeline: math.inf}, segment_bytes):
            back_up(settings, "incr")
            return True
    return False


def mark(settings: Settings) -> float:
    """Bring the archive up to now; the moment (seconds since 1970) until which it then reaches.

    Recovery stops at a moment when it meets a transaction that ended after it: on a server where
    nothing happens this one is that.
    """
    moment = time.time()
    Cluster(settings).sql("select pg_current_xact_id()")
    archived(settings, "mark")
    return moment


def make_point(settings: Settings, name: str) -> str:
    """Make a named point that a restore can go to, and wait until it is in the archive; its name.

    Called before each migration of a deploy, which names its release in the environment.
    """
    release = os.environ.get("PERGOLA_RELEASE")
    name = name or (f"before-{release}" if release else f"point-{now():%Y%m%dT%H%M%SZ}")
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,63}", name):
        raise BackupError(
            f"'{name}' is no name of a point: letters, digits, '.', '_', '-', 63 at most"
        )
    position = archived(settings, name)
    add_line(POINTS, {"name": name, "at": stamp(now()), "position": position})
    return name


def archived(settings: Settings, name: str) -> str:
    """Make a named point, wait until it is in the archive, return its position in the WAL."""
    cluster = Cluster(settings)
    create = f"pg_create_restore_point('{name}')"
    made = cluster.sql(f"select lsn, pg_walfile_name(lsn) from {create} lsn")  # noqa: S608 - a plain name
    position, segment = made.split("|")
    before = int(cluster.sql("select failed_count from pg_stat_archiver"))
    cluster.sql("select pg_switch_wal()")
    began = time.monotonic()
    done = f"select from pg_ls_archive_statusdir() where name = '{segment}.done'"
    arrived = f"select last_archived_wal >= '{segment}' or exists ({done}) from pg_stat_archiver"  # noqa: S608
    while cluster.sql(arrived) != "t":
        waited = time.monotonic() - began
        # PostgreSQL hears of it when all repositories have it. One that is away stops no deploy.
        if waited > PATIENCE and (holder := holder_of(settings, segment)):
            print(f"WARNING: archived in {holder} only: {refusals(settings)}", file=sys.stderr)
            break
        failed = int(cluster.sql("select failed_count from pg_stat_archiver")) - before
        if waited > SECONDS_TO_ARCHIVE or failed > FAILURES:
            raise BackupError(
                f"what was written last did not reach the archive within {waited:.0f} s",
                refusals(settings),
                "see /var/log/pgbackrest/ and the end of /var/log/postgresql/*.log on the server",
            )
        time.sleep(0.1 if waited < PATIENCE else 1)
    return position


def holder_of(settings: Settings, segment: str) -> str:
    """The name of a repository of this host's that has a segment of WAL."""
    for one in settings.local:
        options = [f"--stanza={settings.stanza}", f"--repo={one.number}", f"--filter={segment}"]
        where = ["repo-ls", "--recurse", f"archive/{settings.stanza}"]
        if segment in as_postgres("pgbackrest", *options, *where).stdout:
            return one.name
    return ""


def refusals(settings: Settings) -> str:
    """Why WAL is not archived, as the sending process has noted it; "" when it has not."""
    found = sorted((SPOOL / settings.stanza / "out").glob("*.error"))
    return last_lines("\n".join(found[0].read_text().splitlines()[1:])) if found else ""
