"""What this host's restores did, and which of them can be undone."""

from dataclasses import dataclass
from pathlib import Path

from pergola.backup.server import Server
from pergola.documents import Form
from pergola.errors import PergolaError
from pergola.people import stamp

# What this host's restores and undos did. A line is the moment from which one is in force.
FILE = Path("/var/lib/pergola/restores.jsonl")


@dataclass(frozen=True)
class Change:
    """A restore or an undo, which led from one timeline to another; older ones know less of it.

    `stopped`, `at`: when the server was stopped and when it went on, in seconds since 1970. `kept`:
    the directory that it put aside, with the identifier of its cluster and its timeline.
    """

    kept: Path
    stopped: float
    at: float
    to_timeline: int | None = None
    from_timeline: int | None = None
    system_id: int | None = None
    kept_system_id: int | None = None
    kept_timeline: int | None = None
    id: str = ""
    kind: str = "restore"
    target: str = ""
    backup: str = ""

    def words(self) -> str:
        return f"the data as of {stamp(self.stopped)}"


FORM = Form(Change)


def every() -> list[Change]:
    """All of them, the oldest first."""
    return FORM.lines(FILE)


def last_change(server: Server) -> Change:
    """The last restore or undo; PergolaError unless it is sure that an undo of it goes right.

    What is live must be what it led to, and what it put aside must be there as it was left.
    """
    changes = every()
    if not changes:
        raise PergolaError("nothing was restored on this server: there is nothing to undo")
    last = changes[-1]
    if not last.kept.is_dir():
        raise PergolaError(f"{last.kept} was removed: the last restore cannot be undone")
    if wrong := differs(last, server):
        others = ", ".join(map(str, put_aside(server)))
        raise PergolaError(
            f"the last restore, of {stamp(last.at)}, cannot be undone: {wrong}",
            f"data that was put aside: {others}",
            hint="restore to a moment (-e to=), which needs none of that; nothing was changed",
        )
    return last


def put_aside(server: Server) -> list[Path]:
    """Data directories that restores have put aside, the oldest first."""
    return sorted(server.data.parent.glob("main.before-*"))


def refuse_mount(data: Path) -> None:
    """PergolaError where the data directory is a file system of its own: it cannot be renamed."""
    if data.is_mount():
        raise PergolaError(
            f"{data} is a mount point, and could not change places with a restored copy",
            hint=f"mount the file system at {data.parent}, with {data.name} as a directory in it; "
            "a restore beside the server works as it is: -e into=scratch",
        )


def differs(last: Change, server: Server) -> str:
    """What is not as the last change left it; empty: nothing."""
    data, kept = server.data, last.kept
    if kept.parent != data.parent:
        return f"the live data is {data} now, another version's than {kept}"
    live, known = server.system_id(data), last.system_id
    if known is not None and live != known:
        return f"the live data is another cluster's ({live}) than the one that it led to ({known})"
    was, known = server.system_id(kept), last.kept_system_id
    if known is not None and was != known:
        return f"{kept} holds another cluster ({was}) than the one that was put aside ({known})"
    was, known = server.timeline_of(kept), last.kept_timeline
    if known is not None and was != known:
        return f"{kept} is on timeline {was}, and was put aside on {known}"
    timeline, led_to = server.timeline(), last.to_timeline
    if timeline != led_to and not is_behind(data, timeline, led_to or 0):
        return (
            f"the live data is on timeline {timeline}, and it led to {led_to}: "
            "something else has changed the data since"
        )
    return ""


def is_behind(data: Path, timeline: int | None, known: int) -> bool:
    """Whether only the control file of a server that does not run names an older timeline.

    It names the newer one from the first checkpoint after a restore on.
    """
    newer = timeline is None or timeline < known
    return newer and (data / "pg_wal" / f"{known:08X}.history").exists()
