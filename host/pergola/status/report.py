"""The status of this host as programs read it: /var/lib/pergola/status.json, and --json."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pergola import results
from pergola.documents import Form, Json
from pergola.people import iso
from pergola.results import Result
from pergola.status import checks, store
from pergola.status.config import Config
from pergola.status.files import Files
from pergola.status.look import CRITICAL, OK, RANK, SKIPPED, WARNING, Finding, Look
from pergola.status.memory import Memory, Reported
from pergola.status.seen import Seen
from pergola.status.watch import worst


@dataclass
class Entry:
    """The state of a thing; `since`: seconds since 1970; `alerted`: people were told."""

    name: str
    state: str
    says: str
    since: float
    alerted: bool = True


@dataclass
class Status:
    """All of it; `jobs`: each one's result, or why that cannot be read."""

    host: str
    wall: float
    time: str
    state: str
    checks: list[Entry]
    jobs: dict[str, Json | str]


@dataclass
class Page(Status):
    """The same with what only people ask for: see page.py."""

    system: str = ""
    releases: list[tuple[str, ...]] = field(default_factory=list)
    files: dict[str, Files] = field(default_factory=dict)


STATUS = Form(Status)
PAGE = Form(Page)


def status(seen: Seen, entries: list[Entry]) -> Status:
    told = {entry.name: Reported(entry.state, entry.says, entry.since) for entry in entries}
    jobs: dict[str, Json | str] = {
        name: results.FORM.json(one) if isinstance(one, Result) else one
        for name, one in (seen.results or {}).items()
    }
    return Status(seen.host, seen.wall, iso(seen.wall), worst(told), entries, jobs)


def of_reported(seen: Seen, reported: Mapping[str, Reported]) -> Status:
    """What people were told."""
    entries = [Entry(name, one.state, one.says, one.since) for name, one in reported.items()]
    return status(seen, entries)


def of_moment(seen: Seen, reported: Mapping[str, Reported], findings: Iterable[Finding]) -> Status:
    """How it is now; nothing is held back that a single look shows."""
    entries = []
    for finding in findings:
        old = reported.get(finding.name, Reported(OK, "", seen.wall))
        alerted = RANK[old.state] >= RANK[finding.state]
        since = old.since if alerted else seen.wall
        entries.append(Entry(finding.name, finding.state, finding.says, since, alerted))
    return status(seen, entries)


# -- findings --------------------------------------------------------------------------------------


def found(settings: Config, known: Memory, seen: Seen) -> list[Finding]:
    """All findings of a look, and whether messages wait."""
    before = {name: entry.state for name, entry in known.reported.items()}
    look = Look(seen, settings.limits, settings.jobs, known, before)
    findings = [*checks.all_of(look), messages(known), unwritten(known)]
    return [accepted(finding, settings.accepted) for finding in findings]


def accepted(finding: Finding, names: Iterable[str]) -> Finding:
    """A warning that somebody has taken note of stays in sight, and is no warning any more."""
    if finding.state != WARNING or finding.name not in names:
        return finding
    return Finding(finding.name, SKIPPED, f"accepted (monitoring_accepted): {finding.says}")


def unwritten(known: Memory) -> Finding:
    """What the look before could not write."""
    if why := known.unwritten:
        says = f"cannot be written: {why}. What was told is remembered in {store.RUN} meanwhile"
        return Finding("memory", CRITICAL, says)
    return Finding("memory", OK, "what was told is remembered")


def messages(known: Memory) -> Finding:
    waits = known.outbox
    if not waits:
        return Finding("messages", OK, "none waits to be sent")
    why = "; ".join(known.unsent.values())
    says = f"{len(waits)} wait since {waits[0].notice.time} and are tried every minute: {why}"
    return Finding("messages", WARNING, says)
