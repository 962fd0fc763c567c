"""The live server, stopped and started around another data directory."""

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from backups.cluster import Cluster
from backups.system import BackupError, as_postgres, checked, last_lines, systemctl, write

LOOK_EVERY = 0.1
SEGMENT_BYTES = 1 << 24
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


class Server:
    """The unit and the log of the live cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.log = Path(f"/var/log/postgresql/postgresql-{cluster.version}-main.log")
        self.drop_in = Path(f"/run/systemd/system/{cluster.unit}.service.d/pergola-restore.conf")

    def runs(self) -> bool:
        """Whether it answers."""
        try:
            self.cluster.sql("select 1")
        except (BackupError, subprocess.TimeoutExpired):
            return False
        return True

    def stop(self) -> None:
        """Stop it cleanly, so that its last WAL is archived; BackupError if it still runs."""
        systemctl("stop", self.cluster.unit)
        pid_file = self.cluster.data / "postmaster.pid"
        if pid_file.exists():
            pid = pid_file.read_text().split("\n", 1)[0]
            command = Path(f"/proc/{pid}/comm")
            if command.exists() and command.read_text().startswith("postgres"):
                raise BackupError(f"PostgreSQL does not stop: process {pid} is still there")

    @contextlib.contextmanager
    def recovering(self) -> Iterator[None]:
        """Have starts within be such that recover."""
        write(self.drop_in, DROP_IN)
        systemctl("daemon-reload")
        try:
            yield
        finally:
            self.drop_in.unlink()
            with contextlib.suppress(OSError):  # somebody else's is beside it
                self.drop_in.parent.rmdir()
            systemctl("daemon-reload")

    def start(self) -> None:
        """Start it, and wait until it can be written to; BackupError as soon as it never will."""
        seen = self.log.stat().st_size if self.log.exists() else 0
        systemctl("reset-failed", self.cluster.unit)
        # pg_ctlcluster looks once in a while only.
        systemctl("start", "--no-block", self.cluster.unit)
        self.wait_until_writable(seen)

    def wait_until_writable(self, seen: int) -> None:
        """Wait for the end of recovery; what is written to the log after `seen` bytes is evidence.

        systemd and pg_ctl call a server started that then ends with "recovery ended before
        configured recovery target was reached". There is no limit in time: WAL takes what it takes.
        """
        status = self.cluster.data / "postmaster.pid"
        while True:
            # Looked at in a file first: a hundred connections would slow down what they wait for.
            with contextlib.suppress(BackupError, OSError, subprocess.TimeoutExpired):
                if "ready" in status.read_text() and not self.is_recovering():
                    return
            if self.is_down():
                raise BackupError("PostgreSQL did not come up", self.said_since(seen))
            time.sleep(LOOK_EVERY)

    def is_recovering(self) -> bool:
        return self.cluster.sql("select pg_is_in_recovery()") != "f"

    def is_down(self) -> bool:
        """Whether it has ended, and nothing is about to start it."""
        shown = systemctl("show", "--property=ActiveState,Job,ControlPID", self.cluster.unit)
        if "=activating" in shown and "ControlPID=0" in shown:
            # systemd would wait for a process whose start has failed, without a limit.
            return not (self.cluster.data / "postmaster.pid").exists()
        return not re.search(r"=activ|Job=\d", shown)

    def said_since(self, seen: int) -> str:
        """The end of what the server's log got after so many bytes."""
        if not self.log.exists():
            return f"there is no {self.log}"
        with self.log.open(errors="replace") as file:
            file.seek(min(seen, self.log.stat().st_size))
            lines = [line for line in file if not any(word in line for word in NOT_OURS)]
        return last_lines("".join(lines[-12:]))

    def controldata(self, data: Path) -> dict[str, str]:
        """What a cluster's control file says; empty where there is no cluster."""
        if not (data / "global/pg_control").exists():
            return {}
        done = as_postgres(str(self.cluster.programs / "pg_controldata"), "-D", str(data))
        pairs = (line.partition(":") for line in checked(done, "pg_controldata").splitlines())
        return {name: value.strip() for name, _, value in pairs}

    def system_id(self, data: Path) -> int | None:
        found = self.controldata(data).get("Database system identifier")
        return int(found) if found else None

    def segment_bytes(self) -> int:
        """The size of a WAL file, 16 MB unless the cluster was made with another."""
        found = self.controldata(self.cluster.data).get("Bytes per WAL segment")
        return int(found) if found else SEGMENT_BYTES

    def timeline(self) -> int | None:
        """The timeline that is written to, or was when the server last stopped."""
        try:
            return int(
                self.cluster.sql("select substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"), 16
            )
        except (BackupError, subprocess.TimeoutExpired):
            found = self.controldata(self.cluster.data)
            return int(found["Latest checkpoint's TimeLineID"]) if found else None


def exchange(live: Path, fresh: Path, kept: Path) -> None:
    """Put a data directory in the place of the live one, which is kept under another name."""
    if live.exists():
        live.rename(kept)
    fresh.rename(live)
    directory = os.open(live.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
