"""The PostgreSQL clusters of this host, as Debian and Ubuntu keep them: one model."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pergola.errors import PergolaError
from pergola.system import attempt, checked, is_active, run, start, systemctl, write

CONFIGURATIONS = Path("/etc/postgresql")
DATA = Path("/var/lib/postgresql")
PROGRAMS = Path("/usr/lib/postgresql")
SOCKETS = "/run/postgresql"
USUAL_PORT = 5432
ACCOUNT = "postgres"
NO_CONNECTION = 2  # psql's exit code


@dataclass(frozen=True)
class Cluster:
    """A cluster, which need not be there yet."""

    version: int
    name: str = "main"

    def __str__(self) -> str:
        return f"{self.version}/{self.name}"

    # -- where its parts are -----------------------------------------------------------------------

    @property
    def configuration(self) -> Path:
        return CONFIGURATIONS / str(self.version) / self.name

    @property
    def conf_d(self) -> Path:
        return self.configuration / "conf.d"

    @property
    def unit(self) -> str:
        return f"postgresql@{self.version}-{self.name}.service"

    @property
    def data(self) -> Path:
        """Where its files are: as its settings say, or as they will once it is made."""
        return Path(self.setting("data_directory") or DATA / str(self.version) / self.name)

    @property
    def sockets(self) -> str:
        """The directory of the socket that it listens on."""
        return SOCKETS

    @property
    def log(self) -> Path:
        return Path(f"/var/log/postgresql/postgresql-{self.version}-{self.name}.log")

    @property
    def port(self) -> int:
        """5432, unless another cluster had it when this one was made."""
        return int(self.setting("port") or USUAL_PORT)

    def setting(self, name: str) -> str:
        """What postgresql.conf says, where the last line counts; empty: nothing, or no cluster."""
        try:
            text = (self.configuration / "postgresql.conf").read_text()
        except FileNotFoundError:
            return ""
        found = re.findall(rf"(?mi)^\s*{name}\s*(?:=\s*|\s)(?:'([^'\n]*)'|([^\s#']+))", text)
        return "".join(found[-1]) if found else ""

    def program(self, name: str) -> str:
        return str(PROGRAMS / str(self.version) / "bin" / name)

    # -- what it is --------------------------------------------------------------------------------

    def exists(self) -> bool:
        return (self.configuration / "postgresql.conf").exists()

    def is_running(self) -> bool:
        """Whether its server runs, whoever has started it."""
        return attempt("pg_ctlcluster", self.version, self.name, "status").returncode == 0

    def is_in_service(self) -> bool:
        """Whether systemd has it running."""
        return is_active(self.unit)

    def megabytes(self) -> int:
        """What its data takes, without the write-ahead log that no copy has."""
        said = run("du", "-sm", "--exclude=pg_wal", self.data)
        return int(said.split()[0])

    def control_data(self, data: Path | None = None) -> dict[str, str]:
        """What its control file says, by pg_controldata's names; empty where there is none.

        `data`: another data directory of its version.
        """
        directory = data or self.data
        if not (directory / "global/pg_control").exists():
            return {}
        said = run(self.program("pg_controldata"), "-D", directory, account=ACCOUNT)
        pairs = (line.partition(":") for line in said.splitlines())
        return {name: value.strip() for name, _, value in pairs}

    # -- what it is told ---------------------------------------------------------------------------

    def start(self) -> None:
        start(self.unit)

    def stop(self) -> None:
        """Stop it, whoever started it."""
        systemctl("stop", self.unit)
        if self.is_running():
            run("pg_ctlcluster", self.version, self.name, "stop", "-m", "fast")

    def move_to(self, port: int) -> None:
        run("pg_conftool", self.version, self.name, "set", "port", port)

    def set_start(self, how: str) -> None:
        """Say whether it starts with the system: auto or manual."""
        file, before = self.configuration / "start.conf", self.configuration.stat()
        write(file, f"# Set by Pergola.\n{how}\n", owner=ACCOUNT)
        # Role postgresql restarts a server that is older than its settings: this is none of them.
        for path in (file, self.configuration):
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        systemctl("daemon-reload")

    def drop(self) -> None:
        """Remove all of it in its usual places, and what a half-made one has left.

        The settings of one that was cut off while it was made may still be copies of another one's,
        and name that one's data: pg_dropcluster would stop and remove it.
        """
        own = DATA / str(self.version) / self.name
        if self.exists() and self.data == own:
            attempt("pg_dropcluster", "--stop", self.version, self.name)
        for left in (self.configuration, own):
            run("rm", "-rf", "--one-file-system", left)
        systemctl("daemon-reload")

    # -- what it answers ---------------------------------------------------------------------------

    def sql(
        self,
        script: str,
        database: str = "postgres",
        *options: str,
        timeout: float | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Run a script as its superuser: lines of fields with | between them.

        `environment`: libpq's variables, such as PGOPTIONS.

        PergolaError when it does not answer, or refuses a statement: the others are not run then.
        """
        where = ["-h", self.sockets, "-p", self.port, "-d", database]
        command = [self.program("psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", *where, *options, "-f-"]
        what = f"a script for the database {database}"
        done = attempt(
            *command,
            account=ACCOUNT,
            stdin=script,
            timeout=timeout,
            environment=environment,
            what=what,
        )
        if done.returncode == NO_CONNECTION:
            raise PergolaError(
                f"PostgreSQL {self} does not answer",
                done.stderr.strip(),
                hint=f"see `systemctl status {self.unit}` and the end of {self.log}",
            )
        return checked(done, what).strip()

    def rows(self, query: str, database: str = "postgres") -> list[str]:
        return self.sql(query, database).splitlines()

    def databases(self) -> list[str]:
        return self.rows("select datname from pg_database where datallowconn order by 1")

    def call(self, name: str, *options: object, settings: str = "") -> str:
        """Run a program of its version on it, as PostgreSQL's own account."""
        where = ["-h", self.sockets, "-p", self.port]
        environment = {"PGOPTIONS": settings} if settings else {}
        return run(self.program(name), *where, *options, account=ACCOUNT, environment=environment)


def with_settings(text: str, values: Mapping[str, object]) -> str:
    """A postgresql.conf with some settings, each in one line.

    For PostgreSQL the last line counts, and Debian's programs change the first one.
    """
    names = "|".join(map(re.escape, values))
    kept = [line for line in text.splitlines() if not re.match(rf"(?i)\s*({names})[\s=]", line)]
    own = [
        f"{name} = {value}" if isinstance(value, int) else f"{name} = '{value}'"
        for name, value in values.items()
    ]
    return "\n".join([*kept, *own, ""])


def quoted(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def every() -> list[Cluster]:
    """All clusters of this host, oldest version first."""
    found = [path.parts[-3:-1] for path in CONFIGURATIONS.glob("*/*/postgresql.conf")]
    named = [(int(version), name) for version, name in found if version.isdigit()]
    return [Cluster(version, name) for version, name in sorted(named)]


def mains() -> list[Cluster]:
    """Those called main, of which one serves."""
    return [cluster for cluster in every() if cluster.name == "main"]


def serving() -> Cluster | None:
    """The cluster that applications reach; None: the host has none."""
    return next((cluster for cluster in mains() if cluster.port == USUAL_PORT), None)


def client() -> str:
    """The program psql; what the PATH has of that name looks for it, in five times the time."""
    found = [path for path in PROGRAMS.glob("*/bin/psql") if path.parts[-3].isdigit()]
    return str(max(found, key=lambda path: int(path.parts[-3]))) if found else "psql"


def free_port() -> int:
    """The first port after the usual one that no cluster is set to."""
    taken = {cluster.port for cluster in every()}
    return next(port for port in range(USUAL_PORT + 1, 65536) if port not in taken)
