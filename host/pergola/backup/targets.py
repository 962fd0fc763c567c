"""Where a restore goes to: which backup, on which timeline, up to which moment. No server is asked.

After each restore PostgreSQL goes on on a new timeline, and the old one stays in the archive: a
moment alone does not say which of the two is meant. So the timeline that was live at the moment is
looked up, and a backup is taken that lies on its history.
"""

import datetime
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pergola.backup.changes import Change
from pergola.backup.points import FILE as POINTS
from pergola.backup.points import Point
from pergola.backup.repository import Backup
from pergola.errors import PergolaError
from pergola.people import moment_of, of_seconds, stamp

# How many of the points that could be meant a refusal names.
NAMED_POINTS = 5


@dataclass(frozen=True)
class Wanted:
    """What was asked for, as it was written; all empty: the latest state of the archive."""

    to: str = ""
    xid: str = ""
    point: str = ""
    repository: int | None = None
    timeline: int | None = None

    def __post_init__(self) -> None:
        given = [word for word in (self.to, self.xid, self.point) if word]
        if len(given) > 1:
            raise PergolaError(
                f"a restore goes to one target, not to {' and '.join(given)}",
                hint="give a time, a transaction or a point",
            )


@dataclass(frozen=True)
class Target:
    """What recovery stops at, in pgBackRest's words and in those of people.

    kind: default (the end of the timeline), time, xid, lsn (a point whose position is known) or
    name (a point of which nothing is known here). `moment`: seconds since 1970, where known.
    """

    kind: str
    value: str
    words: str
    moment: float | None = None

    def is_after(self, backup: Backup) -> bool:
        """Whether a backup had ended when the target came: recovery cannot stop within one."""
        if self.kind == "time":
            # pgBackRest notes whole seconds.
            return backup.ended + 1 <= (self.moment or 0)
        if self.kind == "lsn":
            return position(backup.last_position) <= position(self.value)
        if self.kind == "xid":
            return backup.next_xid is not None and backup.next_xid <= int(self.value)
        return True


@dataclass(frozen=True)
class Choice:
    """A target, the backup that recovery begins with, and the timeline that it follows.

    `timeline` is None where that can only be told once the backup's files are there.
    """

    target: Target
    backup: Backup
    timeline: int | None

    def options(self) -> list[str]:
        """The options for `pgbackrest restore`."""
        options = [f"--repo={self.backup.repository}", f"--set={self.backup.label}"]
        if self.target.kind != "default":
            options += [
                f"--type={self.target.kind}",
                f"--target={self.target.value}",
                "--target-action=promote",
            ]
        if self.target.kind == "lsn":  # a point's position is that of the record after it
            options.append("--target-exclusive")
        if self.timeline is not None:
            options.append(f"--target-timeline={self.timeline}")
        return options


def target_of(wanted: Wanted, points: Sequence[Point], now: float) -> Target:
    """What recovery must stop at; PergolaError for what no archive could have.

    `points` are the named points made on this host, the oldest first.
    """
    if wanted.to:
        moment = moment_of(wanted.to, now)
        exact = of_seconds(moment).strftime("%Y-%m-%d %H:%M:%S.%f+00")
        return Target("time", exact, f"the moment {exact.replace('.000000', '')}", moment)
    if wanted.xid:
        if not re.fullmatch(r"[1-9]\d*", wanted.xid):
            raise PergolaError(f"'{wanted.xid}' is not the number of a transaction")
        return Target("xid", wanted.xid, f"the end of transaction {wanted.xid}")
    if not wanted.point:
        return Target("default", "", "the latest state of the archive")
    # A name may be there twice: the same release was deployed again after a restore.
    for point in reversed(points):
        if point.name == wanted.point:
            moment = datetime.datetime.fromisoformat(point.at).timestamp()
            words = f"the point {wanted.point} of {point.at}"
            return Target("lsn", point.position, words, moment)
    if points:
        names = ", ".join(point.name for point in points[-NAMED_POINTS:])
        raise PergolaError(
            f"there is no point '{wanted.point}'",
            f"the newest are: {names}",
            hint=f"all of them: {POINTS} on the server",
        )
    return Target("name", wanted.point, f"the point {wanted.point}")


def position(text: str) -> int:
    """A position in the WAL, such as 0/3000150, as a number."""
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def ancestry(timeline: int, history: str) -> dict[int, float]:
    """The timelines that lead to one, with the position where each was left.

    `history` is the text of its .history file, which the first timeline has none of.
    """
    found: dict[int, float] = {}
    for line in history.splitlines():
        words = line.split()
        if words and not line.startswith("#"):
            found[int(words[0])] = position(words[1])
    return {**found, timeline: math.inf}


def is_on(backup: Backup, way: dict[int, float]) -> bool:
    """Whether the way to a timeline leads through a backup."""
    return position(backup.last_position) <= way.get(backup.timeline, -1)


def live_at(moment: float, changes: Sequence[Change], live: int) -> tuple[int, Change | None]:
    """The timeline that was live at a moment.

    `changes` are this host's restores, the oldest first: from which timeline to which, when the
    server `stopped` and when it went on (`at`). In between nothing was written, so that a moment
    there is the end of the timeline before: the change is returned then, and else None.
    """
    timeline = live
    for change in reversed(changes):
        if moment >= change.at:
            return timeline, None
        timeline = change.from_timeline or timeline
        if moment >= change.stopped:
            return timeline, change
    return timeline, None


def choose(
    target: Target, backups: Sequence[Backup], way: dict[int, float] | None, now: float
) -> Backup:
    """The backup to begin with: the newest that had ended before the target, on its way.

    `way` is None when nothing is known of timelines: this server is new. PergolaError says what can
    be reached.
    """
    found = [one for one in backups if way is None or is_on(one, way)]
    whole = [one for one in found if not one.damaged]
    if not whole:
        raise PergolaError(
            "there is no backup that could be restored" + (" to this timeline" if backups else ""),
            f"{len(found)} damaged: {', '.join(one.label for one in found)}" if found else "",
            hint="pergola-backup status shows all; -e timeline= and -e repo= choose others",
        )
    before = [one for one in whole if target.is_after(one)]
    if target.kind == "xid" and all(one.next_xid is None for one in whole):
        # Other hosts have made them, which know nothing of transactions. The oldest is right if any
        # is; if none is, recovery says so and everything is put back.
        before = [min(whole, key=lambda one: one.ended)]
    if not before:
        oldest = min(whole, key=lambda one: one.ended)
        reach = f"from {stamp(oldest.ended + 1)} to {stamp(now)}"
        if target.kind == "xid" and oldest.next_xid is not None:
            reach += f", transactions from {oldest.next_xid} on"
        raise PergolaError(
            f"{target.words} is older than the oldest backup that leads there",
            hint=f"what can be restored is {reach}",
        )
    if target.kind == "name":  # nobody knows where it is: whatever leads there comes after this
        return min(before, key=lambda one: one.ended)
    # Of two that are as new the first repository's: it is the nearest.
    return max(before, key=lambda one: (one.ended, -one.repository))
