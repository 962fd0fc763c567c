"""The migrations that a release brings."""

import re
from collections.abc import Collection, Sequence

from pergola_control.plan.history import History
from pergola_control.plan.order import Live, New

MIGRATION = re.compile(r"(^|/)(migrations|alembic)/(versions/)?[^/]+\.(py|sql)$")
# Alembic's directory has any name, but there is an env.py beside its `versions`.
VERSION = re.compile(r"^(?P<top>(.*/)?)versions/[^/]+\.(py|sql)$")
NO_MIGRATION = re.compile(r"(^|/)(__init__|env|conftest|test_[^/]*)\.py$")
FATES = {
    "A": "+ {}",
    "D": "- {} (gone; what it did to the database stays)",
    "M": "~ {} (changed; where it has run it does not run again)",
}


def is_migration(path: str, paths: Collection[str]) -> bool:
    """Whether a file is a migration, given the files that it lies among."""
    if NO_MIGRATION.search(path):
        return False
    version = VERSION.match(path)
    return bool(MIGRATION.search(path) or (version and f"{version['top']}env.py" in paths))


def migration_lines(
    history: History | str, live: Live | None, new: New, paths: Sequence[str]
) -> list[str]:
    """Where the database is, and the migrations that are new; `paths` are the new release's."""
    there = [path for path in sorted(paths) if is_migration(path, paths)]
    lines, notes = [], []
    if live is None:
        lines = [FATES["A"].format(path) for path in there]
    else:
        if live.get("revision"):
            notes.append(f"database at {live['revision']}")
        elif there:
            notes.append("the database's revision is unknown")
        if isinstance(history, History):
            changed = history.files()
            lines = [
                FATES.get(fate, FATES["M"]).format(path)
                for path, fate in sorted(changed.items())
                if is_migration(path, {*paths, *changed})
            ]
        elif there and live["commit"] != new["commit"]:
            notes.append(f"which of {len(there)} files are new cannot be told: {history}")
            return ["; ".join(notes)]
    if any(line.startswith("+") for line in lines) and new["config"].get("migrate_command") == "":
        notes.append("app_migrate_command is empty: none of these runs")
    if not lines:
        return ["; ".join(["none", *notes])]
    return [f"{'; '.join(notes)}:", *lines] if notes else lines
