"""From look to look: pure functions of what was remembered and is seen, so that time may be told.

Ages are counted by a time of its own, see memory.py.
"""

import dataclasses

from pergola.results import Result
from pergola.status import archives, backups, units, wal
from pergola.status.memory import Archive, Clock, Job, Memory
from pergola.status.seen import Seen
from pergola.status.server import Server

# Between two looks, in seconds: a smaller difference of the clocks is the clock being disciplined.
STEP_SECONDS = 30


def advanced(memory: Memory, seen: Seen, jobs: dict[str, float]) -> Memory:
    """The memory after a look; `jobs` are those that are watched."""
    clock, step = ticked(memory.clock, seen)
    now = clock.time
    ended = {
        name: noted(memory.jobs.get(name), result, now, seen.wall)
        for name, result in seen.results_read.items()
    }
    new = dataclasses.replace(
        memory,
        clock=clock,
        step=step,
        jobs={**memory.jobs, **ended},
        watched={name: memory.watched.get(name, now) for name in jobs},
        archive=archived(memory.archive, seen.server, now),
        largest=seen.largest or {},
        restarts=units.counted(memory.restarts, seen.vital),
        archives=archives.advanced(memory.archives, seen.archives, now, seen.wall),
    )
    if seen.logs is not None:
        new.logs = seen.logs.at
    if seen.answered is not None:
        new.access = {one.log: one.at for one in seen.answered.values()}
    if seen.trees is not None:
        new.trees = seen.trees
    new.damage = backups.damage(memory.damage, seen.server, new.jobs.get("backup"), now)
    new.gap = wal.given_up(memory.gap, seen.logs, new.archives.values(), seen.wall)
    return new


def ticked(clock: Clock | None, seen: Seen) -> tuple[Clock, float]:
    """The clock after a look, and by how many seconds the wall clock was stepped since the last."""
    new = Clock(seen.boot, seen.boottime, seen.wall, 0.0)
    if clock is None:
        return new, 0.0
    by_wall = seen.wall - clock.wall
    if seen.boot != clock.boot:
        # Only the wall clock knows how long the host was off.
        return dataclasses.replace(new, time=clock.time + max(0.0, by_wall)), 0.0
    passed = seen.boottime - clock.boottime
    step = by_wall - passed
    new = dataclasses.replace(new, time=clock.time + passed)
    return new, step if abs(step) > STEP_SECONDS else 0.0


def noted(known: Job | None, result: Result, now: float, wall: float) -> Job:
    """When a job's last run began and ended by our time: worked out when first seen."""
    if known and known.stamp == result.ended:
        return known
    ended = now - max(0.0, wall - result.ended)
    return Job(result.ended, ended, ended - result.seconds, result.ok, result.type == "full")


def archived(known: Archive | None, server: Server | None, now: float) -> Archive | None:
    """Since when WAL waits without any being archived.

    By counts: a comparison of PostgreSQL's times of success and failure stays wrong after a step of
    the clock.
    """
    if server is None:
        return known
    if known is None or server.ready == 0 or server.archived > known.archived:
        return Archive(server.archived, now)
    # PostgreSQL's counters begin again after a crash: nothing was archived by that.
    return dataclasses.replace(known, archived=server.archived)
