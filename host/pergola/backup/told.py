"""A plan of a restore, or of an undo, for people."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from pergola import results
from pergola.apps import App
from pergola.backup import places, points
from pergola.backup.changes import last_change, put_aside, refuse_mount
from pergola.backup.fence import applications_here
from pergola.backup.plan import Plan
from pergola.backup.repository import Backup
from pergola.backup.scratch import Scratch
from pergola.backup.server import Server
from pergola.backup.settings import Settings
from pergola.backup.targets import Target
from pergola.people import duration, size, stamp

LISTED_POINTS = 5
SIZES = """
select datname, pg_database_size(oid) from pg_database where not datistemplate order by 1
"""


@dataclass(frozen=True)
class Took:
    """What the last restore took: bytes that were copied, seconds."""

    bytes: int = 0
    copy_seconds: float = 0
    outage_seconds: float = 0


def told(settings: Settings, plan: Plan) -> str:
    """The plan for people."""
    server, choice, took = Server(settings.version), plan.choice, last_time()
    backup, target, data = choice.backup, choice.target, server.data
    refuse_mount(data)
    along = f", along timeline {choice.timeline}" if choice.timeline else ""
    where = f"repository {backup.repository}: {settings.name_of(backup.repository)}"
    beside = f"{size(backup.bytes_in_database)} are restored beside the server, which runs on"
    lines = [
        ("restore", f"{target.words}{along}"),
        ("from", f"the {backup.kind} backup {backup.label} of {where}"),
        ("lost", lost(target)),
        ("databases", databases(server, plan)),
        ("applications", applications(plan.applications)),
        ("first", beside + pace(backup, took)),
        ("outage", outage(took)),
        ("kept", f"the current data, as {data}.before-<time>; the way back is -e undo=true"),
    ]
    lines += copies(put_aside(server))
    if (copy := Scratch.of(settings, "scratch").home).exists():
        remove = "to remove it: sudo pergola-backup scratch --remove"
        lines.append(("beside it", f"{copy}, {size(bytes_of(copy))}; {remove}"))
    lines += [("mind", remark) for remark in [*plan.remarks, *renames(data)]]
    if target.kind == "default" and (made := points.every()):
        newest = [f"{one.name} ({one.at})" for one in reversed(made[-LISTED_POINTS:])]
        lines.append(("points", ", ".join(newest)))
    return table(lines)


def told_undo(settings: Settings) -> str:
    """What an undo would do; PergolaError when there is nothing to undo."""
    server = Server(settings.version)
    change = last_change(server)
    return table(
        [
            ("undo", f"back to {change.kept}, {change.words()}"),
            ("lost", f"all work since {stamp(change.at)}, in every database of this server"),
            ("applications", applications(applications_here())),
            (
                "kept",
                f"the current data, as {server.data}.before-<time>; another undo goes back to it",
            ),
        ]
    )


def table(lines: list[tuple[str, str]]) -> str:
    return "\n".join(f"{name:13} {text}" for name, text in lines)


def renames(data: Path) -> list[str]:
    """A remark where the directories change places in several steps."""
    if places.can_exchange(data.parent):
        return []
    return [
        f"the file system of {data.parent} cannot exchange two directories in one step: they are "
        "renamed one after the other (a power loss in between is put in order at the next boot)"
    ]


def copies(paths: list[Path]) -> list[tuple[str, str]]:
    """What earlier restores have put aside: each with its size, and all together."""
    sizes = {one: bytes_of(one) for one in paths}
    lines = [
        ("kept before", f"{one}, {size(count)}; to remove it: rm -rf {one}")
        for one, count in sizes.items()
    ]
    if len(sizes) > 1:
        lines.append(("", f"{len(sizes)} copies, {size(sum(sizes.values()))} in all"))
    return lines


def bytes_of(directory: Path) -> int:
    """The size of all files below a directory."""
    found = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            found += (Path(folder) / name).lstat().st_size
    return found


def lost(target: Target) -> str:
    if target.kind == "default":
        return "nothing that is in the archive"
    since = f"of the {duration(time.time() - target.moment)} since" if target.moment else "after it"
    return f"all work {since}, in every database of this server"


def databases(server: Server, plan: Plan) -> str:
    if not plan.runs:
        return "all of the server's go back together (PostgreSQL cannot be asked which)"
    rows = [line.split("|") for line in server.ask(SIZES).splitlines()]
    found = ", ".join(f"{name} ({size(int(count))})" for name, count in rows)
    return f"all go back together: {found}"


def applications(found: list[App]) -> str:
    names = ", ".join(one.name for one in found)
    return f"{names}: maintenance page, all processes and schedules stopped" if found else "none"


def last_time() -> Took:
    result = results.every().get("restore")
    return results.details(result, Took) if result else Took()


def pace(backup: Backup, took: Took) -> str:
    """How long the files will take, by the last restore."""
    if not took.bytes or not took.copy_seconds:
        return ""
    seconds = backup.bytes_in_database * took.copy_seconds / took.bytes
    return f"; about {max(seconds, 1):.0f} s"


def outage(took: Took) -> str:
    last = f"; the last restore's was {took.outage_seconds:g} s" if took.outage_seconds else ""
    return f"a stop, the WAL since the backup, a start{last}"
