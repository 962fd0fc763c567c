"""What a restore would do, found out and told before anything is stopped."""

import dataclasses
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from backups import gaps, jobs
from backups.apps import Application, applications_here
from backups.cluster import Cluster
from backups.repository import Backup, Repositories
from backups.results import all_results
from backups.server import Server
from backups.settings import Settings
from backups.system import STATE, BackupError, as_postgres, checked, lines_of, size, stamp
from backups.targets import Choice, Target, Wanted, ancestry, choose, is_on, live_at, target_of

# What this host's restores and undos did: see `record` in restore.py.
CHANGES = STATE / "restores.jsonl"
ROOM = 1.05
ROOM_FOR_WAL = 200_000_000
NOT_FOUND = 1  # archive-get's exit code
LISTED_POINTS = 5


@dataclasses.dataclass
class Plan:
    """A restore in place; `timeline` is the one that is live now, None where that is unknown."""

    choice: Choice
    timeline: int | None
    foreign: bool  # the backups are another server's than the one that is here: it is new
    runs: bool
    applications: list[Application]
    remarks: list[str]


def make_plan(settings: Settings, wanted: Wanted) -> Plan:
    """Bring the archive up to now and choose; BackupError if the target cannot be reached."""
    server, remarks = Server(Cluster(settings)), []
    now = time.time()
    target = target_of(wanted, lines_of(jobs.POINTS), now)
    backups, foreign = backups_for(settings, server, wanted.repository)
    runs, timeline = server.runs(), server.timeline()
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
    gap = gaps.gap_after(Repositories(settings), backup, way, server.segment_bytes())
    remarks += gaps.seen(gap, target)
    plan = Plan(
        Choice(target, backup, along),
        timeline,
        foreign,
        runs,
        applications_here(),
        remarks,
    )
    refuse_without_room(server, backup)
    return plan


def on_its_timeline(target: Target, timeline: int) -> tuple[Target, int]:
    """A target with the timeline that was live then; no moment: the one that is live now."""
    if target.moment is None:
        return target, timeline
    along, change = live_at(target.moment, lines_of(CHANGES), timeline)
    if change and target.kind == "time":
        # Nothing was written between a restore's stop and its end: it is the end of that timeline.
        return dataclasses.replace(target, kind="default", value=""), along
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
        raise BackupError(f"there is no repository {repository}", hint=f"there are: {numbers}")
    info = repositories.info()
    clusters = {(one["repo-key"], one["id"]): one for one in info.get("db", [])}

    def cluster(backup: Backup) -> dict[str, Any]:
        return clusters[backup.repository, backup.history]

    found = [one for one in repositories.backups() if repository in (None, one.repository)]
    here = server.system_id(server.cluster.data)
    own = [one for one in found if cluster(one)["system-id"] == here]
    foreign = not own and bool(found)
    if foreign:
        newest = cluster(found[-1])["system-id"]
        own = [one for one in found if cluster(one)["system-id"] == newest]
    version = str(settings.version)
    usable = [one for one in own if cluster(one)["version"] == version]
    if own and not usable:
        raise BackupError(
            f"the backups are of PostgreSQL {cluster(own[-1])['version']}, here is {version}",
            hint="set postgresql_version to that, run site.yml, and restore then",
        )
    return usable, foreign


def bring_up_archive(
    settings: Settings, server: Server, target: Target, is_live: bool
) -> list[str]:
    """Have all that was written until now archived, and see that the target is among it."""
    sql = server.cluster.sql
    if target.kind == "xid" and is_live:
        xid = f"'{target.value}'::xid8"
        to_come = f"{xid} >= pg_snapshot_xmax(pg_current_snapshot())"
        # The second fails for a transaction that is to come.
        state = sql(f"select case when {to_come} then 'to come' else pg_xact_status({xid}) end")
        if state in ("to come", "in progress"):
            raise BackupError(
                f"transaction {target.value} has not ended yet",
                hint="the next one's number is "
                + sql("select pg_snapshot_xmax(pg_current_snapshot())"),
            )
    try:
        jobs.mark(settings)
    except BackupError as error:
        last = sql(
            "select coalesce(extract(epoch from last_archived_time), 0) from pg_stat_archiver"
        )
        if target.kind == "time" and (target.moment or 0) > float(last):
            raise BackupError(
                f"the archive ends at {stamp(float(last))}, before {target.words}",
                error.report(),
            ) from error
        return [f"the archive ends at {stamp(float(last))}: {error.reason}"]
    return []


def history(settings: Settings, timeline: int, data: Path | None = None) -> str:
    """The text of a timeline's history file in the archive; BackupError when there is none.

    `data` is the cluster that pgBackRest compares with the archive's, the live one unless given.
    """
    if timeline == 1:
        return ""
    found = find_history(settings, timeline, data)
    if found is None:
        raise BackupError(f"the archive knows no timeline {timeline}")
    return found


def find_history(settings: Settings, timeline: int, data: Path | None = None) -> str | None:
    with tempfile.TemporaryDirectory(dir="/var/lib/postgresql") as directory:
        shutil.chown(directory, "postgres", "postgres")
        file = Path(directory) / "history"
        where = [f"--pg1-path={data}"] if data else []
        done = as_postgres(
            "pgbackrest", f"--stanza={settings.stanza}", *where,
            "archive-get", f"{timeline:08X}.history", str(file),
        )  # fmt: skip
        if done.returncode == NOT_FOUND:
            return None
        checked(done, "pgbackrest archive-get")
        return file.read_text()


def newest_timeline(settings: Settings, backup: Backup, data: Path) -> int:
    """The newest timeline that leads on from a backup, whose files are in `data`.

    Where nobody remembers what was live: a backup is made after each restore and each undo, so the
    newest backup is on the timeline that was, and what left it before the backup was given up.
    """
    found = candidate = backup.timeline
    while (text := find_history(settings, candidate + 1, data)) is not None:
        candidate += 1
        if is_on(backup, ancestry(candidate, text)):
            found = candidate
    return found


def refuse_without_room(server: Server, backup: Backup) -> None:
    where = server.cluster.data.parent
    free = shutil.disk_usage(where).free
    needed = backup.bytes_in_database * ROOM + ROOM_FOR_WAL
    if free < needed:
        raise BackupError(
            f"the old data would be kept, and there is no room for both: {size(needed)} are needed "
            f"below {where}, {size(free)} are free",
            hint="\n".join(f"rm -rf {one}" for one in kept(server))
            or "make room, or restore beside it on a larger disk",
        )


def kept(server: Server) -> list[Path]:
    """Data directories that earlier restores have put aside, the oldest first."""
    return sorted(server.cluster.data.parent.glob("main.before-*"))


# -- told -----------------------------------------------------------------------------------------


def told(settings: Settings, plan: Plan) -> str:
    """The plan for people."""
    server, choice = Server(Cluster(settings)), plan.choice
    backup, target, data = choice.backup, choice.target, server.cluster.data
    name = next(one.name for one in settings.repositories if one.number == backup.repository)
    along = f", along timeline {choice.timeline}" if choice.timeline else ""
    beside = f"{size(backup.bytes_in_database)} are restored beside the server, which runs on"
    lines = [
        ("restore", f"{target.words}{along}"),
        (
            "from",
            f"the {backup.kind} backup {backup.label} of repository {backup.repository}: {name}",
        ),
        ("lost", lost(target)),
        ("databases", databases(server, plan)),
        ("applications", applications(plan.applications)),
        ("first", beside + pace(backup)),
        ("outage", outage()),
        ("kept", f"the data of now, as {data}.before-<time>; the way back is -e undo=true"),
    ]
    lines += [
        ("kept before", f"{one}, {size(bytes_of(one))}; to remove it: rm -rf {one}")
        for one in kept(server)
    ]
    lines += [("mind", remark) for remark in plan.remarks]
    if target.kind == "default" and (points := lines_of(jobs.POINTS)):
        newest = [f"{one['name']} ({one['at']})" for one in reversed(points[-LISTED_POINTS:])]
        lines.append(("points", ", ".join(newest)))
    return table(lines)


def table(lines: list[tuple[str, str]]) -> str:
    return "\n".join(f"{name:13} {text}" for name, text in lines)


def lost(target: Target) -> str:
    if target.kind == "default":
        return "nothing that is in the archive"
    since = f"of the {span(time.time() - target.moment)} since" if target.moment else "after it"
    return f"all work {since}, in every database of this server"


def span(seconds: float) -> str:
    """A length of time for people: in the largest unit of which there are two or more."""
    for count, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * count:
            return f"{seconds / count:.0f} {unit}"
    return f"{seconds:.0f} s"


def databases(server: Server, plan: Plan) -> str:
    if not plan.runs:
        return "all of the server's go back together (PostgreSQL cannot be asked which)"
    sizes = "select datname, pg_database_size(oid) from pg_database where not datistemplate"
    rows = [line.split("|") for line in server.cluster.sql(f"{sizes} order by 1").splitlines()]
    found = ", ".join(f"{name} ({size(int(count))})" for name, count in rows)
    return f"all go back together: {found}"


def applications(found: list[Application]) -> str:
    names = ", ".join(one.name for one in found)
    return f"{names}: maintenance page, all processes and schedules stopped" if found else "none"


def pace(backup: Backup) -> str:
    """How long the files will take, by the last restore or drill."""
    results = all_results()
    last = results.get("restore", {})
    if last.get("bytes") and last.get("copy_seconds"):
        seconds = backup.bytes_in_database * last["copy_seconds"] / last["bytes"]
        return f"; about {max(seconds, 1):.0f} s"
    return ""


def outage() -> str:
    last = all_results().get("restore", {}).get("outage_seconds")
    took = f"; the last restore's was {last} s" if last else ""
    return f"a stop, the WAL since the backup, a start{took}"


def bytes_of(directory: Path) -> int:
    """The size of all files below a directory."""
    found = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            found += (Path(folder) / name).lstat().st_size
    return found


def told_undo(settings: Settings) -> str:
    """What an undo would do; BackupError when there is nothing to undo."""
    change = last_change()
    data = Cluster(settings).data
    return table(
        [
            ("undo", f"back to {change['kept']}, the data as of {stamp(change['stopped'])}"),
            ("lost", f"all work since {stamp(change['at'])}, in every database of this server"),
            ("applications", applications(applications_here())),
            ("kept", f"the data of now, as {data}.before-<time>; another undo goes back to it"),
        ]
    )


def last_change() -> dict[str, Any]:
    """The last restore or undo, whose data of before is still there."""
    changes = lines_of(CHANGES)
    if not changes:
        raise BackupError("nothing was restored on this server: there is nothing to undo")
    if not Path(changes[-1]["kept"]).is_dir():
        raise BackupError(f"{changes[-1]['kept']} was removed: the last restore cannot be undone")
    return changes[-1]
