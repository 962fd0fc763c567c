"""The checks: pure functions of what was seen, the limits and what is remembered.

Each finding says in one sentence for people what it is, how much, and what to do next.
"""

import fnmatch
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

OK, WARNING, CRITICAL = "ok", "warning", "critical"
# It does not apply to this host, with the reason; it cannot be known now, and stays what it was.
SKIPPED, UNKNOWN = "skipped", "unknown"
RANK = {OK: 0, SKIPPED: 0, UNKNOWN: 0, WARNING: 1, CRITICAL: 2}

# A number that has passed a limit must fall this much below it, in its own unit, to be well again.
MARGINS = {"disk_percent": 3, "inodes_percent": 3, "connections_percent": 5, "wal_times": 0.2}
# How many looks (of a minute) in a row must say the same where a single one may lie: a restart, an
# age that a step of the clock makes, a run of Ansible that has not come to its restart yet.
HOLD = {
    "units": 2,
    "postgresql": 2,
    "connections": 3,
    "transactions": 2,
    "settings": 5,
    "clock": 10,
    "messages": 3,
    "errors": 2,
}
# Requests are lost while one of these is down.
VITAL = ("caddy.service", "postgresql@*.service", "*@blue.service", "*@green.service")
DATABASE = (
    "archive",
    "wal",
    "connections",
    "transactions",
    "prepared",
    "wraparound",
    "slots",
    "settings",
)
# The clock is synchronised while the kernel's estimate of its error is below, as for timedatectl.
CLOCK_ERROR_USEC = 16_000_000
MB = 2**20
MINUTE, HOUR, DAY = 60, 3600, 86400


@dataclass(frozen=True)
class Finding:
    """The state of one thing."""

    name: str
    state: str
    says: str


@dataclass(frozen=True)
class Look:
    """All that checks are made from; `before` are the states that were last reported."""

    seen: dict[str, Any]
    limits: dict[str, tuple[float, float]]
    jobs: dict[str, float]
    memory: dict[str, Any]
    before: dict[str, str]

    @property
    def now(self) -> float:
        """Our own time: see memory.py."""
        return self.memory["clock"]["time"]

    def level(self, name: str, limit: str, value: float) -> str:
        """The state of a number that is the worse the higher it is."""
        margin = MARGINS.get(limit, 0)
        before = RANK[self.before.get(name, OK)]
        warning, critical = self.limits[limit]
        if value >= critical - (margin if before >= RANK[CRITICAL] else 0):
            return CRITICAL
        return WARNING if value >= warning - (margin if before >= RANK[WARNING] else 0) else OK

    def level_of_rest(self, limit: str, value: float) -> str:
        """The state of a number that is the worse the lower it is."""
        warning, critical = self.limits[limit]
        return CRITICAL if value <= critical else WARNING if value <= warning else OK


def duration(seconds: float) -> str:
    """A length of time in its largest sensible unit."""
    for unit, name in ((DAY, "days"), (HOUR, "hours"), (MINUTE, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} seconds"


def size(count: float) -> str:
    """Bytes for people."""
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / MB:.0f} MB"


# The host


def units(look: Look) -> Iterator[Finding]:
    """Failed units; those of jobs whose result says it too are told there."""
    if look.seen["units"] is None:
        return
    told = any(
        isinstance(r, dict) and not r.get("ok") for r in (look.seen["results"] or {}).values()
    )
    failed = [
        unit for unit in look.seen["units"] if not (told and unit.startswith("pergola-backup"))
    ]
    vital = [unit for unit in failed if any(fnmatch.fnmatch(unit, pattern) for pattern in VITAL)]
    if not failed:
        yield Finding("units", OK, "no unit has failed")
        return
    names = ", ".join([*vital, *(unit for unit in failed if unit not in vital)][:5])
    more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
    says = f"failed: {names}{more}; see why with `systemctl status {(vital or failed)[0]}`"
    yield Finding("units", CRITICAL if vital else WARNING, says)


def disks(look: Look) -> Iterator[Finding]:
    for disk in look.seen["disks"] or []:
        name = f"disk {disk['place']}"
        inodes = f"inodes {disk['place']}"
        holds = f" ({', '.join(disk['holds'])})" if disk["holds"] else ""
        state = look.level(name, "disk_percent", disk["percent"])
        says = f"{disk['percent']:.0f} % used, {size(disk['free_bytes'])} free{holds}"
        if state != OK and "backups" in disk["holds"]:
            says += "; make it larger, or keep backups for a shorter time (backup_retention_days)"
        elif state != OK:
            says += f"; find what grows with `du -xh --max-depth=2 {disk['place']} | sort -h`"
        yield Finding(name, state, says)
        state = look.level(inodes, "inodes_percent", disk["inodes_percent"])
        if state != OK or look.before.get(inodes, OK) != OK:
            says = f"{disk['inodes_percent']:.0f} % of the inodes used: too many small files"
            find = f"`du --inodes -x --max-depth=2 {disk['place']} | sort -n`"
            yield Finding(inodes, state, says if state == OK else f"{says}; find them with {find}")


def certificates(look: Look) -> Iterator[Finding]:
    for one in look.seen["certificates"] or []:
        left, life = one["ends"] - look.seen["wall"], max(1, one["ends"] - one["begins"])
        if one["kind"] == "caddy":
            state = look.level_of_rest("certificate_percent", 100 * left / life)
            todo = (
                "Caddy should have renewed it: `journalctl -u caddy | grep -i renew` says why not"
            )
        else:
            state = look.level_of_rest("backup_certificate_days", left / DAY)
            todo = "run site.yml, which renews it, or the copy of the backups stops"
        says = f"valid for {duration(left)} more" if left > 0 else f"expired {duration(-left)} ago"
        says += f" of its {duration(life)}"
        yield Finding(
            f"certificate {one['name']}", state, says if state == OK else f"{says}; {todo}"
        )


def reboot(look: Look) -> Iterator[Finding]:
    packages = look.seen["reboot"]
    if packages is None:
        yield Finding("reboot", OK, "none is required")
        return
    why = f" ({', '.join(packages[:3])})" if packages else ""
    says = (
        f"updates{why} take effect only after one; choose the time, or set "
        "base_automatic_reboot_time"
    )
    yield Finding("reboot", WARNING, f"required: {says}")


def clock(look: Look) -> Iterator[Finding]:
    error = look.seen["clock_error_usec"]
    if look.seen["container"]:
        yield Finding("clock", SKIPPED, "this is a container: its clock is the host's")
    elif error is not None and error < CLOCK_ERROR_USEC:
        yield Finding("clock", OK, f"synchronised, by at most {error / 1000:.0f} ms off")
    elif error is not None:
        says = (
            "not synchronised; see `timedatectl timesync-status` and whether UDP 123 may leave "
            "the network"
        )
        yield Finding("clock", WARNING, says)


def errors(look: Look) -> Iterator[Finding]:
    """What could not be looked at."""
    wrong = look.seen["errors"]
    if wrong:
        says = "; ".join(f"{name}: {why}" for name, why in wrong.items())
        yield Finding(
            "errors", WARNING, f"could not be checked: {says}; see `pergola-status --facts`"
        )
    else:
        yield Finding("errors", OK, "everything could be checked")


# Jobs


def jobs(look: Look) -> Iterator[Finding]:
    """A failed job is critical; one that is overdue too when it has missed twice its time."""
    for job, hours in look.jobs.items():
        name = f"job {job}"
        result = (look.seen["results"] or {}).get(job)
        if isinstance(result, str):
            yield Finding(name, WARNING, f"its result cannot be read: {result}; run the job again")
            continue
        if result is None:
            age = look.now - look.memory["watched"][job]
            what = f"has never run in the {duration(age)} since it is watched"
        else:
            age = look.now - look.memory["jobs"][job]["ended"]
            what = f"ended {duration(age)} ago"
        unit = "pergola-backup-" if job == "backup" else f"pergola-backup-{job}"
        if result is not None and not result.get("ok"):
            says = (
                f"{what} and FAILED: {result.get('says', '')}; mend that and start it again by hand"
            )
            yield Finding(name, CRITICAL, says)
        elif age > hours * HOUR:
            state = CRITICAL if age > 2 * hours * HOUR else WARNING
            says = (
                f"overdue: {what}, and should every {hours:g} hours; see `systemctl list-timers "
                f"'{unit}*'`"
            )
            yield Finding(name, state, says)
        elif result is None:
            yield Finding(name, OK, f"has not run yet, and must within {hours:g} hours")
        else:
            yield Finding(name, OK, f"{what}: {result.get('says', '')}")


def gap(look: Look) -> Iterator[Finding]:
    known = look.memory.get("gap")
    if known is None:
        yield Finding("gap", OK, "no WAL was given up")
        return
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(known["wall"]))
    says = (
        f"{known['count']} WAL files were given up, the last one {known['wal']} ({when}): no "
        "restore can go "
        "beyond that gap until a newer full backup succeeds; mend the archive, then "
        "`pergola-backup full`"
    )
    yield Finding("gap", CRITICAL, says)


# PostgreSQL


def postgresql(look: Look) -> Iterator[Finding]:
    server = look.seen["postgresql"]
    if server is None:
        return
    if "down" in server:
        says = (
            f"does not answer: {server['down']}; see `systemctl status {server['unit']}` and its "
            "log"
        )
        yield Finding("postgresql", CRITICAL, says)
        for name in DATABASE:
            yield Finding(name, UNKNOWN, "PostgreSQL does not answer")
        return
    yield Finding("postgresql", OK, f"{server['version']} answers")
    for check in (archive, wal, connections, transactions, prepared, wraparound, slots, settings):
        yield check(look, server)


def archive(look: Look, server: dict[str, Any]) -> Finding:
    if server["archive_mode"] == "off":
        if "backup" not in look.jobs:
            return Finding("archive", OK, "WAL is not archived: backups are not watched here")
        says = (
            "backups are watched but archive_mode is off: nothing since the last backup could be "
            "restored"
        )
        return Finding("archive", CRITICAL, f"{says}; run site.yml")
    waiting = server["ready"] * server["segment_bytes"]
    stuck = (look.now - look.memory["archive"]["since"]) / MINUTE
    state = look.level("archive", "archive_minutes", stuck) if server["ready"] else OK
    if state == OK:
        return Finding("archive", OK, f"{server['ready']} WAL files wait for the archive")
    says = (
        f"nothing was archived for {duration(stuck * MINUTE)}, {server['ready']} WAL files "
        f"({size(waiting)}) wait, "
        f"{server['failed']} tries failed (last {server['last_failed']}): see `journalctl -u "
        f"{server['unit']}`, "
        "/var/log/postgresql and /var/log/pgbackrest"
    )
    return Finding("archive", state, says)


def wal(look: Look, server: dict[str, Any]) -> Finding:
    usual = server["max_wal_bytes"] + server["keep_wal_bytes"]
    state = look.level("wal", "wal_times", server["wal_bytes"] / usual)
    says = f"{size(server['wal_bytes'])} in pg_wal, usually up to {size(usual)}"
    if state != OK:
        says += (
            "; something holds it back: the archive, a replication slot, or checkpoints that lag "
            "behind"
        )
    return Finding("wal", state, says)


def connections(look: Look, server: dict[str, Any]) -> Finding:
    percent = 100 * server["connections"] / server["max_connections"]
    state = look.level("connections", "connections_percent", percent)
    says = f"{server['connections']} of {server['max_connections']} in use"
    if state != OK:
        says += (
            "; look for who with `select usename, state, count(*) from pg_stat_activity group by "
            "1, 2`"
        )
    return Finding("connections", state, says)


def transactions(look: Look, server: dict[str, Any]) -> Finding:
    """The worse of two: the oldest that works, the longest that waits idle."""
    found = Finding("transactions", OK, "none is old")
    for key, limit, what in (
        ("transaction", "transaction_minutes", "is open"),
        ("idle_transaction", "idle_transaction_minutes", "is idle in transaction"),
    ):
        one = server[key]
        if one is None:
            continue
        state = look.level("transactions", limit, one["seconds"] / MINUTE)
        if RANK[state] > RANK[found.state]:
            says = (
                f"process {one['pid']} of {one['user']} in {one['database']} {what} for "
                f"{duration(one['seconds'])} and holds back vacuum; end it with "
                f"`select pg_terminate_backend({one['pid']})` if nobody misses it"
            )
            found = Finding("transactions", state, says)
    return found


def prepared(look: Look, server: dict[str, Any]) -> Finding:
    one = server["prepared"]
    if one is None:
        return Finding("prepared", OK, "no transaction is left prepared")
    state = look.level("prepared", "prepared_minutes", one["seconds"] / MINUTE)
    says = (
        f"transaction '{one['gid']}' in {one['database']} was prepared {duration(one['seconds'])} "
        "ago"
    )
    todo = (
        f"`rollback prepared '{one['gid']}'` or `commit prepared`: it holds its locks even over a "
        "restart"
    )
    return Finding("prepared", state, says if state == OK else f"{says}; {todo}")


def wraparound(look: Look, server: dict[str, Any]) -> Finding:
    one = server["wraparound"]
    age = one["age"] / 10**6
    state = look.level("wraparound", "wraparound_million", age)
    says = f"the oldest transaction of {one['database']} is {age:.0f} million back of 2100"
    todo = f"autovacuum does not keep up: `vacuum (freeze, verbose)` in {one['database']}"
    return Finding("wraparound", state, says if state == OK else f"{says}; {todo}")


def slots(look: Look, server: dict[str, Any]) -> Finding:
    """Replication slots that nobody reads from, and what they hold back."""
    found = Finding("slots", OK, f"{len(server['slots'])} inactive, none holds back much WAL")
    for slot in server["slots"]:
        held = slot["bytes"] or 0
        state = look.level("slots", "slot_mb", held / MB)
        if slot["status"] in ("unreserved", "lost"):
            state = CRITICAL
        if RANK[state] > RANK[found.state]:
            says = (
                f"the inactive replication slot '{slot['name']}' ({slot['status']}) holds back "
                f"{size(held)} of WAL; "
                f"start its reader, or `select pg_drop_replication_slot('{slot['name']}')`"
            )
            found = Finding("slots", state, says)
    return found


def settings(look: Look, server: dict[str, Any]) -> Finding:
    del look
    names = server["pending_restart"]
    if not names:
        return Finding("settings", OK, "all are in force")
    says = (
        f"{', '.join(names)} wait for a restart of PostgreSQL; run site.yml or restart "
        f"{server['unit']}"
    )
    return Finding("settings", WARNING, says)


CHECKS: tuple[Callable[[Look], Iterator[Finding]], ...] = (
    postgresql, jobs, gap, units, disks, certificates, reboot, clock, errors,
)  # fmt: skip


def all_of(look: Look) -> list[Finding]:
    """Every finding; a check that fails itself is a finding too."""
    found: list[Finding] = []
    for check in CHECKS:
        try:
            found += check(look)
        except Exception as error:  # one check must not hide the others
            says = (
                f"could not be judged: {type(error).__name__}: {error}; see `pergola-status "
                "--facts`"
            )
            found.append(Finding(check.__name__, WARNING, says))
    return found
