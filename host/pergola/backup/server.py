"""The live server, stopped and started around another data directory."""

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pergola.errors import PergolaError
from pergola.people import last_lines
from pergola.postgres import Cluster
from pergola.system import systemctl, write

LOOK_EVERY = 0.1
SECONDS_FOR_ANSWER = 30
SEGMENT_BYTES = 1 << 24
PROC = Path("/proc")
# For starts that recover: nobody is let in before the end of recovery, hence a connection
# that succeeds is the proof of it; pg_ctl does not wait for that; and settings that are
# smaller than those of the server that wrote the WAL do not stop it. It is gone with a reboot.
DROP_IN = """\
# Made by pergola-backup for a restore.
[Service]
ExecStart=
ExecStart=/usr/bin/pg_ctlcluster --skip-systemctl-redirect %i start -o "-c hot_standby=off"
# One that ends before its target would be started for ever, to end there again.
Restart=no
"""
NOT_OURS = ("the database system is", "Consistent recovery state has not been yet reached")


@dataclass(frozen=True)
class Server(Cluster):
    """The live cluster, `main` of its version, with the data directory that is in its place."""

    @property
    def drop_in(self) -> Path:
        return Path(f"/run/systemd/system/{self.unit}.d/pergola-restore.conf")

    # -- what it answers ---------------------------------------------------------------------------

    def ask(self, query: str, database: str = "postgres") -> str:
        """The answer to a query that is quick: a server that hangs is not waited for."""
        return self.sql(query, database, timeout=SECONDS_FOR_ANSWER)

    def answers(self) -> bool:
        try:
            self.ask("select 1")
        except PergolaError:
            return False
        return True

    def system_id(self, data: Path | None = None) -> int | None:
        """What no other cluster has; of another data directory if one is given."""
        found = self.control_data(data).get("Database system identifier")
        return int(found) if found else None

    def segment_bytes(self) -> int:
        """The size of a WAL file, 16 MB unless the cluster was made with another."""
        found = self.control_data().get("Bytes per WAL segment")
        return int(found) if found else SEGMENT_BYTES

    def timeline(self) -> int | None:
        """The timeline that is written to, or was when the server last stopped."""
        try:
            name = self.ask("select substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)")
        except PergolaError:
            return self.timeline_of(self.data)
        return int(name, 16)

    def timeline_of(self, data: Path) -> int | None:
        """The timeline that a cluster's control file names."""
        found = self.control_data(data).get("Latest checkpoint's TimeLineID")
        return int(found) if found else None

    # -- stopping and starting it ------------------------------------------------------------------

    def stop(self) -> None:
        """Stop it cleanly, so that its last WAL is archived; PergolaError if it still runs."""
        systemctl("stop", self.unit)
        if pid := self.process():
            raise PergolaError(f"PostgreSQL does not stop: process {pid} is still there")

    def process(self) -> int:
        """The process of the server, whatever systemd knows of it; 0: there is none."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            name = (PROC / f"{pid}/comm").read_text()
        except (OSError, ValueError):
            return 0
        return pid if name.startswith("postgres") else 0

    @contextlib.contextmanager
    def recovering(self) -> Iterator[None]:
        """Have starts within be such that recover."""
        write(self.drop_in, DROP_IN, durable=False)
        systemctl("daemon-reload")
        try:
            yield
        finally:
            self.forget_recovering()

    def forget_recovering(self) -> None:
        """Starts are as usual again."""
        if not self.drop_in.exists():
            return
        self.drop_in.unlink()
        with contextlib.suppress(OSError):  # somebody else's is beside it
            self.drop_in.parent.rmdir()
        systemctl("daemon-reload")

    def start(self) -> None:
        """Start it, and wait until it can be written to; PergolaError as soon as it never will."""
        seen = self.log.stat().st_size if self.log.exists() else 0
        systemctl("reset-failed", self.unit)
        # pg_ctlcluster looks once in a while only.
        systemctl("start", "--no-block", self.unit)
        self.wait_until_writable(seen)

    def wait_until_writable(self, seen: int) -> None:
        """Wait for the end of recovery; what is written to the log after `seen` bytes is evidence.

        systemd and pg_ctl call a server started that then ends with "recovery ended before
        configured recovery target was reached". There is no limit in time: WAL takes what it takes.
        """
        status = self.data / "postmaster.pid"
        while True:
            # Looked at in a file first: a hundred connections would slow down what they wait for.
            with contextlib.suppress(PergolaError, OSError):
                if "ready" in status.read_text() and not self.is_recovering():
                    return
            if self.is_down():
                raise PergolaError("PostgreSQL did not come up", self.said_since(seen))
            time.sleep(LOOK_EVERY)

    def is_recovering(self) -> bool:
        return self.ask("select pg_is_in_recovery()") != "f"

    def is_down(self) -> bool:
        """Whether it has ended, and nothing is about to start it."""
        shown = systemctl("show", "--property=ActiveState,Job,ControlPID", self.unit).stdout
        if "=activating" in shown and "ControlPID=0" in shown:
            # systemd would wait for a process whose start has failed, without a limit.
            return not (self.data / "postmaster.pid").exists()
        return not re.search(r"=activ|Job=\d", shown)

    def said_since(self, seen: int) -> str:
        """The end of what the server's log got after so many bytes."""
        if not self.log.exists():
            return f"there is no {self.log}"
        with self.log.open(errors="replace") as file:
            file.seek(min(seen, self.log.stat().st_size))
            lines = [line for line in file if not any(word in line for word in NOT_OURS)]
        return last_lines("".join(lines[-12:]))
