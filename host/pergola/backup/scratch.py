"""A PostgreSQL beside the live one, made from a backup: for a look, and for the drill.

It lives in a directory of its own with everything that it needs, listens on a socket there,
archives nothing and knows nothing of the live server's configuration, which is in /etc.
"""

import fcntl
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pergola.backup.repository import Repositories
from pergola.backup.server import SECONDS_FOR_ANSWER, Server
from pergola.backup.settings import Settings
from pergola.backup.targets import Choice
from pergola.errors import PergolaError
from pergola.people import last_lines, size
from pergola.postgres import ACCOUNT, DATA, USUAL_PORT, Cluster
from pergola.system import attempt, is_active, run, systemctl, write

HOME = DATA
LOCKS = Path("/run")
LOOK_EVERY = 0.1
SECONDS_TO_STOP = 60
LAST_FILE = "pg_ident.conf"
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


@dataclass(frozen=True)
class Scratch(Cluster):
    """One scratch instance. `name` is drill or scratch: the directory's and the unit's name.

    `held`: the locks of this process.
    """

    settings: Settings = field(kw_only=True)
    held: list[IO[str]] = field(kw_only=True, default_factory=list, compare=False)

    @classmethod
    def of(cls, settings: Settings, name: str) -> "Scratch":
        return cls(settings.version, name, settings=settings)

    # -- where its parts are -----------------------------------------------------------------------

    @property
    def home(self) -> Path:
        return HOME / f"pergola-{self.name}"

    @property
    def configuration(self) -> Path:
        return self.home

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def sockets(self) -> str:
        return str(self.home / "sockets")

    @property
    def port(self) -> int:
        return USUAL_PORT

    @property
    def log(self) -> Path:
        return self.home / "log"

    @property
    def unit(self) -> str:
        return f"pergola-{self.name}.service"

    # -- making it ---------------------------------------------------------------------------------

    def restore(self, choice: Choice) -> None:
        """Fill it from a backup; PergolaError when there is no room, before anything is written."""
        self.lock()
        self.remove()
        needed = choice.backup.bytes_in_database
        free = shutil.disk_usage(HOME).free
        if free < needed * ROOM + ROOM_FOR_WAL:
            raise PergolaError(
                f"there is no room to restore beside the live server: {size(needed)} and some WAL "
                f"are needed below {HOME}, {size(free)} are free",
            )
        for directory in (self.home, self.data, Path(self.sockets)):
            directory.mkdir(mode=0o700)
            shutil.chown(directory, ACCOUNT, ACCOUNT)
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
        text = CONFIGURATION.format(
            home=self.home,
            data=self.data,
            sockets=self.sockets,
            port=self.port,
            preload=self.preload(),
        )
        known = self.control_data()
        text += "".join(f"{name} = {known[label]}\n" for name, label in AT_LEAST.items())
        for name, content in {
            "postgresql.conf": text,
            "pg_hba.conf": "local all postgres peer\n",
            LAST_FILE: "",
        }.items():
            write(self.home / name, content, owner=ACCOUNT, durable=False)

    def preload(self) -> str:
        """The live server's libraries: what they keep in the files may need them to be read."""
        live = Server(self.version)
        done = attempt(
            *(self.program("postgres"), "-C", "shared_preload_libraries"),
            *(f"-cconfig_file={live.configuration}/postgresql.conf", "-D", live.data),
            account=ACCOUNT,
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    def start(self) -> None:
        """Start it, wait until recovery has come to its target; PergolaError when it does not."""
        run(
            *("systemd-run", "--quiet", "--collect", f"--unit={self.unit}"),
            *("--uid=postgres", "--nice=10"),
            f"--property=StandardOutput=append:{self.log}",
            f"--property=StandardError=append:{self.log}",
            *("--property=KillMode=mixed", "--property=KillSignal=SIGINT"),
            f"--property=TimeoutStopSec={SECONDS_TO_STOP}",
            *(self.program("postgres"), "-D", self.data),
            f"-cconfig_file={self.home}/postgresql.conf",
            what=f"starting {self.unit}",
        )
        while True:
            try:
                self.ask("select 1")
            except PergolaError:
                if not is_active(self.unit):
                    raise PergolaError(
                        "the restored server did not come up", self.log_lines()
                    ) from None
                time.sleep(LOOK_EVERY)
            else:
                return

    def log_lines(self) -> str:
        return last_lines(self.log.read_text()) if self.log.exists() else "(it wrote no log)"

    def ask(self, query: str, database: str = "postgres", role: str = "") -> str:
        """An answer of the restored server; `role`: with the rights of that role only."""
        environment = {"PGOPTIONS": f"-c role={role}"} if role else {}
        return self.sql(query, database, timeout=SECONDS_FOR_ANSWER, environment=environment)

    # -- while it is there -------------------------------------------------------------------------

    def is_whole(self) -> bool:
        """Whether all of its files were restored: its configuration is written last."""
        return (self.home / LAST_FILE).exists()

    def is_at_work(self) -> bool:
        """Whether a process makes it just now."""
        try:
            self.lock()
        except PergolaError:
            return True
        return False

    def lock(self) -> None:
        """Keep other processes from it until this one ends; PergolaError while one is at work."""
        file = (LOCKS / f"pergola-{self.name}.lock").open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise PergolaError(f"another {self.name} is at work: wait for its end") from None
        self.held.append(file)

    def stop(self) -> None:
        systemctl("stop", self.unit)

    def remove(self) -> None:
        """Stop it and remove all of it; nothing happens where there is none."""
        self.stop()
        if self.home.exists():
            shutil.rmtree(self.home)
