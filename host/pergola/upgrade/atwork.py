"""Backups at work, which a restart of PostgreSQL would end."""

import time
from pathlib import Path

from pergola.errors import PergolaError

PROC = Path("/proc")
LOOK_EVERY = 1


def backups() -> list[str]:
    """The backups at work: pgBackRest's, whoever has started them."""
    found = []
    for path in PROC.glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended
            continue
        if Path(words[0]).name == "pgbackrest" and "backup" in words:
            found.append(f"process {path.parent.name}")
    return found


def wait_for_backups(seconds: float) -> None:
    """A restart of PostgreSQL would end a backup; PergolaError when one stays at work."""
    until = time.monotonic() + seconds
    while at_work := backups():
        if time.monotonic() > until:
            raise PergolaError(
                f"a backup is at work ({', '.join(at_work)}): the next night will do"
            )
        time.sleep(LOOK_EVERY)
