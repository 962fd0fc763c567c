"""The role by which a migration signs in.

It acts as the database's owner (`SET role`), so all that it makes is the owner's, but limits are
its own: the serving release's new connections never see them, and what is still at work after a
migration is known by its name. The system's account of the application may sign in as it: a line
of pg_hba.conf and a map in pg_ident.conf say so.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pergola import access
from pergola.errors import PergolaError
from pergola.people import last_lines
from pergola.postgres import client
from pergola.release.database import OPTIONS, psql
from pergola.release.releases import Releases
from pergola.system import of_account

SUPERUSER = "postgres"
SECONDS_FOR_ANSWER = 30
SECONDS_TO_END = 10
LOOK_EVERY = 0.1
# What the owner's sessions have set for them (a search path, say) holds for migrations as well.
# FROM CURRENT, as only PostgreSQL knows how to write a list down again.
ROLE = """
do $$ declare one record; begin
  if not exists (select from pg_roles where rolname = '{role}') then
    create role "{role}";
  end if;
  if not pg_has_role('{role}', '{owner}', 'member') then
    grant "{owner}" to "{role}";
  end if;
  alter role "{role}" login inherit nosuperuser nocreatedb nocreaterole noreplication nobypassrls;
  execute format('alter role "{role}" in database %I reset all', current_database());
  alter role "{role}" reset all;
  for one in
    select split_part(c, '=', 1) as name, substr(c, strpos(c, '=') + 1) as value,
      case when setdatabase = 0 then '' else format('in database %I', current_database()) end as at
    from pg_db_role_setting, unnest(setconfig) c
    where setrole = (select oid from pg_roles where rolname = '{owner}')
    and setdatabase in (0, (select oid from pg_database where datname = current_database()))
  loop
    continue when one.name in ({ours});
    perform set_config(one.name, one.value, true);
    execute format('alter role "{role}" %s set %I from current', one.at, one.name);
  end loop;
end $$;
alter role "{role}" set role = '{owner}';
alter role "{role}" set client_connection_check_interval = '1s';
"""
LOCK_KEY = "hashtextextended('pergola migration', 0)"
HOLDER = """select 'process ' || a.pid || ' since ' || date_trunc('second', a.backend_start)
  from pg_locks l join pg_stat_activity a using (pid)
  where l.locktype = 'advisory' and l.granted and l.database = (select oid from pg_database
  where datname = current_database()) and (l.classid::bigint << 32 | l.objid::bigint) = """
AT_WORK = "from pg_stat_activity where usename = '{role}' and pid <> {but}"


class Migrator:
    """The role, and what only PostgreSQL's superuser sees of its sessions."""

    def __init__(self, releases: Releases, limited: bool = True) -> None:
        self.home, self.owner = releases.home, releases.settings.user
        self.role = f"{self.owner}_migration"
        limits = releases.settings.migrate_limits
        # For PostgreSQL 0 is no limit.
        self.limits = limits if limited else dict.fromkeys(limits, 0)
        self.conninfo = releases.settings.database or ""

    def sql(self, script: str) -> str:
        """What PostgreSQL's superuser is answered; PergolaError when it is an error."""
        options = ("--single-transaction", "--file=-")
        done = psql(SUPERUSER, self.conninfo, *options, script=script, timeout=SECONDS_FOR_ANSWER)
        if done.returncode:
            raise PergolaError(
                "PostgreSQL does not do what a migration needs",
                last_lines(done.stderr),
                hint="see systemctl status postgresql, then deploy again",
            )
        return done.stdout.strip()

    @contextmanager
    def alone(self) -> Iterator[str]:
        """Keep other migrations out of this database; the session that does has the number given.

        It is one of the migrations' role, so that an application which has used up its own
        connections does not keep out the release that ends that.
        """
        owner = self.owner
        session = subprocess.Popen(
            [
                *("setpriv", f"--reuid={owner}", f"--regid={owner}", "--init-groups"),
                *(client(), *OPTIONS, "-U", self.role, "-d", self.conninfo),
            ],
            cwd="/",
            env=of_account(owner),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            got = tell(session, f"select pg_try_advisory_lock({LOCK_KEY});")
            if got != "t":
                holder = got if got != "f" else self.sql(HOLDER + LOCK_KEY)
                raise PergolaError(
                    "the database is not free for a migration: " + (holder or "an unknown process"),
                    hint="another deploy, perhaps from another host, is migrating it: wait for it. "
                    f"If you know that it is dead: sudo {self.home}/bin/release psql "
                    "-c 'select pg_terminate_backend(PROCESS)', then deploy again",
                )
            yield tell(session, "select pg_backend_pid();")
        finally:
            with suppress(BrokenPipeError):
                session.communicate(timeout=SECONDS_FOR_ANSWER)

    def create(self) -> None:
        """Make the role, or bring it up to date, and see that it can sign in."""
        ours = ["role", "session_authorization", "client_connection_check_interval", *self.limits]
        names = ", ".join(f"'{name}'" for name in ours)
        script = ROLE.format(role=self.role, owner=self.owner, ours=names)
        for name, seconds in self.limits.items():
            script += f"alter role \"{self.role}\" set {name} = '{seconds}s';\n"
        if password := access.password(self.home):
            script += f"alter role \"{self.role}\" password '{access.verifier(password)}';\n"
        self.sql(script)
        if not self.refused():
            return
        self.let_in()
        until = time.monotonic() + SECONDS_TO_END
        while why := self.refused():
            if time.monotonic() > until:
                raise PergolaError(
                    f"PostgreSQL does not let the account {self.owner} in as {self.role}",
                    why,
                    hint="nothing was migrated. Pergola has added a line to pg_hba.conf and one to "
                    "pg_ident.conf, see `select * from pg_hba_file_rules` for what is before it",
                )
            time.sleep(LOOK_EVERY)

    def refused(self) -> str:
        """Why the application's account cannot sign in as the role; empty: it can."""
        ask = ("-U", self.role, "-c", "select current_user")
        done = psql(self.owner, self.conninfo, *ask, timeout=SECONDS_FOR_ANSWER)
        if done.returncode:
            return last_lines(done.stderr)
        got = done.stdout.strip()
        return "" if got == self.owner else f"its sessions act as {got}, not as {self.owner}"

    def let_in(self) -> None:
        """Add what lets the account in to PostgreSQL's files, and have these read."""
        database = self.sql("select current_database()")
        rule = f'local "{database}" "{self.role}" peer map={self.role}'
        name = f'{self.role} "{self.owner}" "{self.role}"'
        why = f"how migrations of {self.owner} sign in"
        with access.files_locked():
            access.put_first(self.sql("show hba_file"), rule, why)
            access.put_first(self.sql("show ident_file"), name, why)
        self.sql("select pg_reload_conf()")

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
