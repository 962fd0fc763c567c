"""What is remembered from look to look: pure functions, so that a clock may be injected.

Ages are counted by a time of its own, in seconds, that runs with the kernel's monotonic clock while
the host is up. When the wall clock is stepped, no age changes.
"""

from typing import Any

# Between two looks, in seconds: a smaller difference of the clocks is the clock being disciplined.
STEP_SECONDS = 30


def advanced(
    memory: dict[str, Any], seen: dict[str, Any], jobs: dict[str, float]
) -> dict[str, Any]:
    """The memory after a look; `jobs` are those that are watched."""
    clock, step = ticked(memory.get("clock"), seen)
    now = clock["time"]
    known = memory.get("jobs", {})
    ended = {
        name: noted(known.get(name), result, now, seen["wall"])
        for name, result in (seen.get("results") or {}).items()
        if isinstance(result, dict)
    }
    new = {
        **memory,
        "clock": clock,
        "step": step,
        "jobs": {**known, **ended},
        "watched": {name: memory.get("watched", {}).get(name, now) for name in jobs},
        "archive": archived(memory.get("archive"), seen.get("postgresql"), now),
    }
    if seen.get("logs") is not None:
        new["logs"] = seen["logs"]["at"]
    new["gap"] = gap(memory.get("gap"), seen, new["jobs"].get("backup"), now)
    return new


def ticked(clock: dict[str, Any] | None, seen: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """The clock after a look, and by how many seconds the wall clock was stepped since the last."""
    new = {name: seen[name] for name in ("boot", "boottime", "wall")}
    if clock is None:
        return {**new, "time": 0.0}, 0.0
    by_wall = seen["wall"] - clock["wall"]
    if seen["boot"] != clock["boot"]:
        # Only the wall clock knows how long the host was off.
        return {**new, "time": clock["time"] + max(0.0, by_wall)}, 0.0
    passed = seen["boottime"] - clock["boottime"]
    step = by_wall - passed
    return {**new, "time": clock["time"] + passed}, step if abs(step) > STEP_SECONDS else 0.0


def noted(
    known: dict[str, Any] | None, result: dict[str, Any], now: float, wall: float
) -> dict[str, Any]:
    """When a job's last run began and ended by our time: worked out when first seen."""
    if known and known["stamp"] == result["ended"]:
        return known
    ended = now - max(0.0, wall - float(result["ended"]))
    return {
        "stamp": result["ended"],
        "ended": ended,
        "began": ended - float(result.get("seconds") or 0),
        "ok": bool(result.get("ok")),
        "full": result.get("type") == "full",
    }


def archived(
    archive: dict[str, Any] | None, server: dict[str, Any] | None, now: float
) -> dict[str, Any] | None:
    """Since when WAL waits without any being archived.

    By counts: a comparison of PostgreSQL's times of success and failure stays wrong after a step of
    the clock.
    """
    if not server or "down" in server:
        return archive
    if archive is None or server["ready"] == 0 or server["archived"] != archive["archived"]:
        return {"archived": server["archived"], "since": now}
    return archive


def gap(
    known: dict[str, Any] | None, seen: dict[str, Any], backup: dict[str, Any] | None, now: float
) -> dict[str, Any] | None:
    """The WAL that was given up, until a full backup that began after it has succeeded."""
    dropped = (seen.get("logs") or {}).get("dropped", [])
    if dropped:
        count = len(dropped) + (known["count"] if known else 0)
        return {"wal": dropped[-1], "count": count, "time": now, "wall": seen["wall"]}
    if known and backup and backup["ok"] and backup["full"] and backup["began"] > known["time"]:
        return None
    return known
