"""The command line. Exits 0, 1 when it could not look, 2 when something is critical."""

import argparse
import fcntl
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from monitoring import checks, config, facts, memory, metrics, notify, tables, watch

HOME = Path("/var/lib/pergola")
MEMORY = HOME / "monitoring.json"
STATUS = HOME / "status.json"
LOCK = HOME / "monitoring.lock"
METRICS = Path("/run/pergola-monitoring/pergola.prom")
# The journal's priorities: critical, warning, notice.
PRIORITY = {checks.CRITICAL: "<2>", checks.WARNING: "<4>", checks.OK: "<5>", checks.SKIPPED: "<5>"}
SUMMARY_SECONDS = 3600


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="pergola-status",
        description="How this server is, looked at afresh: what is wrong, what is live, the jobs. "
        "Exits 2 when something is critical.",
    )
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--json", action="store_true", help="the same for programs")
    one.add_argument("--facts", action="store_true", help="what was seen, before it is judged")
    one.add_argument(
        "--watch",
        action="store_true",
        help="(pergola-monitoring.timer) remember, tell of changes, write status.json and metrics",
    )
    return parser.parse_args()


def remembered() -> dict[str, Any]:
    """The memory of earlier looks; empty when there is none or it is broken."""
    try:
        known = json.loads(MEMORY.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        print(f"<4>{MEMORY} cannot be read ({error}): begun anew", file=sys.stderr)
        return {}
    return known if isinstance(known, dict) else {}


def written(path: Path, text: str, mode: int) -> None:
    """Replace a file at once."""
    new = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
        os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def found(
    settings: dict[str, Any], known: dict[str, Any], seen: dict[str, Any]
) -> list[checks.Finding]:
    """All findings of a look, and whether messages wait."""
    before = {name: entry["state"] for name, entry in known.get("reported", {}).items()}
    look = checks.Look(seen, settings["limits"], settings["jobs"], known, before)
    return [*checks.all_of(look), messages(known)]


def messages(known: dict[str, Any]) -> checks.Finding:
    waits = known.get("outbox", [])
    if not waits:
        return checks.Finding("messages", checks.OK, "none waits to be sent")
    why = "; ".join(known.get("unsent", {}).values())
    says = f"{len(waits)} wait since {waits[0]['notice']['time']} and are tried every minute: {why}"
    return checks.Finding("messages", checks.WARNING, says)


def looked(seen: dict[str, Any], entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The status of this host."""
    return {
        "host": seen["host"],
        "wall": seen["wall"],
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seen["wall"])),
        "state": watch.worst({entry["name"]: entry for entry in entries}),
        "checks": entries,
        "jobs": seen["results"] or {},
    }


def look_once(settings: dict[str, Any]) -> dict[str, Any]:
    """How it is now, without remembering it; nothing is held back that a single look shows."""
    known = remembered()
    seen = facts.gather(known.get("logs"))
    known = memory.advanced(known, seen, settings["jobs"])
    reported = known.get("reported", {})
    entries = []
    for finding in found(settings, known, seen):
        old = reported.get(finding.name, {"state": checks.OK, "since": seen["wall"]})
        alerted = checks.RANK[old["state"]] >= checks.RANK[finding.state]
        since = old["since"] if alerted else seen["wall"]
        state = finding.state
        entries.append(
            {
                "name": finding.name,
                "state": state,
                "says": finding.says,
                "since": since,
                "alerted": alerted,
            }
        )
    return looked(seen, entries) | {"system": tables.system(), "releases": tables.releases()}


def look_and_tell(settings: dict[str, Any]) -> None:
    """One look of the timer's."""
    known = remembered()
    seen = facts.gather(known.get("logs"))
    known = memory.advanced(known, seen, settings["jobs"])
    if known["step"]:
        print(f"<4>the clock was stepped by {known['step']:+.0f} s")
    findings = found(settings, known, seen)
    reported, changes = watch.settled(
        known.get("reported", {}), findings, seen["wall"], whole=not seen["errors"]
    )
    for change in changes:
        line = f"check={json.dumps(change.name)} state={change.state} before={change.before}"
        print(f"{PRIORITY[change.state]}{line} says={json.dumps(change.says, ensure_ascii=False)}")
    people = notify.recipients(settings)
    told = [
        notify.notice(change, seen["host"], seen["wall"])
        for change in changes
        if change.name != "messages"  # about messages that do not arrive, the status tells
    ]
    outbox, dropped = notify.queued(known.get("outbox", []), told, people)
    if dropped:
        print(
            f"<4>{dropped} messages that waited longest were dropped: more than {notify.KEPT} wait"
        )
    known |= {"reported": reported, "outbox": outbox}
    summarise(known, changes)
    written(MEMORY, json.dumps(known), 0o600)
    entries = [{"name": name, **entry} for name, entry in reported.items()]
    status = looked(seen, entries)
    written(STATUS, json.dumps(status, indent=1), 0o644)
    if METRICS.parent.is_dir():
        written(METRICS, metrics.page(status), 0o644)
    # Last, as others may let it wait.
    send(known, people)
    beat(known, settings["beats"])
    written(MEMORY, json.dumps(known), 0o600)


def summarise(known: dict[str, Any], changes: list[watch.Change]) -> None:
    """One line for the journal after changes, and every hour."""
    now = known["clock"]["time"]
    if not changes and now - known.get("summary", -SUMMARY_SECONDS) < SUMMARY_SECONDS:
        return
    known["summary"] = now
    reported = known["reported"]
    wrong = [name for name, entry in reported.items() if checks.RANK[entry["state"]]]
    state = watch.worst(reported)
    print(f"<5>summary state={state} checks={len(reported)} wrong={json.dumps(wrong)}")


def send(known: dict[str, Any], people: dict[str, tuple[str, notify.Send]]) -> None:
    """Empty the outbox as far as it goes."""
    known["outbox"], failed = notify.sent(known["outbox"], people)
    for to, why in failed.items():
        if to not in known.get("unsent", {}):
            print(f"<4>not told, it is tried again every minute: {why}")
    for to in set(known.get("unsent", {})) - set(failed):
        print(f"<5>told again: {people[to][0] if to in people else to}")
    known["unsent"] = failed


def beat(known: dict[str, Any], urls: list[str]) -> None:
    """Send the heartbeats; the journal has when that begins to fail and when it works again."""
    failed = notify.beaten(urls)
    for to, why in failed.items():
        if to not in known.get("unbeaten", {}):
            print(f"<4>the heartbeat is not taken: {why}")
    for to in set(known.get("unbeaten", {})) - set(failed):
        print(f"<5>the heartbeat is taken again: {known['unbeaten'][to].partition(':')[0]}")
    known["unbeaten"] = failed


def main() -> int:
    options = arguments()
    if os.geteuid() != 0:
        print("run me as root: sudo pergola-status", file=sys.stderr)
        return 1
    try:
        settings = config.read()
    except ValueError as error:
        print(f"<2>{error}" if options.watch else error, file=sys.stderr)
        return 1
    if options.watch:
        with LOCK.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            look_and_tell(settings)
        return 0
    if options.facts:
        print(json.dumps(facts.gather(remembered().get("logs")), indent=1))
        return 0
    status = look_once(settings)
    print(json.dumps(status, indent=1) if options.json else tables.page(status))
    return 2 if status["state"] == checks.CRITICAL else 0
