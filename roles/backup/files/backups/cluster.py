"""The PostgreSQL cluster of this host."""

import functools
from pathlib import Path

from backups.settings import Settings
from backups.system import BackupError, as_postgres, checked

SECONDS_FOR_ANSWER = 30


class Cluster:
    """The live server: Debian's cluster `main` of its version."""

    def __init__(self, settings: Settings) -> None:
        self.version = settings.version
        self.unit = f"postgresql@{self.version}-main"
        self.data = Path(f"/var/lib/postgresql/{self.version}/main")
        self.programs = Path(f"/usr/lib/postgresql/{self.version}/bin")
        self.sockets = "/var/run/postgresql"

    @functools.cached_property
    def port(self) -> int:
        """5432, unless another cluster had it when this one was made."""
        file = Path(f"/etc/postgresql/{self.version}/main/postgresql.conf")
        for line in file.read_text().splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "port":
                return int(value.split("#")[0])
        return 5432

    def sql(self, query: str, database: str = "postgres") -> str:
        """The answer of the live server to its superuser: lines of fields with | between them."""
        return query_server(query, self.sockets, self.port, database)


def query_server(
    query: str, sockets: str, port: int, database: str = "postgres", role: str = ""
) -> str:
    """The answer of a server; BackupError when it cannot be asked or refuses.

    With a `role` the query has that role's rights only.
    """
    where = f"host={sockets} port={port} dbname={database}"
    if role:
        where += f" options='-c role={role}'"
    command = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", where, "--command", query]
    done = as_postgres(*command, timeout=SECONDS_FOR_ANSWER)
    if done.returncode == 2:  # psql's code for a connection that failed
        raise BackupError(
            "PostgreSQL does not answer",
            done.stderr.strip(),
            "see `systemctl status 'postgresql@*'` and the end of /var/log/postgresql/*.log",
        )
    return checked(done, f"the query `{query.split()[0]} …`").strip()
