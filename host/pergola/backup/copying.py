"""The files of a backup are restored beside the live ones, ready to recover in their place."""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from pergola.backup.repository import Repositories
from pergola.backup.server import Server
from pergola.backup.settings import Settings
from pergola.backup.targets import Choice
from pergola.backup.timelines import newest_timeline
from pergola.people import of_seconds
from pergola.postgres import ACCOUNT


@dataclass(frozen=True)
class Copies:
    """What is made: a data directory, a spool, tablespaces."""

    data: Path
    spool: Path
    tablespaces: Path

    def all(self) -> list[Path]:
        return [self.data, self.spool, self.tablespaces]


def places_of(server: Server) -> Copies:
    """Where they are made: in the file system of the live ones."""
    fresh = server.data.with_name("main.restoring")
    now = f"{of_seconds(time.time()):%Y%m%dT%H%M%SZ}"
    spool = fresh.with_name(f"{fresh.name}.spool")
    return Copies(fresh, spool, fresh.with_name(f"tablespaces-{now}"))


def copy(settings: Settings, choice: Choice, copies: Copies) -> None:
    """Restore them; PergolaError when that fails, and half of them may be there."""
    # From where the backup is: another repository that is away would be waited for each time.
    get = f"pgbackrest --stanza={settings.stanza} --repo={choice.backup.repository}"
    shutil.rmtree(copies.data, ignore_errors=True)
    copies.data.mkdir(mode=0o700)
    shutil.chown(copies.data, ACCOUNT, ACCOUNT)
    Repositories(settings).do(
        "restore",
        f"--pg1-path={copies.data}",
        f"--process-max={os.cpu_count()}",
        # It would empty the live server's, and fail where something comes into that.
        f"--spool-path={copies.spool}",
        # The live server's tablespaces stay where they are.
        f"--tablespace-map-all={copies.tablespaces}",
        # pgBackRest's own would name the directory that the files are in now.
        # Fetching ahead would wait for a sender of WAL that is still at work.
        f'--recovery-option=restore_command={get} --no-archive-async archive-get %f "%p"',
        *choice.options(),
    )
    if choice.timeline is None:
        timeline = newest_timeline(settings, choice.backup, copies.data)
        with (copies.data / "postgresql.auto.conf").open("a") as file:
            file.write(f"recovery_target_timeline = '{timeline}'\n")
