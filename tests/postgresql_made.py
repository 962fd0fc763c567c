"""A throw-away PostgreSQL of the newest version that is installed here, for the tests."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar


class Throwaway:
    """A cluster whose superuser is root; `port` is of its socket too, which is in `home`.

    `account`: whose it is, as initdb refuses root.
    """

    def __init__(self, home: Path) -> None:
        self.home, self.data = home, home / "data"
        binaries = Path("/usr/lib/postgresql").glob("*/bin/initdb")
        found = sorted(binaries, key=lambda path: float(path.parts[4]))
        if not found:
            raise FileNotFoundError("/usr/lib/postgresql/*/bin/initdb: install postgresql")
        self.programs = found[-1].parent
        self.version = int(float(found[-1].parts[4]))
        self.before: list[str] = []
        self.account = pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            names = {entry.pw_name for entry in pwd.getpwall()}
            account = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            self.account = account.pw_name
            os.chown(home, account.pw_uid, account.pw_gid)
            ids = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
            self.before = ["setpriv", *ids, "env", "-C", str(home)]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def call(self, program: str, *options: object) -> None:
        # Into a file: a server that pg_ctl starts would hold a pipe open.
        with (self.home / "output").open("w+") as output:
            command = [*self.before, self.programs / program, *options]
            done = subprocess.run(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            )
        if done.returncode:
            raise RuntimeError((self.home / "output").read_text())

    def make(self) -> None:
        options = ["--no-sync", "--locale=C.UTF-8", "--encoding=UTF8", "--auth=peer"]
        self.call("initdb", "-D", self.data, "--username=root", *options)

    def start(self, options: str = "") -> None:
        server = f"-k {self.home} -p {self.port} -c fsync=off {options}"
        log = self.home / "log"
        self.call("pg_ctl", "-D", self.data, "-w", "-l", log, "-o", server, "start")

    def psql(self, *options: str, role: str = "root", database: str = "postgres") -> list[str]:
        """The command line of psql in it."""
        where = ["-h", str(self.home), "-p", str(self.port), "-U", role, "-d", database]
        return [str(self.programs / "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", *where, *options]

    def sql(
        self, script: str, database: str = "postgres", *options: str, role: str = "root"
    ) -> str:
        """What a script is answered; called as pergola.postgres.Cluster is."""
        command = self.psql(*options, "-f-", role=role, database=database)
        done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()

    def stop(self) -> None:
        self.call("pg_ctl", "-D", self.data, "-m", "immediate", "stop")


Made = TypeVar("Made", bound=Throwaway)


@contextmanager
def throwaway(kind: type[Made]) -> Iterator[Made]:
    """One that is not started yet; what is left of it is stopped and removed."""
    # A socket's path holds at most 107 bytes, so not in pytest's own deep directories.
    made = kind(Path(tempfile.mkdtemp(prefix="postgresql-", dir="/tmp")))
    try:
        yield made
    finally:
        if (made.data / "postmaster.pid").exists():
            made.stop()
        shutil.rmtree(made.home)
