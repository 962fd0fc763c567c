"""The state of this host for people: what is wrong comes first."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pergola import apps
from pergola.apps import App
from pergola.people import duration, size, uptime
from pergola.results import Result
from pergola.status import files
from pergola.status.applications import newest_first
from pergola.status.files import Files
from pergola.status.look import CRITICAL, OK, RANK, SKIPPED, WARNING
from pergola.status.report import Entry, Page

WORDS = {CRITICAL: "CRITICAL", WARNING: "warning", OK: "ok", SKIPPED: "skipped"}
Row = tuple[str, ...]


def system() -> str:
    """The operating system, uptime, load and memory."""
    release = pairs(Path("/etc/os-release"), "=")
    memory = pairs(Path("/proc/meminfo"), ":")
    total, free = (int(memory[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    name = release.get("PRETTY_NAME", "unknown").strip('"')
    return (
        f"{name}, up {duration(uptime())}, load {os.getloadavg()[0]:.1f}, {size(total - free)} of "
        f"{size(total)} of memory used"
    )


def pairs(path: Path, separator: str) -> dict[str, str]:
    """What a file's lines say, by the names before the separator."""
    lines = path.read_text().splitlines()
    return dict(line.split(separator, 1) for line in lines if separator in line)


def releases() -> list[Row]:
    """What is live, of each application of this host: its name, the release, since when."""
    return [row(app) for app in apps.every()]


def row(app: App) -> Row:
    page = ", the maintenance page is on" if app.has_page() else ""
    if not app.slot.is_symlink():
        return app.name, "no release is live", page
    name = app.slot.readlink().name
    return app.name, name, live_since(app.home / "ledger.jsonl", name) + page


def live_since(ledger: Path, release: str) -> str:
    """When a release last went live; empty if the ledger does not say it."""
    for line in newest_first(ledger):
        if line.to == release and line.outcome == "live":
            return f"live since {line.time[:16].replace('T', ' ')}"
    return ""


def jobs(results: Mapping[str, Result | str]) -> list[Row]:
    """The last run of each job."""
    rows: list[Row] = []
    for name, one in results.items():
        if isinstance(one, str):
            rows.append((name, "?", "", "", one))
            continue
        ended = time.strftime("%Y-%m-%d %H:%M", time.gmtime(one.ended))
        kind = f"{name} ({one.type})" if one.type else name
        rows.append((kind, "ok" if one.ok else "FAILED", ended, f"{one.seconds:.1f} s", one.says))
    return rows


def aligned(rows: Sequence[Row]) -> list[str]:
    """Rows in columns, two blanks apart and indented by two."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        ("  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]


def beside(rows: Sequence[Row], found: Mapping[str, Files]) -> list[Row]:
    """The releases' rows, with what their applications keep on this server."""
    return [
        (app, name, ", ".join(filter(None, (since, files.words(found.get(app))))))
        for app, name, since in rows
    ]


def page(status: Page, results: Mapping[str, Result | str]) -> str:
    """The whole page; `results` are those of the jobs."""
    wrong = sorted(
        (check for check in status.checks if RANK[check.state]),
        key=lambda check: (-RANK[check.state], check.name),
    )
    fine = [check for check in status.checks if not RANK[check.state]]
    lines = [f"{status.host}: {verdict(wrong)}", f"  {status.system}"]
    for check in wrong:
        since = time.strftime("since %Y-%m-%d %H:%M", time.gmtime(check.since))
        note = f" ({since})" if check.alerted else " (seen just now, no alert yet)"
        lines += ["", f"{WORDS[check.state]}: {check.name}{note}", f"  {check.says}"]
    for title, rows in (
        ("releases", beside(status.releases, status.files)),
        ("jobs (UTC)", jobs(results)),
        ("checks", [(c.name, WORDS.get(c.state, c.state), c.says) for c in fine]),
    ):
        lines += ["", title, *(aligned(rows) or ["  none"])]
    return "\n".join(lines)


def verdict(wrong: Sequence[Entry]) -> str:
    """In a few words, how it is."""
    if not wrong:
        return "all is well"
    counts = [(sum(c.state == state for c in wrong), state) for state in (CRITICAL, WARNING)]
    return ", ".join(f"{count} {WORDS[state]}" for count, state in counts if count)
