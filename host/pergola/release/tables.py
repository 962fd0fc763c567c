"""The ledger for people."""

import textwrap

from pergola.lock import holder
from pergola.records import LINE, MANIFEST, Line
from pergola.release.migrations import Migration, MigrationAfter
from pergola.release.releases import Releases

COLUMNS = ("when (UTC)", "what", "release", "commit", "who", "schema", "s", "outcome")
SHOWN = 30
REASON_LENGTH = 100


def row(line: Line) -> tuple[str, ...]:
    before, after = line.schema or (None, None)
    schema = (after or "-") if before == after else f"{before or '-'} > {after or '-'}"
    reason = textwrap.shorten(line.reason, REASON_LENGTH, placeholder=" …")
    phase = f" in {line.phase}" if line.phase else ""
    return (
        line.time[:16].replace("T", " "),
        line.action,
        line.to,
        line.commit[:10],
        line.who or "-",
        schema,
        f"{sum(line.seconds.values()):.1f}",
        line.outcome + phase + (f": {reason}" if reason else ""),
    )


def releases(of: Releases) -> str:
    """The last deploys as a table, the newest last; what is live and what else is good below it."""
    lines = [line for line in of.ledger() if line.action != "run"][-SHOWN:]
    rows = [COLUMNS, *map(row, lines)]
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(COLUMNS) - 1)]
    table = [
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)), cells[-1]]
        )
        for cells in rows
    ]
    good = [name for name in of.good() if name != of.live()]
    none = "no other one" if of.live() else "none"
    table += ["", f"live: {of.describe_live()}", f"good: {', '.join(good) or none}"]
    if held := holder(of.app.place):
        table.append(
            f"at work: {held.what} by {held.who or 'somebody'} since {held.since}, now in "
            f"phase {held.phase or '?'}"
        )
    return "\n".join(line.rstrip() for line in table)


def release(of: Releases, name: str) -> str:
    """The manifest, the ledger lines and the log of the migration of one release."""
    lines = [MANIFEST.text(of.manifest(name), indent=1).strip()]
    lines += [LINE.text(line).strip() for line in of.ledger() if line.to == name]
    for migration in (Migration, MigrationAfter):
        log = of.path(name) / migration.log
        if log.exists():
            lines += [f"its {migration.what} said ({log}):", log.read_text()]
    lines.append(f"its files: {of.path(name)}")
    return "\n".join(lines)
