"""The application's database, seen through psql as the application's own account."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from releases.store import Store
from releases.system import ReleaseError, as_account

SECONDS_FOR_ANSWER = 10
# What stands for a revision when the database does not answer: not that there is none.
UNKNOWN = "unknown"
SQL_ERRORS = (1, 3)  # psql's exit codes; another one says that it could not ask
LOCK_KEY = "hashtextextended('pergola migration', 0)"
HOLDER = """select 'process ' || a.pid || ' since ' || date_trunc('second', a.backend_start)
  from pg_locks l join pg_stat_activity a using (pid)
  where l.locktype = 'advisory' and l.granted and l.database = (select oid from pg_database
  where datname = current_database()) and (l.classid::bigint << 32 | l.objid::bigint) = """
# The migration's own sessions get their limits from the role: that holds for every driver, while
# PGOPTIONS is known to libpq only. It is taken back afterwards.
LIMIT = """do $$ begin execute format('alter role current_user in database %I {change}',
  current_database()); end $$;
"""


class Database:
    """Where the application keeps its data; nothing is asked where none is configured."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.conninfo: str = store.settings["database"]
        self.limits_set = store.home / ".migration-limits"

    def psql(self, *options: str) -> list[str]:
        account = as_account(self.store.settings["user"])
        return [*account, "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", *options, "-d", self.conninfo]

    def ask(self, sql: str) -> str | None:
        """The answer to a query; None when it fails (no such table, no server)."""
        with suppress(subprocess.TimeoutExpired):
            done = self.asked(sql)
            return done.stdout.strip() if done.returncode == 0 else None
        return None

    def asked(self, sql: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.psql("-c", sql),
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS_FOR_ANSWER,
        )

    def revision(self) -> str | None:
        """The schema's revision by app_schema_query; None where there is none."""
        query = self.store.settings["schema_query"]
        if not self.conninfo or not query:
            return None
        try:
            done = self.asked(query)
        except subprocess.TimeoutExpired:  # its table is locked, perhaps
            return UNKNOWN
        if done.returncode in SQL_ERRORS:  # there is no such table yet
            return None
        return UNKNOWN if done.returncode else ",".join(sorted(done.stdout.split())) or None

    @contextmanager
    def migrating(self) -> Iterator[None]:
        """Keep other migrations out of this database, and set limits to the one inside."""
        if not self.conninfo:
            yield
            return
        session = subprocess.Popen(
            self.psql(),
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            got = self.tell(session, f"select pg_try_advisory_lock({LOCK_KEY});")
            if got != "t":
                holder = got if got != "f" else self.ask(HOLDER + LOCK_KEY) or "an unknown process"
                raise ReleaseError(
                    "migrate",
                    f"the database is not free for a migration: {holder}",
                    hint="another deploy, perhaps from another host, is migrating it: wait for it. "
                    f"If you know that it is dead: sudo {self.store.home}/bin/release psql "
                    "-c 'select pg_terminate_backend(PROCESS)', then deploy again",
                )
            self.limits_set.touch()
            for name, seconds in self.store.settings["migrate_limits"].items():
                self.tell(session, LIMIT.format(change=f"set {name} = ''{seconds}s''"))
            try:
                yield
            finally:
                self.take_limits_back()
        finally:
            with suppress(BrokenPipeError):
                session.stdin.close()  # type: ignore[union-attr]
            session.wait(SECONDS_FOR_ANSWER)

    def take_limits_back(self) -> None:
        """Undo what `migrating` set for the role; a power loss leaves that to the next deploy."""
        if not self.limits_set.exists():
            return
        # On connections of their own: PostgreSQL may have restarted in between.
        limits = self.store.settings["migrate_limits"]
        if None not in [self.ask(LIMIT.format(change=f"reset {name}")) for name in limits]:
            self.limits_set.unlink()

    def tell(self, session: subprocess.Popen[str], sql: str) -> str:
        """Have the session do something, and return what it said."""
        said = []
        with suppress(BrokenPipeError):
            session.stdin.write(f"{sql}\n\\echo done\n")  # type: ignore[union-attr]
            session.stdin.flush()  # type: ignore[union-attr]
        for line in session.stdout or []:
            if line == "done\n":
                break
            said.append(line.strip())
        return " ".join(said)
