"""The application's database, seen through psql as the application's own account."""

from pergola import access
from pergola.postgres import client
from pergola.release.releases import Releases
from pergola.release.units import transient
from pergola.system import Done, TookTooLongError, attempt

SECONDS_FOR_ANSWER = 10
# What stands for a revision when the database does not answer: not that there is none.
UNKNOWN = "unknown"
CANNOT_ASK = 2
SQL_ERRORS = (1, 3)  # psql's exit codes; another one says that it could not ask
OPTIONS = ("-XqAt", "-v", "ON_ERROR_STOP=1")
# Earlier versions of Pergola set a migration's limits for the application's own role.
RESET = """do $$ begin execute format('alter role current_user in database %I reset {name}',
  current_database()); end $$;
"""
# Connections of the application's role from this host beyond one slot's half of what it may have of
# them. Those that have been idle, or in one statement, for the longest time go first.
END_SURPLUS = """with app as (select rolname, rolconnlimit / 2 / {hosts} as half from pg_roles
    where rolname = '{role}' and rolconnlimit > 1),
  surplus as (select pid from pg_stat_activity join app on usename = rolname
      and coalesce(client_addr, '127.0.0.1') = coalesce(inet_client_addr(), '127.0.0.1')
    order by state_change desc nulls last offset coalesce((select half from app), 0))
  select count(pg_terminate_backend(pid)) from surplus"""


# How many connections this role gets into this database at most.
ROOM = """select least(current_setting('max_connections')::int
    - current_setting('superuser_reserved_connections')::int,
  nullif((select rolconnlimit from pg_roles where rolname = current_user), -1),
  nullif((select datconnlimit from pg_database where datname = current_database()), -1))"""


def psql(
    account: str,
    conninfo: str,
    *options: str,
    script: str = "",
    timeout: float = SECONDS_FOR_ANSWER,
) -> Done:
    """What psql says as an account; TookTooLongError when it does not within `timeout` seconds."""
    command = (client(), *OPTIONS, *options, "-d", conninfo)
    return attempt(*command, account=account, stdin=script, timeout=timeout)


class Database:
    """Where the application keeps its data; nothing is asked where none is configured.

    `release`: the one whose environment tells of a database elsewhere, once it is made; before
    that, and without one, the live release.
    """

    def __init__(self, releases: Releases, release: str = "") -> None:
        self.releases, self.release = releases, release
        self.settings = releases.settings
        self.conninfo = self.settings.database or ""
        self.limits_set = releases.home / ".migration-limits"

    def asked(self, sql: str) -> Done:
        if self.settings.database_elsewhere:
            return self.asked_elsewhere(sql)
        return psql(self.settings.user, self.conninfo, "-c", sql)

    def asked_elsewhere(self, sql: str) -> Done:
        """Asked as the release asks: with its environment, its secret files, in its sandbox."""
        is_made = self.release and self.releases.is_ready(self.release)
        release = self.release if is_made else self.releases.live()
        if release is None:
            return Done((), CANNOT_ASK, "", "no release says where the database is")
        command = transient(
            self.releases,
            release,
            [client(), *OPTIONS, "-f", "-"],
            *("--pipe", f"--property=RuntimeMaxSec={SECONDS_FOR_ANSWER}"),
        )
        return attempt(*command, stdin=sql, timeout=SECONDS_FOR_ANSWER)

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
        if not query or not (self.conninfo or self.settings.database_elsewhere):
            return None
        try:
            done = self.asked(query)
        except TookTooLongError:  # its table is locked, perhaps
            return UNKNOWN
        if done.returncode in SQL_ERRORS:  # there is no such table yet
            return None
        return UNKNOWN if done.returncode else ",".join(sorted(done.stdout.split())) or None

    def lacks_room_for(self) -> int:
        """How many connections a database elsewhere lets in, if those are too few; else 0."""
        if not self.settings.database_elsewhere:
            return 0
        room = self.ask(ROOM) or ""
        return int(room) if room.isdigit() and int(room) < self.settings.connections else 0

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
        the deploy that is to end the leak would be refused. The migrations' role, which acts as the
        application's own, has none of that limit. Nothing is done without a database of a server of
        ours, or where that does not answer: the gate says what a slot lacks.
        """
        if not self.conninfo:
            return 0
        owner = self.settings.user
        surplus = END_SURPLUS.format(role=owner, hosts=self.settings.hosts)
        options = ("-U", access.migration_role(owner), "-c", surplus)
        try:
            done = psql(owner, self.conninfo, *options)
        except TookTooLongError:
            return 0
        return 0 if done.returncode else int(done.stdout or 0)
