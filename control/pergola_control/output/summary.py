"""The end of a run: what is live, what changed, seconds, warnings, the next command; or why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypedDict

from pergola_control.output.words import counted, indented, lasted

# Seconds below which a role, or a phase of a release, is not worth to be named.
SHORT_ROLE, SHORT_PHASE = 1.0, 0.1
COMMIT = 7  # letters of a commit that people read


@dataclass(frozen=True)
class Failure:
    """Why a host did not get to the end, and what can be done about it."""

    text: str
    advice: str
    role: str


# What is live, by `pergola_live`: `from` is the release before, `seconds` are by phase.
Live = TypedDict(
    "Live",
    {
        "app": str,
        "url": str,
        "release": str,
        "from": str,
        "subject": str,
        "seconds": Mapping[str, float],
    },
    total=False,
)


@dataclass
class Run:
    """What was gathered of a run.

    `live` and `next` are what roles said of the release and of the command that comes next;
    `options` are those of the command line.
    """

    check: bool = False
    hosts: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # by role
    warnings: dict[str, list[str]] = field(default_factory=dict)  # hosts by text
    failures: dict[str, Failure] = field(default_factory=dict)  # by host
    spoke: bool = False  # it printed what it was asked for
    spent: float = 0.0
    changes: int = 0
    checks: int = 0
    live: Live = field(default_factory=Live)
    next: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)


def of_work(run: Run) -> Iterator[str]:
    """Where the seconds went, if anything was done."""
    if run.changes and not run.check:
        yield from of_phases(run.seconds, SHORT_ROLE)
        yield from of_phases(run.live.get("seconds") or {}, SHORT_PHASE)


def of_next(run: Run) -> Iterator[str]:
    """The command that comes next."""
    if run.next and not run.check:
        yield f"{run.next['says']}: {run.next['command']}"


def of_phases(seconds: Mapping[str, float], least: float) -> Iterator[str]:
    """One line of names and seconds."""
    long = [(name, spent) for name, spent in seconds.items() if name and spent >= least]
    if long:
        yield "  " + "   ".join(f"{name} {lasted(spent)}" for name, spent in long)


def of_result(run: Run) -> Iterator[str]:
    """What a run is about: that it is live, or how much changed."""
    names, spent = ", ".join(sorted(run.hosts)) or "no host", lasted(run.spent)
    if run.check:
        things = counted(run.changes, "thing")
        would = f"would change {things} on {names}" if run.changes else f"{names}: nothing to do"
        yield f"{would}; nothing was changed   {spent}"
        return
    live = ""
    if run.live:
        where = f": {run.live['url']}" if run.live["url"] else ""
        live = f"{run.live['app']} is live{where}   release {run.live['release']}"
        if (was := run.live.get("from")) and was != run.live["release"]:
            subject = f' "{run.live["subject"]}"' if run.live.get("subject") else ""
            change = between(was, run.live["release"])
            yield f"{run.live['app']} on {names}: {change}{subject}"
    if run.changes:
        done = counted(run.changes, "change")
        yield f"{live}   {spent}, {done}" if live else f"{names}: {done}, {spent}"
    elif live or not run.spoke:
        nothing = f"{names}: nothing to do, {counted(run.checks, 'check')}, {spent}"
        yield f"{nothing}. {live}" if live else nothing


def between(was: str, now: str) -> str:
    """From one release to another: their commits, or all of the names where these are the same."""
    length = None if was[:COMMIT] == now[:COMMIT] else COMMIT
    return f"{was[:length]} -> {now[:length]}"


def of_warnings(run: Run) -> Iterator[str]:
    """Each warning once, however many hosts have it."""
    if run.warnings:
        yield counted(len(run.warnings), "warning")
    for text, of in run.warnings.items():
        hosts = sorted(of)
        names_itself = not hosts or any(host in text for host in hosts)
        whole = text if names_itself else f"{', '.join(hosts)}: {text}"
        yield "  ! " + indented(whole, "    ").strip()


def of_failure(run: Run) -> Iterator[str]:
    """The last lines of a run that failed: what, where, and what to do, each once."""
    spent = lasted(run.spent)
    early = not run.changes and all(f.role == "preflight" for f in run.failures.values())
    if early:
        yield f"REFUSED, nothing was changed ({spent})"
    else:
        after = f" after {counted(run.changes, 'change')}" if run.changes else ""
        yield f"FAILED{after} ({spent})"
    told: dict[Failure, list[str]] = {}
    for host, failure in sorted(run.failures.items()):
        told.setdefault(failure, []).append(host)
    for failure, hosts in told.items():
        names = ", ".join(hosts)
        named = len(run.hosts) > 1 and not failure.text.startswith(tuple(hosts))
        yield indented(f"{names}: {failure.text}" if named else failure.text)
        if failure.advice:
            yield indented(failure.advice, "  -> ")
