"""The backups: each repository, damage that PostgreSQL has read, restores that were cut off."""

import dataclasses
from collections.abc import Iterator

from pergola.notes import RESTORE, RESTORE_FILE
from pergola.people import HOUR, MINUTE, duration
from pergola.status import memory
from pergola.status.config import SECONDS
from pergola.status.look import CRITICAL, NO_ANSWER, OK, UNKNOWN, WARNING, Finding, Look, worse
from pergola.status.memory import Damage, Job
from pergola.status.seen import AtWork, Repository
from pergola.status.server import Down, Server
from pergola.system import attempt

UNITS = ("pergola-restore.service", "pergola-restore-finish.service")
GOING = ("active", "activating", "deactivating", "reloading")


# -- repositories ----------------------------------------------------------------------------------


def repositories(look: Look) -> Iterator[Finding]:
    """Each repository for itself: one that is well says nothing of another."""
    server, found = look.seen.postgresql, look.seen.archives
    if not server or not found:
        return
    if isinstance(server, Server) and server.archive_mode == "off":
        return
    for one in found:
        if isinstance(server, Down):
            yield Finding(f"repository {one.name}", UNKNOWN, NO_ANSWER)
        else:
            yield repository(look, one)


def repository(look: Look, one: Repository) -> Finding:
    name = f"repository {one.name}"
    known = look.memory.archives[one.name]
    # The WAL notes times of the wall clock; a step of it is over with the file that it is in.
    lacks = 0.0 if one.lacks_since is None else max(0.0, look.seen.wall - one.lacks_since)
    state = look.level(name, "unarchived_minutes", lacks / MINUTE)
    says = [f"lacks the changes of the last {duration(lacks)}" if lacks else "has all changes"]
    if one.why:
        away = look.now - (look.now if known.away is None else known.away)
        says = [f"does not answer for {duration(away)} ({one.why})", *says]
        if state == OK:
            # Where nothing is written it lacks nothing yet.
            late = look.level(name, "unarchived_minutes", away / MINUTE)
            state = WARNING if late != OK else OK
    for bad, what in of_backup(look, known.backup, bool(one.why)):
        state = worse(state, bad)
        says.append(what)
    if state != OK:
        asks = "sudo -u postgres pgbackrest info"
        says.append(f"see `{asks}`, /var/log/pgbackrest and docs/backups.md")
    return Finding(name, state, "; ".join(says))


def of_backup(look: Look, backup: memory.Backup | None, is_away: bool) -> Iterator[tuple[str, str]]:
    """What is to be said of a repository's newest backup, and how bad that is."""
    if backup is None:
        if not is_away:
            yield WARNING, "holds no backup yet: its changes alone restore nothing"
        return
    age = look.now - backup.at
    hours = look.jobs.get("backup")
    late = age / (hours * HOUR) if hours else 0
    state = CRITICAL if late > 2 else WARNING if late > 1 else OK
    yield state, f"the newest backup, {backup.label}, is {duration(age)} old"
    if backup.damaged:
        yield CRITICAL, "in that pages of PostgreSQL are damaged, so that older ones are kept"


def second_copy(look: Look) -> Iterator[Finding]:
    """Whether backups outlive this server."""
    there = look.seen.repositories
    if "backup" not in look.jobs or not there:
        return
    if there.elsewhere:
        yield Finding("second copy", OK, "backups are kept on another host too")
        return
    says = (
        'the backups are on this server only and are lost with it; see docs/backups.md, "A second '
        'copy elsewhere" (group backup, or backup_s3)'
    )
    yield Finding("second copy", WARNING, says)


# -- damaged pages ---------------------------------------------------------------------------------


def damage(known: Damage | None, server: Server | None, backup: Job | None, now: float) -> Damage:
    """Databases of which PostgreSQL has read damaged pages, until a full backup has read all.

    Its counters go on after that, and begin again at 0 after a crash.
    """
    known = known or Damage(now)
    if server is None:
        return known
    counts = server.checksum_failures
    new = [name for name, count in counts.items() if count > known.counts.get(name, 0)]
    if new:
        # Not now: a backup may have begun, and read all, since the page was met.
        met = now - (server.checksum_failed_ago or 0.0)
        known = Damage(met, databases=sorted({*known.databases, *new}))
    read = backup and backup.ok and backup.full and backup.began > known.time
    return dataclasses.replace(known, counts=counts, databases=[] if read else known.databases)


def pages(look: Look) -> Iterator[Finding]:
    if not look.seen.postgresql:
        return
    if isinstance(look.seen.postgresql, Down):
        yield Finding("pages", UNKNOWN, NO_ANSWER)
        return
    names = look.memory.damage.databases if look.memory.damage else []
    if not names:
        yield Finding("pages", OK, "PostgreSQL has read no damaged page")
        return
    says = (
        f"PostgreSQL has read damaged pages in {', '.join(names)}: the disk or the memory is "
        "failing; `grep 'invalid page' /var/log/postgresql/*.log` names the files; see "
        "docs/backups.md, and make a full backup when it is repaired (pergola-backup full)"
    )
    yield Finding("pages", CRITICAL, says)


# -- a restore that was cut off --------------------------------------------------------------------


def at_work() -> AtWork:
    """The restore that is not at its end, and whether it is at work."""
    intent = RESTORE.read(RESTORE_FILE)
    if intent is None:
        return AtWork()
    states = attempt("systemctl", "is-active", *UNITS, timeout=SECONDS).stdout.split()
    return AtWork(intent, any(state in GOING for state in states))


def restore(look: Look) -> Iterator[Finding]:
    """The finding, on hosts that have a database.

    pergola-backup brings it to its end by itself, after a boot and after its program was killed.
    What is left then, or could not be brought to its end, is told.
    """
    now, result = look.seen.restore, look.seen.results_read.get("restore")
    if now is None or not (look.seen.postgresql or now.intent):
        return
    intent = now.intent
    if intent and now.at_work:
        yield Finding("restore", OK, f"a {intent.kind} is at work since {intent.began}")
    elif intent:
        says = intent.says or (
            f"the {intent.kind} to {intent.words}, begun {intent.began}, was cut off, and which "
            "data is in force is not settled: sudo pergola-backup resolve"
        )
        yield Finding("restore", CRITICAL, says)
    elif result and result.cut:
        yield Finding("restore", OK if result.ok else WARNING, result.says)
    else:
        yield Finding("restore", OK, "none was cut off")


CHECKS = (repositories, pages, restore, second_copy)
