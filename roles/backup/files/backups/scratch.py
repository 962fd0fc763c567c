"""A PostgreSQL beside the live one, made from a backup: for a look, and for the drill.

It lives in a directory of its own with everything that it needs, listens on a socket there,
archives nothing and knows nothing of the live server's configuration, which is in /etc.
"""

import re
import shutil
import subprocess
import time
from pathlib import Path

from backups.cluster import Cluster, query_server
from backups.repository import Repositories
from backups.settings import Settings
from backups.system import BackupError, as_postgres, checked, last_lines, size, systemctl
from backups.targets import Choice

HOME = Path("/var/lib/postgresql")
PORT = 5432
LOOK_EVERY = 0.1
SECONDS_TO_STOP = 60
# A restore needs the room of the files, and some for the WAL that is played back.
ROOM = 1.1
ROOM_FOR_WAL = 500_000_000

# Recovery refuses to run with less of these than the live server had: pg_controldata's names.
AT_LEAST = {
    "max_connections": "max_connections setting",
    "max_worker_processes": "max_worker_processes setting",
    "max_wal_senders": "max_wal_senders setting",
    "max_prepared_transactions": "max_prepared_xacts setting",
    "max_locks_per_transaction": "max_locks_per_xact setting",
}

CONFIGURATION = """\
data_directory = '{data}'
hba_file = '{home}/pg_hba.conf'
ident_file = '{home}/pg_ident.conf'
listen_addresses = ''
port = {port}
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
external_pid_file = ''
shared_preload_libraries = '{preload}'
# A connection that succeeds is the proof that recovery has reached its end.
hot_standby = off
# It is thrown away: speed is worth more than safety, and quiet more than both.
archive_mode = off
fsync = off
full_page_writes = off
autovacuum = off
shared_buffers = 64MB
jit = off
"""


class Scratch:
    """One scratch instance. `name` is drill or scratch: the directory's and the unit's name."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.settings, self.live = settings, Cluster(settings)
        self.home = HOME / f"pergola-{name}"
        self.data, self.sockets = self.home / "data", self.home / "sockets"
        self.log = self.home / "log"
        self.unit = f"pergola-{name}.service"

    def restore(self, choice: Choice) -> None:
        """Fill it from a backup; BackupError when there is no room, before anything is written."""
        self.remove()
        needed = choice.backup.bytes_in_database
        free = shutil.disk_usage(HOME).free
        if free < needed * ROOM + ROOM_FOR_WAL:
            raise BackupError(
                f"there is no room to restore beside the live server: {size(needed)} and some WAL "
                f"are needed below {HOME}, {size(free)} are free",
            )
        for directory in (self.home, self.data, self.sockets):
            directory.mkdir(mode=0o700)
            shutil.chown(directory, "postgres", "postgres")
        # pgBackRest's restore empties the spool, and fails where something comes into it just then:
        # it gets one of its own. Fetching WAL ahead would need one too, and trips over itself now
        # and then at the archive's end.
        get = f"pgbackrest --stanza={self.settings.stanza} --repo={choice.backup.repository}"
        Repositories(self.settings).do(
            "restore",
            f"--pg1-path={self.data}",
            "--archive-mode=off",
            f"--spool-path={self.home}/spool",
            f"--lock-path={self.home}/lock",
            f"--recovery-option=restore_command={get} --pg1-path={self.data} --no-archive-async "
            'archive-get %f "%p"',
            *choice.options(),
        )
        self.configure()

    def configure(self) -> None:
        values = {
            "home": self.home,
            "data": self.data,
            "sockets": self.sockets,
            "port": PORT,
            "preload": self.preload(),
        }
        text = CONFIGURATION.format(**values)
        known = self.controldata()
        text += "".join(f"{name} = {known[label]}\n" for name, label in AT_LEAST.items())
        for name, content in {
            "postgresql.conf": text,
            "pg_hba.conf": "local all postgres peer\n",
            "pg_ident.conf": "",
        }.items():
            (self.home / name).write_text(content)
            shutil.chown(self.home / name, "postgres", "postgres")

    def preload(self) -> str:
        """The live server's libraries: what they keep in the files may need them to be read."""
        config = f"/etc/postgresql/{self.live.version}/main/postgresql.conf"
        where = [f"-cconfig_file={config}", "-D", str(self.live.data)]
        done = as_postgres(
            str(self.live.programs / "postgres"), "-C", "shared_preload_libraries", *where
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    def controldata(self) -> dict[str, str]:
        """What the restored cluster's control file says, by pg_controldata's names."""
        done = as_postgres(str(self.live.programs / "pg_controldata"), "-D", str(self.data))
        lines = checked(done, "pg_controldata").splitlines()
        pairs = (re.split(r":\s*", line, maxsplit=1) for line in lines)
        return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}

    def start(self) -> None:
        """Start it and wait until recovery has come to its target; BackupError when it does not."""
        command = [
            "systemd-run",
            "--quiet",
            "--collect",
            f"--unit={self.unit}",
            "--uid=postgres",
            "--nice=10",
            f"--property=StandardOutput=append:{self.log}",
            f"--property=StandardError=append:{self.log}",
            "--property=KillMode=mixed",
            "--property=KillSignal=SIGINT",
            f"--property=TimeoutStopSec={SECONDS_TO_STOP}",
            str(self.live.programs / "postgres"),
            "-D",
            str(self.data),
            f"-cconfig_file={self.home}/postgresql.conf",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        checked(done, f"starting {self.unit}")
        while True:
            try:
                self.sql("select 1")
            except BackupError:
                if not systemctl("is-active", self.unit).startswith("active"):
                    raise BackupError(
                        "the restored server did not come up", self.log_lines()
                    ) from None
                time.sleep(LOOK_EVERY)
            else:
                return

    def log_lines(self) -> str:
        return last_lines(self.log.read_text()) if self.log.exists() else "(it wrote no log)"

    def sql(self, query: str, database: str = "postgres", role: str = "") -> str:
        """An answer of the restored server; `role`: with the rights of that role only."""
        return query_server(query, str(self.sockets), PORT, database, role)

    def stop(self) -> None:
        systemctl("stop", self.unit)

    def remove(self) -> None:
        """Stop it and remove all of it; nothing happens where there is none."""
        self.stop()
        if self.home.exists():
            shutil.rmtree(self.home)
