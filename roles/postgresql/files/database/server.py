"""The PostgreSQL server of this host: Debian's cluster `main` of one major version."""

import functools
import re
from pathlib import Path

from database.system import DatabaseError, as_postgres, checked, run


class Server:
    """Where its parts are, and what it answers to its superuser."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.unit = f"postgresql@{version}-main"
        self.config = Path(f"/etc/postgresql/{version}/main")
        self.data = Path(f"/var/lib/postgresql/{version}/main")
        self.programs = Path(f"/usr/lib/postgresql/{version}/bin")
        self.log = Path(f"/var/log/postgresql/postgresql-{version}-main.log")

    @functools.cached_property
    def port(self) -> int:
        """5432, unless another cluster had it when this one was made."""
        text = (self.config / "postgresql.conf").read_text()
        found = re.search(r"^\s*port\s*=?\s*(\d+)", text, re.MULTILINE)
        return int(found[1]) if found else 5432

    def is_running(self) -> bool:
        return run("systemctl", "is-active", "--quiet", self.unit).returncode == 0

    def sql(self, script: str, database: str = "postgres", *options: str) -> str:
        """Run a script; its answer as lines of fields with | between them."""
        where = ["--host=/var/run/postgresql", f"--port={self.port}", f"--dbname={database}"]
        command = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", *where, *options, "--file=-"]
        done = as_postgres(*command, text=script)
        if done.returncode == 2:  # psql's code for a connection that failed
            raise DatabaseError(
                "PostgreSQL does not answer",
                done.stderr.strip(),
                f"See `systemctl status {self.unit}` and the end of {self.log}.",
            )
        return checked(done, f"a script for the database {database}").strip()
