"""PostgreSQL's clusters as Debian and Ubuntu keep them."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from upgrades.system import attempt, run, start, systemctl, write

CONFIGURATIONS = Path("/etc/postgresql")
USUAL_PORT = 5432
ACCOUNT = "postgres"
CONF = "conf.d"
# Nothing is archived until a cluster serves: its archive would not take it, and each stop would
# try for seconds. The write-ahead log stays where it is meanwhile.
NO_ARCHIVE = "zz-pergola-upgrade.conf"


@dataclass(frozen=True)
class Cluster:
    """A cluster, which need not be there yet."""

    version: int
    name: str = "main"

    def __str__(self) -> str:
        return f"{self.version}/{self.name}"

    @property
    def configuration(self) -> Path:
        return CONFIGURATIONS / str(self.version) / self.name

    @property
    def unit(self) -> str:
        return f"postgresql@{self.version}-{self.name}.service"

    @property
    def data(self) -> Path:
        return Path(f"/var/lib/postgresql/{self.version}/{self.name}")

    def program(self, name: str) -> str:
        return f"/usr/lib/postgresql/{self.version}/bin/{name}"

    def exists(self) -> bool:
        return (self.configuration / "postgresql.conf").exists()

    def is_running(self) -> bool:
        return attempt("pg_ctlcluster", self.version, self.name, "status").returncode == 0

    @property
    def port(self) -> int:
        text = (self.configuration / "postgresql.conf").read_text()
        found = re.findall(r"(?m)^\s*port\s*=\s*(\d+)", text)
        return int(found[-1]) if found else USUAL_PORT

    def move_to(self, port: int) -> None:
        run("pg_conftool", self.version, self.name, "set", "port", port)

    def starts(self, how: str) -> None:
        """Say whether it starts with the system: auto or manual."""
        file, before = self.configuration / "start.conf", self.configuration.stat()
        write(file, f"# Set by pergola-upgrade.\n{how}\n", owner=ACCOUNT)
        # Role postgresql restarts a server that is older than its settings: this is none of them.
        for path in (file, self.configuration):
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        systemctl("daemon-reload")

    def hold_archive(self) -> None:
        """Keep what it writes for the archive until it serves; see NO_ARCHIVE."""
        text = "# Made by pergola-upgrade, until this cluster serves.\narchive_command = ''\n"
        write(self.configuration / CONF / NO_ARCHIVE, text, owner=ACCOUNT)

    def let_archive(self) -> None:
        """Have it archive what it kept."""
        directory = self.configuration / CONF
        before = directory.stat()
        (directory / NO_ARCHIVE).unlink(missing_ok=True)
        systemctl("reload", self.unit)
        # Role postgresql restarts a server that is older than its settings: this one knows them.
        os.utime(directory, ns=(before.st_atime_ns, before.st_mtime_ns))

    def start(self) -> None:
        start(self.unit)

    def stop(self) -> None:
        """Stop it, whoever started it."""
        systemctl("stop", self.unit)
        if self.is_running():
            run("pg_ctlcluster", self.version, self.name, "stop", "-m", "fast")

    def drop(self) -> None:
        """Remove all of it, and what a half-made one has left."""
        if self.exists():
            attempt("pg_dropcluster", "--stop", self.version, self.name)
        for left in (self.configuration, self.data):
            run("rm", "-rf", "--one-file-system", left)
        systemctl("daemon-reload")

    def sql(self, query: str, database: str = "postgres") -> str:
        """The answer to a query, asked as PostgreSQL's own account over the socket."""
        options = ["-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "/run/postgresql", "-p", self.port]
        return run(self.program("psql"), *options, "-d", database, "-c", query, account=ACCOUNT)

    def rows(self, query: str, database: str = "postgres") -> list[str]:
        return self.sql(query, database).splitlines()

    def databases(self) -> list[str]:
        return self.rows("select datname from pg_database where datallowconn order by 1")

    def call(self, name: str, *options: object, settings: str = "") -> str:
        """Run a program of its version on it, as PostgreSQL's own account."""
        where = ["-h", "/run/postgresql", "-p", self.port]
        environment = {"PGOPTIONS": settings} if settings else {}
        return run(self.program(name), *where, *options, account=ACCOUNT, environment=environment)

    def megabytes(self) -> int:
        """What its data takes, without the write-ahead log that is not copied."""
        said = run("du", "-sm", "--exclude=pg_wal", self.data)
        return int(said.split()[0])


def mains() -> list[Cluster]:
    """The clusters called main, oldest first."""
    found = [path.parent.parent for path in CONFIGURATIONS.glob("*/main/postgresql.conf")]
    versions = sorted(int(path.name) for path in found if path.name.isdigit())
    return [Cluster(version) for version in versions]


def serving() -> Cluster | None:
    """The cluster that applications reach; None: the host has none."""
    return next((cluster for cluster in mains() if cluster.port == USUAL_PORT), None)


def free_port() -> int:
    """The first port after the usual one that no cluster is set to."""
    files = CONFIGURATIONS.glob("*/*/postgresql.conf")
    taken = {Cluster(int(file.parts[-3]), file.parts[-2]).port for file in files}
    return next(port for port in range(USUAL_PORT + 1, 65536) if port not in taken)


def jobs() -> int:
    return os.cpu_count() or 1
