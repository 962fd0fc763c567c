"""WAL that the archive lacks: no recovery gets beyond it.

It was given up when more waited than backup_wal_queue_max_mb allows. Found before anything is
stopped: recovery itself would stop there, and to the latest state even without an error.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict

from pergola.backup.points import segment_in
from pergola.backup.repository import Backup, Repositories
from pergola.backup.targets import Target, position
from pergola.errors import PergolaError
from pergola.people import stamp
from pergola.system import checked

BYTES_IN_LOG = 1 << 32


class Listed(TypedDict, total=False):
    """A file in a repository; `time`: when it was written, in seconds since 1970."""

    time: int


@dataclass(frozen=True)
class Gap:
    """The first gap after a backup: its first file and the last one that is known to be lacking.

    `since`: when the file before it was archived, in seconds since 1970. What was written later
    lies behind the gap.
    """

    first: int
    last: int
    since: float
    segment_bytes: int

    def hides(self, target: Target) -> bool:
        """Whether a target surely lies behind it."""
        if target.kind == "lsn":
            return position(target.value) >= self.first * self.segment_bytes
        # Times of files are whole seconds.
        return target.kind == "time" and (target.moment or 0) > self.since + 1

    def words(self) -> str:
        count = self.last - self.first + 1
        return (
            f"{count} WAL files that were written after {stamp(self.since)} are not in the archive"
        )


def number_of(segment: str, segment_bytes: int) -> int:
    """A segment's place in the order of all, whatever its timeline."""
    return int(segment[8:16], 16) * (BYTES_IN_LOG // segment_bytes) + int(segment[16:], 16)


def first_gap(
    archived: Iterable[tuple[str, float]],
    start: str,
    way: dict[int, float] | None,
    segment_bytes: int,
) -> Gap | None:
    """The first gap among the files of WAL that a recovery from the segment `start` needs.

    `archived` are the names of segments and when each was archived. `way` are the timelines that
    lead there, with the position where each was left; None: unknown, so that files of several
    timelines cannot be told apart and no gap is seen.
    """
    files = list(archived)
    if way is None:
        timelines = {int(name[:8], 16) for name, _ in files}
        if len(timelines) > 1:
            return None
        way = dict.fromkeys(timelines, math.inf)
    there: dict[int, float] = {}
    for name, at in files:
        place = number_of(name, segment_bytes)
        # What a timeline has beyond where it was left belongs to another past.
        if place * segment_bytes <= way.get(int(name[:8], 16), -1):
            there[place] = max(at, there.get(place, 0))
    place = number_of(start, segment_bytes)
    while place in there:
        place += 1
    later = [one for one in there if one > place]
    if not later or place - 1 not in there:
        return None
    return Gap(place, min(later) - 1, there[place - 1], segment_bytes)


def archived_after(repositories: Repositories, backup: Backup) -> list[tuple[str, float]]:
    """The files of WAL in the archive beside a backup, and when each was archived."""
    stanza, version = repositories.settings.stanza, repositories.settings.version
    where = f"archive/{stanza}/{version}-{backup.history}"
    listed = [f"--repo={backup.repository}", "--recurse", "--output=json", where]
    done = repositories.run("repo-ls", *listed)
    found: dict[str, Listed] = json.loads(checked(done, "pgbackrest repo-ls") or "{}")
    return [
        (segment, float(entry.get("time", 0)))
        for path, entry in found.items()
        if (segment := segment_in(path))
    ]


def gap_after(
    repositories: Repositories, backup: Backup, way: dict[int, float] | None, segment_bytes: int
) -> Gap | None:
    """The first gap after a backup in the archive beside it."""
    archived = archived_after(repositories, backup)
    return first_gap(archived, backup.first_wal, way, segment_bytes)


def reach(repositories: Repositories, backup: Backup) -> str:
    """Until when the archive beside a backup goes, where the server cannot be asked."""
    archived = archived_after(repositories, backup)
    end = max((at for _, at in archived), default=float(backup.ended))
    return f"the archive ends at {stamp(end)}: what was written later had not reached it"


def seen(gap: Gap | None, target: Target) -> list[str]:
    """Remarks on a gap; PergolaError when the target lies behind it."""
    if gap is None:
        return []
    if gap.hides(target):
        raise PergolaError(
            f"{target.words} cannot be reached: {gap.words()}",
            hint=f"go to {stamp(gap.since)} or before, or to after the next backup's end: "
            "pergola-backup status shows all",
        )
    if target.kind == "default":
        return [f"this ends at {stamp(gap.since)}: {gap.words()}"]
    return []
