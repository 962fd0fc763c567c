"""The application's database, seen through psql as the application's own account."""

from pergola.release.releases import Releases
from pergola.system import Done, TookTooLongError, attempt

SECONDS_FOR_ANSWER = 10
# What stands for a revision when the database does not answer: not that there is none.
UNKNOWN = "unknown"
SQL_ERRORS = (1, 3)  # psql's exit codes; another one says that it could not ask
PSQL = ("psql", "-XqAt", "-v", "ON_ERROR_STOP=1")
# Earlier versions of Pergola set a migration's limits for the application's own role.
RESET = """do $$ begin execute format('alter role current_user in database %I reset {name}',
  current_database()); end $$;
"""
# Connections of the application's role beyond one slot's half of what it may have. Those that have
# been idle, or in one statement, for the longest time go first.
END_SURPLUS = """with app as (select rolname, rolconnlimit / 2 as half from pg_roles
    where rolname = '{role}' and rolconnlimit > 1),
  surplus as (select pid from pg_stat_activity join app on usename = rolname
    order by state_change desc nulls last offset coalesce((select half from app), 0))
  select count(pg_terminate_backend(pid)) from surplus"""


def psql(
    account: str,
    conninfo: str,
    *options: str,
    script: str = "",
    timeout: float = SECONDS_FOR_ANSWER,
) -> Done:
    """What psql says as an account; TookTooLongError when it does not within `timeout` seconds."""
    command = (*PSQL, *options, "-d", conninfo)
    return attempt(*command, account=account, stdin=script, timeout=timeout)


class Database:
    """Where the application keeps its data; nothing is asked where none is configured."""

    def __init__(self, releases: Releases) -> None:
        self.settings = releases.settings
        self.conninfo = self.settings.database or ""
        self.limits_set = releases.home / ".migration-limits"

    def asked(self, sql: str) -> Done:
        return psql(self.settings.user, self.conninfo, "-c", sql)

    def ask(self, sql: str) -> str | None:
        """The answer to a query; None when it fails (no such table, no server)."""
        try:
            done = self.asked(sql)
        except TookTooLongError:
            return None
        return None if done.returncode else done.stdout.strip()

    def revision(self) -> str | None:
        """The schema's revision by app_schema_query; None where there is none."""
        query = self.settings.schema_query
        if not self.conninfo or not query:
            return None
        try:
            done = self.asked(query)
        except TookTooLongError:  # its table is locked, perhaps
            return UNKNOWN
        if done.returncode in SQL_ERRORS:  # there is no such table yet
            return None
        return UNKNOWN if done.returncode else ",".join(sorted(done.stdout.split())) or None

    def take_limits_back(self) -> None:
        """Undo what an earlier version of Pergola set for the application's role, if it is left."""
        if not self.limits_set.exists():
            return
        limits = self.settings.migrate_limits
        if None not in [self.ask(RESET.format(name=name)) for name in limits]:
            self.limits_set.unlink()

    def make_room(self) -> int:
        """End the connections that the application has beyond one slot's; how many there were.

        The application's role in PostgreSQL has a limit, which is both slots' pools. A live release
        that leaks connections takes the new one's too, and the new one would never become ready:
        the deploy that is to end the leak would be refused. Nothing is done without a database on
        this host, or where that does not answer: the gate says what a slot lacks.
        """
        if not self.conninfo:
            return 0
        sql = END_SURPLUS.format(role=self.settings.user)
        try:
            done = psql("postgres", "dbname=postgres", "-c", sql)
        except TookTooLongError:
            return 0
        return 0 if done.returncode else int(done.stdout or 0)
