"""What a restore would do, found out before anything is stopped."""

import shutil
import time
from dataclasses import dataclass, replace

from pergola.apps import App
from pergola.backup import changes, gaps, points
from pergola.backup.changes import put_aside
from pergola.backup.fence import applications_here
from pergola.backup.info import Clusters
from pergola.backup.repository import Backup, Repositories, trouble
from pergola.backup.server import Server
from pergola.backup.settings import Settings
from pergola.backup.targets import Choice, Target, Wanted, ancestry, choose, live_at, target_of
from pergola.backup.timelines import history
from pergola.errors import PergolaError
from pergola.people import size, stamp

ROOM = 1.05
ROOM_FOR_WAL = 200_000_000


@dataclass
class Plan:
    """A restore in place; `timeline` is the one that is live now, None where that is unknown."""

    choice: Choice
    timeline: int | None
    foreign: bool  # the backups are another server's than the one that is here: it is new
    runs: bool
    applications: list[App]
    remarks: list[str]


def make_plan(settings: Settings, wanted: Wanted) -> Plan:
    """Bring the archive up to now and choose; PergolaError if the target cannot be reached."""
    server, repositories = Server(settings.version), Repositories(settings)
    remarks, now = [], time.time()
    target = target_of(wanted, points.every(), now)
    backups, foreign = backups_for(settings, server, wanted.repository)
    runs, timeline = server.answers(), server.timeline()
    if foreign:
        timeline = None
        remarks.append("the data that is here now is another cluster's: this server is a new one")
    elif runs:
        is_live = wanted.timeline in (None, timeline)
        remarks += bring_up_archive(settings, server, target, is_live)
    else:
        remarks.append(
            "PostgreSQL does not run: what it had not archived yet is in the directory that is kept"
        )
    along, way = wanted.timeline, None
    if not foreign:
        assert timeline is not None  # noqa: S101 - backups_for calls a server without data foreign
        if along is None:
            target, along = on_its_timeline(target, timeline)
        way = ancestry(along, history(settings, along))
    backup = choose(target, backups, way, now)
    gap = gaps.gap_after(repositories, backup, way, server.segment_bytes())
    remarks += gaps.seen(gap, target) + away(settings)
    if foreign or not runs:
        remarks.append(gaps.reach(repositories, backup))
    refuse_without_room(server, backup)
    choice = Choice(target, backup, along)
    return Plan(choice, timeline, foreign, runs, applications_here(), remarks)


def on_its_timeline(target: Target, timeline: int) -> tuple[Target, int]:
    """A target with the timeline that was live then; no moment: the one that is live now."""
    if target.moment is None:
        return target, timeline
    along, change = live_at(target.moment, changes.every(), timeline)
    if change and target.kind == "time":
        # Nothing was written between a restore's stop and its end: it is the end of that timeline.
        return replace(target, kind="default", value=""), along
    return target, along


def backups_for(
    settings: Settings, server: Server, repository: int | None
) -> tuple[list[Backup], bool]:
    """The backups that could be restored here, and whether they are another cluster's.

    Those of the cluster that is here; on a new server those of the newest cluster of its name.
    """
    repositories = Repositories(settings)
    if repository not in (None, *(one.number for one in settings.repositories)):
        numbers = ", ".join(str(one.number) for one in settings.repositories)
        raise PergolaError(f"there is no repository {repository}", hint=f"there are: {numbers}")
    clusters = {(one["repo-key"], one["id"]): one for one in repositories.info().get("db", [])}

    def cluster(backup: Backup) -> Clusters:
        return clusters[backup.repository, backup.history]

    found = [one for one in repositories.backups() if repository in (None, one.repository)]
    here = server.system_id()
    own = [one for one in found if cluster(one)["system-id"] == here]
    foreign = not own and bool(found)
    if foreign:
        newest = cluster(found[-1])["system-id"]
        own = [one for one in found if cluster(one)["system-id"] == newest]
    version = str(settings.version)
    usable = [one for one in own if cluster(one)["version"] == version]
    if own and not usable:
        raise PergolaError(
            f"the backups are of PostgreSQL {cluster(own[-1])['version']}, here is {version}",
            hint="set postgresql_version to that, run site.yml, and restore then",
        )
    return usable, foreign


def bring_up_archive(
    settings: Settings, server: Server, target: Target, is_live: bool
) -> list[str]:
    """Have all that was written until now archived, and see that the target is among it."""
    if target.kind == "xid" and is_live:
        refuse_to_come(server, target)
    try:
        points.mark(settings)
    except PergolaError as error:
        query = "select coalesce(extract(epoch from last_archived_time), 0) from pg_stat_archiver"
        last = float(server.ask(query))
        if target.kind == "time" and (target.moment or 0) > last:
            reason = f"the archive ends at {stamp(last)}, before {target.words}"
            raise PergolaError(reason, str(error)) from error
        return [f"the archive ends at {stamp(last)}: {error.reason}"]
    return []


def refuse_to_come(server: Server, target: Target) -> None:
    """PergolaError for a transaction that has not ended yet, or not begun."""
    xid = f"'{target.value}'::xid8"
    to_come = f"{xid} >= pg_snapshot_xmax(pg_current_snapshot())"
    # The second fails for a transaction that is to come.
    state = server.ask(f"select case when {to_come} then 'to come' else pg_xact_status({xid}) end")
    if state in ("to come", "in progress"):
        following = server.ask("select pg_snapshot_xmax(pg_current_snapshot())")
        raise PergolaError(
            f"transaction {target.value} has not ended yet",
            hint=f"name one before {following}, the next one's number",
        )


def away(settings: Settings) -> list[str]:
    """Remarks on repositories that cannot be used."""
    return [
        f"repository {number}, {settings.name_of(number)}, {trouble(reason)}: its backups are not "
        "seen; the outage is some two seconds longer for it, and what is written just before the "
        "stop will not be in it"
        for number, reason in Repositories(settings).away().items()
    ]


def refuse_without_room(server: Server, backup: Backup) -> None:
    where = server.data.parent
    free = shutil.disk_usage(where).free
    needed = backup.bytes_in_database * ROOM + ROOM_FOR_WAL
    if free < needed:
        raise PergolaError(
            f"the old data would be kept, and there is no room for both: {size(needed)} are needed "
            f"below {where}, {size(free)} are free",
            hint="\n".join(f"rm -rf {one}" for one in put_aside(server))
            or "make room, or restore beside it on a larger disk",
        )
