"""The state of this host for people: what is wrong comes first."""

import json
import os
import time
from pathlib import Path
from typing import Any

from monitoring.checks import CRITICAL, OK, RANK, SKIPPED, WARNING, duration, size

HOMES = Path("/srv")
WORDS = {CRITICAL: "CRITICAL", WARNING: "warning", OK: "ok", SKIPPED: "skipped"}


def system() -> str:
    """The operating system, uptime, load and memory."""
    release = dict(
        line.split("=", 1)
        for line in Path("/etc/os-release").read_text().splitlines()
        if "=" in line
    )
    memory = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(memory[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    return (
        f"{release.get('PRETTY_NAME', 'unknown').strip(chr(34))}, "
        f"up {duration(time.clock_gettime(time.CLOCK_BOOTTIME))}, "
        f"load {os.getloadavg()[0]:.1f}, {size(total - free)} of {size(total)} of memory used"
    )


def releases() -> list[list[str]]:
    """What is live, of each application of this host."""
    rows = []
    for home in sorted(path.parent.parent for path in HOMES.glob("*/bin/release")):
        live = home / "slots" / ("green" if (home / "live/green").exists() else "blue")
        since = ""
        try:
            name = live.readlink().name
            for line in (home / "ledger.jsonl").read_text().splitlines():
                # A power loss may have cut off a line.
                entry = json.loads(line) if line.endswith("}") else {}
                if entry.get("to") == name and entry.get("outcome") == "live":
                    since = f"live since {entry['time'][:16].replace('T', ' ')}"
        except (OSError, ValueError):
            name = "no release is live" if not live.is_symlink() else live.readlink().name
        pages = (home / "live/maintenance.html", Path("/run", home.name, "maintenance.html"))
        page = ", the maintenance page is on" if any(path.exists() for path in pages) else ""
        rows.append([home.name, name, since + page])
    return rows


def jobs(results: dict[str, Any]) -> list[list[str]]:
    """The last run of each job."""
    rows = []
    for name, one in results.items():
        if not isinstance(one, dict):
            rows.append([name, "?", "", "", one])
            continue
        ended = time.strftime("%Y-%m-%d %H:%M", time.gmtime(float(one["ended"])))
        took = f"{float(one.get('seconds') or 0):.1f} s"
        kind = f"{name} ({one['type']})" if one.get("type") else name
        rows.append([kind, "ok" if one.get("ok") else "FAILED", ended, took, one.get("says", "")])
    return rows


def aligned(rows: list[list[str]]) -> list[str]:
    """Rows in columns, two blanks apart and indented by two."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    return [
        ("  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]


def page(status: dict[str, Any]) -> str:
    """The whole page; `status` is what cli.looked returns."""
    wrong = sorted(
        (check for check in status["checks"] if RANK[check["state"]]),
        key=lambda check: (-RANK[check["state"]], check["name"]),
    )
    fine = [check for check in status["checks"] if not RANK[check["state"]]]
    lines = [f"{status['host']}: {verdict(wrong)}", f"  {status['system']}"]
    for check in wrong:
        since = time.strftime("since %Y-%m-%d %H:%M", time.gmtime(check["since"]))
        note = f" ({since})" if check["alerted"] else " (seen just now, no alert yet)"
        lines += ["", f"{WORDS[check['state']]}: {check['name']}{note}", f"  {check['says']}"]
    for title, rows in (
        ("releases", status["releases"]),
        ("jobs (UTC)", jobs(status["jobs"])),
        ("checks", [[c["name"], WORDS.get(c["state"], c["state"]), c["says"]] for c in fine]),
    ):
        lines += ["", title, *(aligned(rows) or ["  none"])]
    return "\n".join(lines)


def verdict(wrong: list[dict[str, Any]]) -> str:
    """In a few words, how it is."""
    if not wrong:
        return "all is well"
    counts = [(sum(c["state"] == state for c in wrong), state) for state in (CRITICAL, WARNING)]
    return ", ".join(f"{count} {WORDS[state]}" for count, state in counts if count)
