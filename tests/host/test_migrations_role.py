"""The role by which migrations sign in, in a PostgreSQL of the tests: made, kept and used."""

import contextlib
import getpass
import os
import subprocess
import time

import pytest
from pergola import access
from pergola.app import migrations
from pergola.app.order import Order
from pergola.database.databases import Database as Wanted
from pergola.database.restart import LOADED
from pergola.errors import PergolaError
from pergola.postgres import quoted
from pergola.release import migrator
from pergola.release.database import Database
from pergola.release.migrations import PREPARED, UNFINISHED, Migration, MigrationAfter
from pergola.release.migrator import Migrator
from pergola.system import attempt
from postgresql_made import Throwaway, throwaway
from release_made import having, manifest

# An account of every Debian, so that PostgreSQL can ask the kernel whose a connection is.
APP = "www-data"
ROLE = f"{APP}_migration"
OWNER, MIGRATES = quoted(APP), quoted(ROLE)
LIMITS = {"lock_timeout": 5, "statement_timeout": 300}
ORDER = Order(APP, [], databases=[Wanted(APP, APP), Wanted("more", APP)], migrate_limits=LIMITS)
NEW = [f"role {ROLE}", f"{APP} may sign in as {ROLE}"]
KNOWN = ("root", APP, "guest")
SECONDS = 20
as_the_account = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root takes on an application's account"
)


class Server(Throwaway):
    """PostgreSQL with an application's databases, as they are when its role comes to be made."""

    log = "its log"

    def begin(self):
        self.make()
        (self.data / "pg_hba.conf").write_text("local all all peer map=tests\n")
        maps = "".join(f"tests {getpass.getuser()} {quoted(role)}\n" for role in KNOWN)
        (self.data / "pg_ident.conf").write_text(maps)
        self.home.chmod(0o755)
        self.start("-c listen_addresses='' -c max_prepared_transactions=2")

    def afresh(self):
        """As it was before anybody asked for the role."""
        gone = f"from pg_stat_activity where usename in ('{APP}', '{ROLE}', 'guest')"
        self.sql(f"select pg_terminate_backend(pid) {gone}")
        for name in (APP, "more"):
            self.sql(f"drop database if exists {quoted(name)} with (force)")
        for name in (ROLE, APP, "guest"):
            self.sql(f"drop role if exists {quoted(name)}")
        self.sql(f"create role {OWNER} login; create role guest login")
        for name in (APP, "more"):
            self.sql(f"create database {quoted(name)} owner {OWNER}")
        for name in ("pg_hba.conf", "pg_ident.conf"):
            lines = (self.data / name).read_text().splitlines(keepends=True)
            self.rewrite(name, "".join(line for line in lines if ROLE not in line))
        before = self.sql(LOADED)
        self.sql("select pg_reload_conf()")
        self.until(f"select ({LOADED}) > {before}", "t")

    def rewrite(self, name, text):
        """Never half: PostgreSQL may be reading it at this moment."""
        new = self.home / name
        new.write_text(text)
        new.chmod(0o644)
        new.rename(self.data / name)

    def files(self):
        return [(self.data / name).read_text() for name in ("pg_hba.conf", "pg_ident.conf")]

    def settings(self, role=ROLE, place=""):
        """A role's own settings in a database, or in all."""
        where = f"(select oid from pg_database where datname = '{place}')" if place else "0"
        found = self.sql(
            "select unnest(setconfig) from pg_db_role_setting join pg_roles on oid = setrole "
            f"where rolname = '{role}' and setdatabase = {where} order by 1"
        )
        return found.splitlines()

    @contextlib.contextmanager
    def holding(self, script, role=APP, database=APP):
        """A session that has done something, and stays."""
        command = self.psql(role=role, database=database)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        session = subprocess.Popen(command, text=True, **pipes)
        try:
            session.stdin.write(f"{script};\n\\echo done\n")
            session.stdin.flush()
            while session.stdout.readline() not in ("done\n", ""):
                pass
            yield session
        finally:
            session.kill()
            session.wait()

    def until(self, query, answer, database=APP):
        """Wait until it answers so."""
        until = time.monotonic() + SECONDS
        while (got := self.sql(query, database)) != answer:
            assert time.monotonic() < until, got
            time.sleep(0.05)


@pytest.fixture(scope="module")
def postgresql():
    with throwaway(Server) as made:
        made.begin()
        yield made


@pytest.fixture
def server(postgresql, releases, monkeypatch, tmp_path):
    postgresql.afresh()
    monkeypatch.setattr(access, "FILES_LOCK", tmp_path / "lock")
    monkeypatch.setattr(access, "ACCOUNT", postgresql.account)
    if os.geteuid():
        real = access.attempt
        monkeypatch.setattr(access, "attempt", lambda *words, account, **more: real(*words, **more))
    return postgresql


# -- it is made ------------------------------------------------------------------------------------


def test_it_is_told_then_made_and_then_there_is_nothing_to_do(server):
    files = server.files()
    assert migrations.bring(ORDER, server, only_look=True) == NEW
    assert server.files() == files
    assert server.sql(f"select from pg_roles where rolname = '{ROLE}'") == ""
    assert migrations.bring(ORDER, server) == NEW
    assert server.settings() == [
        "client_connection_check_interval=1s",
        "lock_timeout=5s",
        f"role={APP}",
        "statement_timeout=300s",
    ]
    assert migrations.bring(ORDER, server) == []
    assert migrations.bring(ORDER, server, only_look=True) == []


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (f"alter role {MIGRATES} nologin", f"{ROLE}: {migrations.POWERS}"),
        (f"alter role {MIGRATES} createdb createrole", f"{ROLE}: {migrations.POWERS}"),
        (f"revoke {OWNER} from {MIGRATES}", f"{ROLE} in {APP}"),
        (f"alter role {MIGRATES} set lock_timeout = 0", f"{ROLE}: lock_timeout"),
        (f"alter role {MIGRATES} in database more set lock_timeout = 0", f"{ROLE}: lock_timeout"),
        (f"alter role {MIGRATES} reset role", f"{ROLE}: role"),
        (f"alter role {MIGRATES} set work_mem = '1GB'", f"{ROLE}: work_mem"),
    ],
)
def test_what_somebody_changed_is_put_right_and_told(server, script, told):
    migrations.bring(ORDER, server)
    before = server.settings()
    server.sql(script)
    assert migrations.bring(ORDER, server) == [told]
    assert migrations.bring(ORDER, server) == []
    assert server.settings() == before
    plain = f"rolcanlogin and not rolcreatedb and pg_has_role('{ROLE}', '{APP}', 'USAGE')"
    assert server.sql(f"select {plain} from pg_roles where rolname = '{ROLE}'") == "t"


@pytest.mark.parametrize("option", ["inherit", "set"])
def test_a_membership_has_all_of_its_options(server, option):
    if server.version < migrations.GRANTS_SAY_HOW:
        pytest.skip(f"PostgreSQL {server.version} has none")
    migrations.bring(ORDER, server)
    server.sql(f"grant {OWNER} to {MIGRATES} with {option} false")
    assert migrations.bring(ORDER, server) == [f"{ROLE} in {APP}"]
    assert migrations.bring(ORDER, server) == []


@pytest.mark.parametrize("name", ["pg_hba.conf", "pg_ident.conf"])
def test_a_line_that_is_gone_comes_back(server, name):
    migrations.bring(ORDER, server)
    files = server.files()
    server.rewrite(name, (server.data / name).read_text().partition("\n")[2])
    assert migrations.bring(ORDER, server) == [f"{APP} may sign in as {ROLE}"]
    assert server.files() == files


def test_what_the_owners_sessions_have_set_holds_for_it_but_for_its_limits(server):
    """Also a list of names, a value that would end its quotes, and what one database has."""
    server.sql(
        f"alter role {OWNER} set search_path = \"$user\", 'odd, one', pg_temp;"
        f"alter role {OWNER} set notes.key = 'a''; drop database more; -- \\';"
        f"alter role {OWNER} set lock_timeout = '1h';"
        f"alter role {OWNER} in database more set lock_timeout = '2h';"
        f"alter role {OWNER} in database more set work_mem = '64MB'"
    )
    told = migrations.bring(ORDER, server)
    assert told == NEW
    assert migrations.bring(ORDER, server) == []
    ours = {"client_connection_check_interval=1s", f"role={APP}", "statement_timeout=300s"}
    taken_over = set(server.settings()) - ours
    assert taken_over == {*server.settings(APP), "lock_timeout=5s"} - {"lock_timeout=1h"}
    assert server.settings(place="more") == ["work_mem=64MB"]
    server.sql(f"alter role {OWNER} reset all; alter role {OWNER} set notes.key = 'hidden'")
    told = migrations.bring(ORDER, server)
    assert told == [f"{ROLE}: notes.key", f"{ROLE}: search_path"]


def test_with_a_password_it_has_the_same_one(server, releases, monkeypatch):
    migrations.bring(ORDER, server)
    monkeypatch.setattr(migrations.apps, "HOMES", releases.home.parent)
    releases.home.rename(releases.home.with_name(APP))
    secret = access.make_password(releases.home.with_name(APP))
    assert migrations.bring(ORDER, server, only_look=True) == [f"a password of {ROLE}"]
    assert migrations.bring(ORDER, server) == [f"a password of {ROLE}"]
    kept = server.sql(f"select rolpassword from pg_authid where rolname = '{ROLE}'")
    assert access.is_verifier_of(kept, secret)
    assert migrations.bring(ORDER, server) == []


def test_databases_of_somebody_else_have_no_role_for_it(server):
    order = Order("stranger", [], databases=[Wanted(APP, APP)])
    assert migrations.bring(order, server) == []
    assert ROLE not in "".join(server.files())


# -- it is used ------------------------------------------------------------------------------------


@pytest.fixture
def here(server, releases):
    """The application's releases, on a server that lets its migrations in."""
    migrations.bring(ORDER, server)
    conninfo = f"host={server.home} port={server.port} dbname={APP}"
    return having(releases, user=APP, database=conninfo, migrate_limits=LIMITS)


@as_the_account
@pytest.mark.parametrize(("limited", "limits"), [(True, "5s|5min"), (False, "0|0")])
def test_sessions_meanwhile_act_as_the_owner_within_the_limits_of_this_one(
    here, server, limited, limits
):
    """And the limits are afterwards what they were, also when the migration failed."""
    server.sql(f"alter role {MIGRATES} set lock_timeout = '7s'")
    server.sql(f"alter role {MIGRATES} reset statement_timeout")
    before = server.settings()
    one = Migrator(here, limited)
    asks = "select current_setting('lock_timeout'), current_setting('statement_timeout')"

    def migrate():
        shown = migrator.psql(APP, one.conninfo, "-U", ROLE, "-c", f"{asks}, current_user")
        assert shown.stdout.strip() == f"{limits}|{APP}"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), one.alone():
        migrate()
    assert server.settings() == before


@as_the_account
@pytest.mark.parametrize(
    ("kind", "limits"), [(Migration, "5s|5min"), (MigrationAfter, "0|0")], ids=["before", "after"]
)
def test_a_whole_migration_leaves_all_as_it_was_but_for_what_it_made(
    here, server, monkeypatch, kind, limits
):
    """Run as its unit would, in the environment that this has."""
    manifest(here, "b")
    (here.path("b") / "environment").write_text("")
    before = server.settings()

    def execute(self, command, environment):
        assert environment["PGDATABASE"] == APP
        more = {"PGHOST": str(server.home), "PGPORT": str(server.port)}
        ours = {name: environment[name] for name in ("PGUSER", "PGDATABASE")}
        words = [migrator.client(), "-Xqc", command]
        return attempt(*words, account=APP, environment={**more, **ours})

    monkeypatch.setattr(kind, "stop", lambda self: None)
    monkeypatch.setattr(kind, "execute", execute)
    shown = "current_setting('lock_timeout') as l, current_setting('statement_timeout') as s"
    kind(here, "b").run(f"create table made as select {shown}")
    assert server.sql("select * from made", APP) == limits
    owner = "select tableowner from pg_tables where tablename = 'made'"
    assert server.sql(owner, APP) == APP
    assert server.settings() == before
    server.until(f"select count(*) from pg_stat_activity where usename = '{ROLE}'", "0")


@as_the_account
def test_what_is_left_of_a_migration_is_ended_and_given_to_the_owner(here, server):
    one = Migrator(here)
    asleep = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
    command = [*one_as(server), "-c", "set role none", "-c", "create schema own",
               "-c", "create table own.made ()", "-c", "select pg_sleep(600)"]  # fmt: skip
    with one.alone() as holder:
        left = subprocess.Popen(command, user=APP, stderr=subprocess.DEVNULL, cwd="/")
        try:
            server.until(asleep, "1")
            one.end(but=holder)
            assert left.wait(SECONDS) != 0
        finally:
            left.kill()
        assert server.sql(asleep) == "0"
        owners = "select nspowner::regrole, relowner::regrole from pg_class c join pg_namespace n "
        owners += "on n.oid = relnamespace where relname = 'made'"
        assert server.sql(owners, APP) == f"{OWNER}|{OWNER}"
        assert server.sql(f"select count(*) from pg_stat_activity where pid = {holder}") == "1"


def one_as(server):
    return server.psql(role=ROLE, database=APP)


@as_the_account
@pytest.mark.parametrize(("role", "told"), [(APP, "since 2"), ("root", "of root")])
def test_a_database_that_another_session_has_is_not_migrated(here, server, role, told):
    one = Migrator(here)
    with server.holding(f"select pg_advisory_lock({migrator.LOCK_KEY})", role=role):
        pid = server.sql("select pid from pg_locks where locktype = 'advisory'")
        with pytest.raises(PergolaError, match=f"free for a migration: process {pid} {told}"):
            one.alone().__enter__()
    server.until("select count(*) from pg_locks where locktype = 'advisory'", "0")
    with one.alone():
        pass


@as_the_account
def test_a_dead_ones_session_can_be_ended_as_the_refusal_says(here, server):
    one = Migrator(here)
    with one.alone() as holder:
        with pytest.raises(PergolaError) as told:
            Migrator(here).alone().__enter__()
        command = told.value.hint.partition("release psql ")[2].rpartition(", then")[0]
        words = command.replace("PROCESS", holder).split("'")
        options = [*words[0].split(), words[1], *words[2].split(), words[3]]
        done = migrator.psql(APP, one.conninfo, *options)
        assert done.stdout.strip() == "t", done.stderr
    server.until("select count(*) from pg_locks where locktype = 'advisory'", "0")


@as_the_account
@pytest.mark.parametrize(
    ("script", "why"),
    [
        (f"drop role {MIGRATES}", f'role "{ROLE}" does not exist'),
        (f"alter role {MIGRATES} nologin", "is not permitted to log in"),
        (f"alter role {MIGRATES} reset role", f"act as {ROLE}, not as {APP}"),
    ],
)
def test_where_it_cannot_sign_in_nothing_is_migrated_and_the_way_out_is_told(
    here, server, script, why
):
    server.sql(script)
    with pytest.raises(PergolaError, match=f"let the account {APP} in as {ROLE}") as told:
        Migrator(here).alone().__enter__()
    assert why in told.value.evidence
    assert "nothing was migrated" in told.value.hint
    assert "run deploy.yml without --tags" in told.value.hint
    if "reset" not in script:
        with pytest.raises(PergolaError, match="let the account"):
            Migrator(here).sql("select 1")


@as_the_account
def test_connections_beyond_half_of_its_own_are_ended_although_all_are_taken(here, server):
    server.sql(f"alter role {OWNER} connection limit 4")
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(server.holding("select 1"))
        assert migrator.psql(APP, here.settings.database, "-c", "select 1").returncode != 0
        assert Database(here).make_room() == 2
        server.until(f"select count(*) from pg_stat_activity where usename = '{APP}'", "2")
        assert Database(here).make_room() == 0


@as_the_account
def test_what_is_half_made_is_told_also_while_another_role_makes_an_index(here, server):
    """Of that one's table nobody can tell, as another role's index is not told by name."""
    one = Migrator(here)
    server.sql("create table made (id int); create table other (id int)", APP, role=APP)
    fails = "insert into other values (1), (1); create unique index concurrently left_over on "
    with pytest.raises(RuntimeError, match="could not create unique index"):
        server.sql(f"{fails} other (id)", APP, role=APP)
    old = "begin isolation level repeatable read; insert into made values (1)"
    building = "select count(*) from pg_stat_progress_create_index where index_relid is not null"
    index = "create index concurrently in_work on made (id)"
    with server.holding(old), server.holding("set application_name = 'x'", role="root") as builder:
        builder.stdin.write(f"{index};\n")
        builder.stdin.flush()
        server.until(building, "1")
        assert one.sql(UNFINISHED) == "public.left_over"
        server.sql("select pg_terminate_backend(pid) from pg_stat_progress_create_index")
        server.until(building, "0")
        assert one.sql(UNFINISHED).splitlines() == ["public.in_work", "public.left_over"]
    server.sql("begin; select 1; prepare transaction 'half'", APP)
    assert one.sql(PREPARED) == "half"
    server.sql("rollback prepared 'half'", APP)
