"""What takes the room of a file system that is nearly full.

Measured only then, and once an hour: du has to look at every file.
"""

import dataclasses
import os
import stat
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from pergola.people import size
from pergola.status.look import MARGINS
from pergola.status.memory import Large
from pergola.status.seen import Disk

# Seconds between two measurements of a file system, and that one may take.
EVERY, SECONDS = 3600, 10
SHOWN = 3
# Directories that are told by what is in them: applications, PostgreSQL, backups, logs.
SPREAD = {"/var", "/var/lib", "/var/log", "/var/cache", "/srv", "/home"}


def largest(
    disks: Sequence[Disk] | None, known: dict[str, Large], now: float, percent: float
) -> dict[str, Large]:
    """The largest directories of the file systems that are used to more than `percent`.

    By the place of each; `known` is what the last look returned, `now` the clock of the host's
    uptime.
    """
    found = {}
    for disk in disks or []:
        before = known.get(disk.place)
        # What is told is told until it is well again.
        if disk.percent < percent - (MARGINS["disk_percent"] if before else 0):
            continue
        if before and 0 <= now - before.at < EVERY:
            found[disk.place] = before
        else:
            found[disk.place] = dataclasses.replace(measured(Path(disk.place)), at=now)
    return found


def measured(place: Path, seconds: float = SECONDS) -> Large:
    """The sizes of what is in a file system, the largest first, and what took too long to measure.

    Such a directory has so many files that it may well be the cause.
    """
    paths = list(parts(place, place.lstat().st_dev))
    if not paths:
        return Large([])
    # One call, which counts a file with several names once.
    command = ["du", "--summarize", "--one-file-system", "--block-size=1", "--null", "--", *paths]
    too_many = None
    try:
        text = du(command, seconds)
    except subprocess.TimeoutExpired as error:
        text = error.stdout or b""
        ended = sum(line.count(b"\t") > 0 for line in text.split(b"\0")[:-1])
        too_many = paths[min(ended, len(paths) - 1)]
    lines = [line.partition(b"\t") for line in text.split(b"\0")[:-1]]
    sizes = sorted(((int(count), os.fsdecode(path)) for count, _, path in lines), reverse=True)
    return Large([(path, count) for count, path in sizes[:SHOWN]], too_many=too_many)


def du(command: Sequence[str], seconds: float) -> bytes:
    """What it says, bytes as file names are; what it had said is in the error at its time limit."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=seconds, check=False
    )
    return done.stdout


def parts(place: Path, device: int) -> Iterator[str]:
    """What is directly in a file system, those first that grow on a server."""
    for child in sorted(place.iterdir(), key=lambda one: (str(one) not in SPREAD, one.name)):
        try:
            there = child.lstat()
        except FileNotFoundError:
            continue
        if there.st_dev != device or stat.S_ISLNK(there.st_mode):
            continue
        if str(child) in SPREAD:
            yield from parts(child, device)
        else:
            yield str(child)


def words(found: Large | None) -> str:
    """What takes the room, in a few words; empty if it was not measured."""
    if not found:
        return ""
    said = [f"{path} has {size(count)}" for path, count in found.sizes]
    if found.too_many:
        said.append(f"{found.too_many} has more files than can be measured here")
    return ", ".join(said)
