"""One look of the timer's: it remembers, tells of changes, writes the status and the metrics."""

import fcntl
import json
import sys
from collections.abc import Iterable, Mapping

from pergola.status import advance, gather, metrics, notify, report, reserve, store, watch
from pergola.status.config import Config
from pergola.status.look import CRITICAL, OK, RANK, SKIPPED, WARNING, Finding
from pergola.status.memory import Memory, Notice, Reported, Reserve
from pergola.status.notify import Recipient
from pergola.status.seen import Seen
from pergola.status.watch import Change

STATUS = store.HOME / "status.json"
LOCK = store.RUN / "lock"
METRICS = store.RUN / "pergola.prom"
# The journal's priorities: critical, warning, notice.
PRIORITY = {CRITICAL: "<2>", WARNING: "<4>", OK: "<5>", SKIPPED: "<5>"}
SUMMARY_SECONDS = 3600
MESSAGES = "messages"  # about those that do not arrive, the status tells


def look(settings: Config) -> None:
    """Look when no other look is at work."""
    LOCK.parent.mkdir(mode=0o755, exist_ok=True)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        look_and_tell(settings)


def look_and_tell(settings: Config) -> None:
    known = store.remembered()
    known.reserve = reserved(known.reserve)
    seen = gather.gather(known, settings)
    seen.reserve = known.reserve
    known = advance.advanced(known, seen, settings.jobs)
    if known.step:
        print(f"<4>the clock was stepped by {known.step:+.0f} s")
    people = notify.recipients(settings)
    changes = settle(known, seen, report.found(settings, known, seen))
    queue(known, seen, changes, people)
    summarise(known, changes)
    # None of this may keep a message from being sent: a full disk is what it is sent for.
    failed = store.remember(known)
    status = report.of_reported(seen, known.reported)
    failed = failed or store.kept(STATUS, report.STATUS.text(status, indent=1), 0o644)
    store.kept(METRICS, metrics.page(status, seen.results_read), 0o644)
    # Last, as others may let it wait.
    send(known, people)
    beat(known, due(settings.beats, known.reported))
    if failed and failed != known.unwritten:
        print(f"<2>the disk does not take what is to be remembered: {failed}", file=sys.stderr)
    known.unwritten = failed
    store.remember(known)


def reserved(before: Reserve | None) -> Reserve | None:
    """The room in reserve; None where there is none to be had."""
    try:
        return reserve.kept(before)
    except OSError as error:
        print(f"<4>no room is kept in reserve: {error}", file=sys.stderr)
        return None


def settle(known: Memory, seen: Seen, findings: Iterable[Finding]) -> list[Change]:
    """Report what was found; the changes, each of which the journal has."""
    known.reported, changes = watch.settled(
        known.reported, findings, seen.wall, whole=not seen.errors
    )
    for change in changes:
        line = f"check={json.dumps(change.name)} state={change.state} before={change.before}"
        print(f"{PRIORITY[change.state]}{line} says={json.dumps(change.says, ensure_ascii=False)}")
    return changes


def queue(
    known: Memory, seen: Seen, changes: Iterable[Change], people: Mapping[str, Recipient]
) -> None:
    """Put into the outbox what people are to be told: changes, and what is still wrong."""
    changes = list(changes)
    told: list[Notice] = [
        notify.notice(change, seen.host, seen.wall) for change in changes if change.name != MESSAGES
    ]
    known.told, again = watch.to_be_repeated(known.told, known.reported, changes, known.now)
    told += [
        notify.reminder(name, known.reported[name], seen.host, seen.wall)
        for name in again
        if name != MESSAGES
    ]
    known.outbox, dropped = notify.queued(known.outbox, told, people)
    if dropped:
        print(
            f"<4>{dropped} messages that waited longest were dropped: more than {notify.KEPT} wait"
        )


def summarise(known: Memory, changes: Iterable[Change]) -> None:
    """One line for the journal after changes, and every hour."""
    before = known.summary
    if not list(changes) and before is not None and known.now - before < SUMMARY_SECONDS:
        return
    known.summary = known.now
    wrong = [name for name, entry in known.reported.items() if RANK[entry.state]]
    state = watch.worst(known.reported)
    print(f"<5>summary state={state} checks={len(known.reported)} wrong={json.dumps(wrong)}")


def send(known: Memory, people: Mapping[str, Recipient]) -> None:
    """Empty the outbox as far as it goes."""
    known.outbox, failed = notify.sent(known.outbox, people)
    for to, why in failed.items():
        if to not in known.unsent:
            print(f"<4>not told, it is tried again every minute: {why}")
    for to in set(known.unsent) - set(failed):
        print(f"<5>told again: {people[to].name if to in people else to}")
    known.unsent = failed


def due(beats: Mapping[str, list[str]], reported: Mapping[str, Reported]) -> list[str]:
    """The heartbeats to be sent: none for a site that is down, so that the outside notices too."""
    down = {name for name, entry in reported.items() if entry.state == CRITICAL}
    return [url for url, domains in beats.items() if not down & {f"site {d}" for d in domains}]


def beat(known: Memory, urls: Iterable[str]) -> None:
    """Send the heartbeats; the journal has when that begins to fail and when it works again."""
    failed = notify.beaten(urls)
    for to, why in failed.items():
        if to not in known.unbeaten:
            print(f"<4>the heartbeat is not taken: {why}")
    for to in set(known.unbeaten) - set(failed):
        print(f"<5>the heartbeat is taken again: {known.unbeaten[to].partition(':')[0]}")
    known.unbeaten = failed
