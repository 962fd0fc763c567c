"""PostgreSQL: what its answer says of its health."""

from collections.abc import Iterator

from pergola.people import MINUTE, duration, size
from pergola.status.look import (
    CRITICAL,
    NO_ANSWER,
    OK,
    RANK,
    UNKNOWN,
    WARNING,
    Finding,
    Look,
)
from pergola.status.server import Down, Server

# What is known by its answer only.
ASKED = (
    "archive",
    "wal",
    "connections",
    "transactions",
    "prepared",
    "wraparound",
    "slots",
    "settings",
)
MB = 2**20  # as PostgreSQL counts its files


def postgresql(look: Look) -> Iterator[Finding]:
    server = look.seen.postgresql
    if server is None:
        return
    if isinstance(server, Down):
        says = f"does not answer: {server.down}; see `systemctl status {server.unit}` and its log"
        yield Finding("postgresql", CRITICAL, says)
        for name in ASKED:
            yield Finding(name, UNKNOWN, NO_ANSWER)
        return
    yield Finding("postgresql", OK, f"{server.version} answers")
    for check in (archive, wal, connections, transactions, prepared, wraparound, slots):
        yield check(look, server)
    yield settings(server)


def archive(look: Look, server: Server) -> Finding:
    if server.archive_mode == "off":
        if "backup" not in look.jobs:
            return Finding("archive", OK, "WAL is not archived: backups are not watched here")
        says = (
            "backups are watched but archive_mode is off: nothing since the last backup could be "
            "restored"
        )
        return Finding("archive", CRITICAL, f"{says}; run site.yml")
    waiting = size(server.ready * server.segment_bytes)
    known = look.memory.archive
    stuck = look.now - (known.since if known else look.now)
    state = OK
    if server.ready:
        state = look.level("archive", "archive_minutes", stuck / MINUTE)
    if state == OK:
        return Finding("archive", OK, f"{server.ready} WAL files wait for the archive")
    says = (
        f"nothing was archived for {duration(stuck)}, {server.ready} WAL files ({waiting}) wait, "
        f"{server.failed} tries failed (last {server.last_failed}): see `journalctl -u "
        f"{server.unit}`, /var/log/postgresql and /var/log/pgbackrest"
    )
    return Finding("archive", state, says)


def wal(look: Look, server: Server) -> Finding:
    usual = server.max_wal_bytes + server.keep_wal_bytes
    state = look.level("wal", "wal_times", server.wal_bytes / usual)
    says = f"{size(server.wal_bytes)} in pg_wal, usually up to {size(usual)}"
    if state != OK:
        says += (
            "; something holds it back: the archive, a replication slot, or checkpoints that lag "
            "behind"
        )
    return Finding("wal", state, says)


def connections(look: Look, server: Server) -> Finding:
    percent = 100 * server.connections / server.max_connections
    state = look.level("connections", "connections_percent", percent)
    says = f"{server.connections} of {server.max_connections} in use"
    if state != OK:
        says += (
            "; look for who with `select usename, state, count(*) from pg_stat_activity group by "
            "1, 2`"
        )
    return Finding("connections", state, says)


def transactions(look: Look, server: Server) -> Finding:
    """The worse of two: the oldest that works, the longest that waits idle."""
    found = Finding("transactions", OK, "none is old")
    for one, limit, what in (
        (server.transaction, "transaction_minutes", "is open"),
        (server.idle_transaction, "idle_transaction_minutes", "is idle in transaction"),
    ):
        if one is None:
            continue
        state = look.level("transactions", limit, one.seconds / MINUTE)
        if RANK[state] > RANK[found.state]:
            says = (
                f"process {one.pid} of {one.user} in {one.database} {what} for "
                f"{duration(one.seconds)} and holds back vacuum; end it with "
                f"`select pg_terminate_backend({one.pid})` if nobody misses it"
            )
            found = Finding("transactions", state, says)
    return found


def prepared(look: Look, server: Server) -> Finding:
    one = server.prepared
    if one is None:
        return Finding("prepared", OK, "no transaction is left prepared")
    state = look.level("prepared", "prepared_minutes", one.seconds / MINUTE)
    says = f"transaction '{one.gid}' in {one.database} was prepared {duration(one.seconds)} ago"
    todo = (
        f"`rollback prepared '{one.gid}'` or `commit prepared`: it holds its locks even over a "
        "restart"
    )
    return Finding("prepared", state, says if state == OK else f"{says}; {todo}")


def wraparound(look: Look, server: Server) -> Finding:
    one = server.wraparound
    age = one.age / 10**6
    state = look.level("wraparound", "wraparound_million", age)
    says = f"the oldest transaction of {one.database} is {age:.0f} million back of 2100"
    todo = f"autovacuum does not keep up: `vacuum (freeze, verbose)` in {one.database}"
    return Finding("wraparound", state, says if state == OK else f"{says}; {todo}")


def slots(look: Look, server: Server) -> Finding:
    """Replication slots that nobody reads from, and what they hold back."""
    found = Finding("slots", OK, f"{len(server.slots)} inactive, none holds back much WAL")
    for slot in server.slots:
        held = slot.bytes or 0
        state = look.level("slots", "slot_mb", held / MB)
        if slot.status in ("unreserved", "lost"):
            state = CRITICAL
        if RANK[state] > RANK[found.state]:
            says = (
                f"the inactive replication slot '{slot.name}' ({slot.status}) holds back "
                f"{size(held)} of WAL; start its reader, or "
                f"`select pg_drop_replication_slot('{slot.name}')`"
            )
            found = Finding("slots", state, says)
    return found


def settings(server: Server) -> Finding:
    names = server.pending_restart
    if not names:
        return Finding("settings", OK, "all are in force")
    says = (
        f"{', '.join(names)} wait for a restart of PostgreSQL; run site.yml or restart "
        f"{server.unit}"
    )
    return Finding("settings", WARNING, says)


CHECKS = (postgresql,)
