"""The ledger for people."""

import json
import textwrap
from typing import Any

from releases.store import Store

COLUMNS = ("when (UTC)", "what", "release", "commit", "who", "schema", "s", "outcome")
SHOWN = 30
REASON_LENGTH = 100


def row(entry: dict[str, Any]) -> tuple[str, ...]:
    before, after = entry.get("schema") or [None, None]
    schema = (after or "-") if before == after else f"{before or '-'} > {after or '-'}"
    reason = textwrap.shorten(entry.get("reason", ""), REASON_LENGTH, placeholder=" …")
    phase = f" in {entry['phase']}" if entry.get("phase") else ""
    return (
        entry["time"][:16].replace("T", " "),
        entry["action"],
        entry["to"],
        entry.get("commit", "")[:10],
        entry.get("who") or "-",
        schema,
        f"{sum(entry.get('seconds', {}).values()):.1f}",
        entry["outcome"] + phase + (f": {reason}" if reason else ""),
    )


def releases(store: Store) -> str:
    """The last deploys as a table, the newest last; what is live and what else is good below it."""
    entries = [entry for entry in store.ledger() if entry["action"] != "run"][-SHOWN:]
    rows = [COLUMNS, *map(row, entries)]
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(COLUMNS) - 1)]
    lines = [
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)), cells[-1]]
        )
        for cells in rows
    ]
    good = [name for name in store.good() if name != store.live()]
    lines += ["", f"live: {store.describe_live()}", f"good: {', '.join(good) or 'no other one'}"]
    return "\n".join(line.rstrip() for line in lines)


def release(store: Store, name: str) -> str:
    """The manifest, the ledger lines and the log of the migration of one release."""
    lines = [json.dumps(store.manifest(name), indent=1)]
    lines += [json.dumps(entry) for entry in store.ledger() if name in (entry["to"],)]
    log = store.path(name) / "migrate.log"
    if log.exists():
        lines += [f"its migration said ({log}):", log.read_text()]
    lines.append(f"its files: {store.path(name)}")
    return "\n".join(lines)
