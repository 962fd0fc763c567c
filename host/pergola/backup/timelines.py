"""The histories of PostgreSQL's timelines, as the archive has them."""

import shutil
import tempfile
from pathlib import Path

from pergola.backup.repository import Backup, Repositories, pgbackrest
from pergola.backup.settings import Settings
from pergola.backup.targets import ancestry, is_on
from pergola.errors import PergolaError
from pergola.postgres import ACCOUNT, DATA
from pergola.system import checked

NOT_FOUND = 1  # archive-get's exit code


def history(settings: Settings, timeline: int) -> str:
    """The text of a timeline's history file in the archive; PergolaError when there is none."""
    if timeline == 1:
        return ""
    found = find_history(settings, timeline)
    if found is None:
        raise PergolaError(f"the archive knows no timeline {timeline}")
    return found


def find_history(settings: Settings, timeline: int, data: Path | None = None) -> str | None:
    """The same; None: there is none.

    `data` is the cluster that pgBackRest compares with the archive's, the live one unless given.
    """
    with tempfile.TemporaryDirectory(dir=DATA) as directory:
        shutil.chown(directory, ACCOUNT, ACCOUNT)
        file = Path(directory) / "history"
        where = [f"--pg1-path={data}"] if data else []
        # One after the other: pgBackRest would ask those too that are away, and fails where a new
        # server's own has no archive yet.
        for number in Repositories(settings).archives():
            done = pgbackrest(
                *(f"--stanza={settings.stanza}", f"--repo={number}", *where),
                *("archive-get", f"{timeline:08X}.history", file),
            )
            if done.returncode != NOT_FOUND:
                checked(done, "pgbackrest archive-get")
                return file.read_text()
        return None


def newest_timeline(settings: Settings, backup: Backup, data: Path) -> int:
    """The newest timeline that leads on from a backup, whose files are in `data`.

    Where nobody remembers what was live: a backup is made after each restore and each undo, so the
    newest backup is on the timeline that was, and what left it before the backup was given up.
    """
    found = candidate = backup.timeline
    while (text := find_history(settings, candidate + 1, data)) is not None:
        candidate += 1
        if is_on(backup, ancestry(candidate, text)):
            found = candidate
    return found
