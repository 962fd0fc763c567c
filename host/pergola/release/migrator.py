"""A migration signs in to PostgreSQL by a role of its own, and all that is done around it does too.

The role acts as the database's owner (`SET role`), but limits are its own, and what is still at
work after a migration is known by its name. It is made where the server of PostgreSQL is
(`pergola app`); here the application's account needs no more than to be let in as it.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pergola import access
from pergola.errors import PergolaError
from pergola.people import last_lines
from pergola.postgres import NO_CONNECTION, client
from pergola.release.database import OPTIONS, psql
from pergola.release.releases import Releases
from pergola.system import of_account

SECONDS_FOR_ANSWER = 30
SECONDS_TO_END = 10
LOOK_EVERY = 0.1
# As itself the role may end its own sessions, and do what the owner may, of which it is a member.
# A migration's limits, and what the owner's sessions have set, are none of this one's.
AS_ITSELF = """set role none;
set lock_timeout = 0;
set statement_timeout = 0;
set idle_session_timeout = 0;
"""
LOCK_KEY = "hashtextextended('pergola migration', 0)"
# Of another role's session nobody but a superuser is told when it began.
HOLDER = """select format('process %s', a.pid)
    || coalesce(' since ' || date_trunc('second', a.backend_start), ' of ' || a.usename)
  from pg_locks l join pg_stat_activity a using (pid)
  where l.locktype = 'advisory' and l.granted and l.database = (select oid from pg_database
  where datname = current_database()) and (l.classid::bigint << 32 | l.objid::bigint) = """
AT_WORK = "from pg_stat_activity where usename = '{role}' and pid not in (pg_backend_pid(), {but})"
# What sets the limits to what they are now.
LIMITS = """select string_agg('alter role "{role}" ' || case when line is null
    then format('reset %I', name) else format('set %I = %L', name, substr(line, length(name) + 2))
    end, '; ')
  from unnest(array[{names}]) name left join (
    select unnest(setconfig) as line from pg_db_role_setting
    where setdatabase = 0 and setrole = (select oid from pg_roles where rolname = '{role}')
  ) lines on starts_with(line, name || '=')"""


class Migrator:
    """The role, as the application's account signs in by it."""

    def __init__(self, releases: Releases, limited: bool = True) -> None:
        self.home, self.owner = releases.home, releases.settings.user
        self.role = access.migration_role(self.owner)
        limits = releases.settings.migrate_limits
        # For PostgreSQL 0 is no limit.
        self.limits = limits if limited else dict.fromkeys(limits, 0)
        self.conninfo = releases.settings.database or ""

    def sql(self, script: str) -> str:
        """What the role is answered; PergolaError when it is an error."""
        options = ("-U", self.role, "--single-transaction", "--file=-")
        done = psql(
            self.owner,
            self.conninfo,
            *options,
            script=AS_ITSELF + script,
            timeout=SECONDS_FOR_ANSWER,
        )
        if done.returncode == NO_CONNECTION:
            raise self.not_let_in(last_lines(done.stderr))
        if done.returncode:
            raise PergolaError(
                "PostgreSQL does not do what a migration needs",
                last_lines(done.stderr),
                hint="PostgreSQL's log may say more; then deploy again",
            )
        return done.stdout.strip()

    def not_let_in(self, why: str) -> PergolaError:
        return PergolaError(
            f"PostgreSQL does not let the account {self.owner} in as {self.role}",
            why,
            hint="nothing was migrated. If PostgreSQL is there, run deploy.yml without --tags: its "
            "role app makes that role, and the lines of pg_hba.conf and pg_ident.conf that let the "
            "account in (`select * from pg_hba_file_rules` shows what is before them)",
        )

    @contextmanager
    def alone(self) -> Iterator[str]:
        """Keep other migrations out of this database; the session that does has the number given.

        It is one of the migrations' role, so that an application which has used up its own
        connections does not keep out the release that ends that. Meanwhile the role has this
        migration's limits.
        """
        session = self.session()
        try:
            self.check_role(tell(session, "select current_user;"))
            got = tell(session, f"select pg_try_advisory_lock({LOCK_KEY});")
            if got != "t":
                holder = got if got != "f" else self.sql(HOLDER + LOCK_KEY)
                end = f"-U {self.role} -c 'set role none' -c 'select pg_terminate_backend(PROCESS)'"
                raise PergolaError(
                    "the database is not free for a migration: " + (holder or "an unknown process"),
                    hint="another deploy, perhaps from another host, is migrating it: wait for it. "
                    f"If you know that it is dead: sudo {self.home}/bin/release psql {end}, "
                    "then deploy again",
                )
            tell(session, AS_ITSELF)
            with self.limits_in_force(session):
                yield tell(session, "select pg_backend_pid();")
        finally:
            with suppress(BrokenPipeError):
                session.communicate(timeout=SECONDS_FOR_ANSWER)

    def session(self) -> subprocess.Popen[str]:
        """A session of the role, for what is to be told to it."""
        owner = self.owner
        return subprocess.Popen(
            [
                *("setpriv", f"--reuid={owner}", f"--regid={owner}", "--init-groups"),
                *(client(), *OPTIONS, "-U", self.role, "-d", self.conninfo),
            ],
            cwd="/",
            env={**of_account(owner), "PGCONNECT_TIMEOUT": str(SECONDS_FOR_ANSWER)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def check_role(self, acts_as: str) -> None:
        """PergolaError unless the role's sessions act as the owner; it may be psql's own error."""
        if acts_as != self.owner:
            is_error = " " in acts_as
            why = f"its sessions act as {acts_as}, not as {self.owner}"
            raise self.not_let_in(acts_as if is_error else why)

    @contextmanager
    def limits_in_force(self, session: subprocess.Popen[str]) -> Iterator[None]:
        """Have every session that begins meanwhile bound by the limits, whatever its driver."""
        if not self.limits:
            yield
            return
        names = ", ".join(f"'{name}'" for name in self.limits)
        before = tell(session, LIMITS.format(role=self.role, names=names) + ";")
        bounds = [f"set {name} = '{seconds}s'" for name, seconds in self.limits.items()]
        script = "".join(f'alter role "{self.role}" {one};\n' for one in bounds)
        if said := tell(session, script):
            raise PergolaError("a migration's limits could not be set", said)
        try:
            yield
        finally:
            tell(session, f"{before};")

    def end(self, but: str = "0") -> None:
        """End the role's sessions, except one, and give what they made to the owner."""
        at_work = AT_WORK.format(role=self.role, but=but)
        until = time.monotonic() + SECONDS_TO_END
        ended = self.sql(f"select count(pg_terminate_backend(pid)) {at_work}")
        while ended != "0" and self.sql(f"select count(*) {at_work}") != "0":
            if time.monotonic() > until:
                raise PergolaError(
                    f"a session of {self.role} does not end",
                    self.sql(f"select format('process %s: %s', pid, query) {at_work}"),
                    hint="it may be in the middle of something that cannot be interrupted; wait "
                    "for it (`select * from pg_stat_activity`), then deploy again",
                )
            time.sleep(LOOK_EVERY)
        self.sql(f'reassign owned by "{self.role}" to "{self.owner}"')


def tell(session: subprocess.Popen[str], sql: str) -> str:
    """Have a session do something, and return what it said."""
    said = []
    if session.stdin and session.stdout:
        with suppress(BrokenPipeError):
            session.stdin.write(f"{sql}\n\\echo done\n")
            session.stdin.flush()
        for line in session.stdout:
            if line == "done\n":
                break
            said.append(line.strip())
    return " ".join(said)
