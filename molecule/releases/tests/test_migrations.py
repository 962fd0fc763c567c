"""A migration is a phase of its own: once, as the release, with limits, and told plainly."""

import json
import re
import time
from contextlib import contextmanager

import pytest
from scenario import said

HOME = "/srv/probe"
LOG = "/var/lib/probe/migrations.log"
KEY = "hashtextextended('pergola migration', 0)"
LIMIT = 120

# Writes down once per run what it runs as, and leaves the database at the next revision.
MIGRATION = """\
import asyncio
import json
import os
from pathlib import Path

import asyncpg

SCHEMA = {schema}
STATE = "NoNewPrivs", "Seccomp", "Seccomp_filters", "CapBnd", "CapEff", "Uid", "Gid"


def writable(path):
    try:
        Path(path).touch()
    except OSError:
        return False
    return True


async def main():
    connection = await asyncpg.connect(host="/run/postgresql", database="probe")
    await connection.execute("insert into probe_schema values ($1)", SCHEMA)
    lines = Path("/proc/self/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    print(os.environ["PROBE_SAYS"])
    told = {{
        "release": os.environ["PERGOLA_RELEASE"],
        "said": os.environ["PROBE_SAYS"],
        "credentials": sorted(os.listdir(os.environ.get("CREDENTIALS_DIRECTORY", "."))),
        "unit": Path("/proc/self/cgroup").read_text().strip().rpartition("/")[2],
        "state": {{name: status[name].split() for name in STATE}},
        "directory": os.getcwd(),
        "read_only": bool(os.statvfs("/usr").f_flag & os.ST_RDONLY),
        "writable": [path for path in ("/etc/x", "/srv/probe/x", "x", "/tmp/x") if writable(path)],
        "lock_timeout": await connection.fetchval("show lock_timeout"),
        "statement_timeout": await connection.fetchval("show statement_timeout"),
        "users": list(await connection.fetchrow("select session_user, current_user")),
        "search_path": await connection.fetchval("show search_path"),
    }}
    with open(os.environ["STATE_DIRECTORY"] + "/migrations.log", "a") as log:
        log.write(json.dumps(told) + "\\n")
    await connection.close()


asyncio.run(main())
"""

# One statement through the application's own driver.
STATEMENT = (
    "python -c 'import asyncio, asyncpg, sys\n"
    "async def main():\n"
    ' connection = await asyncpg.connect(host="/run/postgresql", database="probe")\n'
    " await connection.execute(sys.argv[1])\n"
    "asyncio.run(main())' '{}'"
)


def revision(server):
    return server.sql("select max(version) from probe_schema")


@pytest.fixture(scope="module")
def base(probe, server, deploy):
    """A good release before any migration of this file."""
    probe.reset()
    deploy(probe.commit("note", "base", "Before the migrations"))
    server.sql("create table if not exists probe_items (id int)")
    return server.live()


@pytest.fixture(scope="module")
def migrate(base, server, probe, deploy, environment):
    """Deploy a commit that brings the next revision."""

    def run(message, **more):
        now = int(revision(server))
        probe.commit("migrate.py", MIGRATION.format(schema=now + 1), message)
        return deploy(**environment(PROBE_SAYS=message), **more)

    return run


@contextmanager
def session(server, sql):
    """Another session of the database that holds something."""
    run = server.host.check_output
    run("systemctl stop pergola-test-session.service || true")
    run(
        "systemd-run --quiet --collect --unit=pergola-test-session --uid=probe psql -d probe -c %s",
        f"begin; {sql}; select pg_sleep(600)",
    )
    holds = "query like 'begin;%' and wait_event = 'PgSleep'"
    held = f"select count(*) from pg_stat_activity where {holds}"
    until = time.monotonic() + LIMIT
    while server.sql(held) != "1":
        assert time.monotonic() < until, "the other session never got what it wants"
        time.sleep(0.2)
    try:
        yield
    finally:
        run("systemctl stop pergola-test-session.service || true")
        # A session that sleeps does not see that its client is gone.
        server.sql(f"select pg_terminate_backend(pid) from pg_stat_activity where {holds}")


def nothing_is_at_work(server):
    """No session of a migration, and no unit."""
    of_it = "select count(*) from pg_stat_activity where usename = 'probe_migration'"
    assert server.sql(of_it) == "0"
    assert server.host.run("systemctl is-active probe-migration.service").stdout == "inactive\n"


def no_limits_are_left(server):
    limits = "select setconfig from pg_db_role_setting join pg_roles on oid = setrole"
    assert server.sql(f"{limits} where rolname = 'probe'") == ""
    assert server.sql("show lock_timeout") == "0"


def test_a_migration_waits_no_longer_for_a_lock_than_it_may(base, server, deploy):
    statement = "alter table probe_items add column if not exists more int"
    with session(server, "lock table probe_items in access exclusive mode"):
        done = deploy(
            fails=True,
            app_migrate_command=STATEMENT.format(statement),
            app_migrate_lock_timeout_seconds=2,
        )
    assert "phase: migrate" in said(done)
    assert "canceling statement due to lock timeout" in said(done)
    assert f"the database is at revision {revision(server)}, as before" in said(done)
    assert server.live() == base
    no_limits_are_left(server)


def test_a_statement_of_a_migration_takes_no_longer_than_it_may(base, server, deploy):
    done = deploy(
        fails=True,
        app_migrate_command=STATEMENT.format("select pg_sleep(60)"),
        app_migrate_statement_timeout_seconds=2,
    )
    assert "phase: migrate" in said(done)
    assert "canceling statement due to statement timeout" in said(done)
    assert server.live() == base
    no_limits_are_left(server)
    nothing_is_at_work(server)


def test_a_migration_that_runs_out_of_time_leaves_nothing_at_work(base, server, site, deploy):
    """Its session would go on in PostgreSQL: it does not look whether its client is gone."""
    before = server.sql("select count(*) from probe_items")
    statement = "insert into probe_items select 1 from pg_sleep(30)"
    # A process that does not end when it is asked to holds the session open.
    stubborn = f'trap "" TERM; (trap "" TERM; {STATEMENT.format(statement)}) & sleep 60'
    with seen_by_new_connections(server) as limits:
        done = deploy(fails=True, app_migrate_command=stubborn, app_migrate_timeout_seconds=4)
    assert "did not end within its time limit" in said(done)
    nothing_is_at_work(server)
    assert server.sql("select count(*) from probe_items") == before
    assert set(limits) == {"0/0"}, "the serving release's new connections saw limits"
    assert site.get("/db").text == "42"


@contextmanager
def seen_by_new_connections(server):
    """The limits that new connections of the serving release have while a migration is at work."""
    script = (
        "until [ -e /run/probe-limits-end ]; do psql -XAtq -F/ -d probe -c "
        "\"select current_setting('lock_timeout'), current_setting('statement_timeout') "
        "where exists (select from pg_stat_activity where usename = 'probe_migration')\"; done"
    )
    run = server.host.check_output
    run("rm -f /run/probe-limits-end")
    unit = "systemd-run --quiet --collect --unit=pergola-test-limits --uid=probe "
    run(unit + "--property=StandardOutput=truncate:/run/probe-limits sh -c %s", script)
    seen = []
    try:
        yield seen
    finally:
        run("touch /run/probe-limits-end; systemctl stop pergola-test-limits.service || true")
        seen += run("cat /run/probe-limits").split()


INDEX = "create index concurrently if not exists probe_items_by_id on probe_items (id)"


def test_an_index_that_is_not_finished_is_never_taken_for_made(base, server, deploy):
    valid = "select indisvalid from pg_index where indexrelid = 'probe_items_by_id'::regclass"
    drop = "drop index concurrently public.probe_items_by_id"
    with session(
        server,
        "set transaction isolation level repeatable read; insert into probe_items values (7)",
    ):
        done = deploy(
            fails=True,
            app_migrate_command=STATEMENT.format(INDEX),
            app_migrate_lock_timeout_seconds=2,
        )
    assert server.sql(valid) == "f"
    assert "canceling statement due to lock timeout" in said(done)
    assert "IT LEFT AN INDEX THAT IS NOT FINISHED: public.probe_items_by_id" in said(done)
    assert f'bin/release psql -c "{drop}"' in said(done)
    nothing_is_at_work(server)

    # The same again would say that it exists, and be well.
    done = deploy(fails=True, app_migrate_command=STATEMENT.format(INDEX))
    assert "an index that was never finished: public.probe_items_by_id" in said(done)
    assert f'bin/release psql -c "{drop}"' in said(done)
    assert server.live() == base

    # One without a migration takes nothing for made, but does not pass over it in silence.
    done = deploy(app_migrate_command="")
    assert "WARNING: the database has an index that was never finished" in said(done)

    server.sql(drop)
    deploy(base.partition("-")[0])
    assert server.live() == base


def test_what_a_migration_makes_is_the_owners_whatever_signs_in(
    base, server, deploy, playbook, probe, environment
):
    """Also by a URL that names the owner, and by a session that gives up its role.

    The role is made again where a restore or a person lost it, and takes over what the owner's
    sessions have set, in the form that PostgreSQL wrote.
    """
    run = server.host.check_output
    root = "cd / && runuser -u postgres -- psql -Xq -d probe -c %s"
    files = "/etc/postgresql/*/main/pg_hba.conf /etc/postgresql/*/main/pg_ident.conf"
    run(root, "drop role probe_migration")
    run(f"sed -i /probe_migration/d {files}")
    run(root, "select pg_reload_conf()")
    run(root, "alter role probe set search_path = public, pg_temp")
    settings = ("lock_timeout", "search_path")
    shown = ", ".join(f"current_setting('{name}') as {name}" for name in settings)
    sql = f"reset role; create table probe_made as select {shown}, session_user::text as signed_in"
    url = {"PROBE_URL": "postgresql://probe:x@/probe?host=/run/postgresql"}
    command = f'psql -X -v ON_ERROR_STOP=1 "$PROBE_URL" -c "{sql}"'
    try:
        settings = {"app_migrate_command": command, **environment(**url)}
        done = deploy(fails=True, **settings)
        assert "PostgreSQL does not let the account probe in as probe_migration" in said(done)
        assert "run deploy.yml without --tags" in said(done)
        assert server.live() == base
        whole = {"app_source": str(probe.path), "app_version": "HEAD", **settings}
        done = playbook("playbooks/deploy.yml", **whole)
        assert done.returncode == 0, done.stdout
        owner = "select tableowner from pg_tables where tablename = 'probe_made'"
        assert server.sql(owner) == "probe"
        assert server.sql("select * from probe_made") == "5s|public, pg_temp|probe_migration"
        log = run(f"{HOME}/bin/release show {server.live()}")
        assert "PROBE_URL names the user probe; for the migration it is probe_migration" in log
        assert run(f"cat {files} | grep -c '^[^#].*probe_migration'") == "2"
    finally:
        run(root, "alter role probe reset search_path")
        run(root, "alter role probe_migration reset search_path")
        server.sql("drop table if exists probe_made")
        deploy(base.partition("-")[0])


def test_a_second_migration_is_refused_while_one_is_at_work(base, server, deploy, migrate):
    before = revision(server)
    with session(server, f"select pg_advisory_lock({KEY})"):
        done = migrate("A second migration", fails=True)
    assert "phase: migrate" in said(done)
    assert re.search(
        r"the database is not free for a migration: process \d+ since 2\d\d\d-", said(done)
    )
    assert "another deploy, perhaps from another host, is migrating it: wait" in said(done)
    assert revision(server) == before


def test_a_backup_that_fails_stops_the_deploy_before_anything_is_migrated(base, server, migrate):
    before = revision(server)
    done = migrate(
        "After no backup", fails=True, release_backup_command="echo no room for a backup; exit 3"
    )
    assert "phase: migrate" in said(done)
    assert "no backup could be made before the migration" in said(done)
    assert "no room for a backup" in said(done)
    assert "nothing was migrated; fix the backup and deploy again" in said(done)
    assert revision(server) == before
    assert server.live() == base


def test_when_a_later_phase_fails_it_says_plainly_where_the_database_is_now(base, server, migrate):
    before = revision(server)
    done = migrate("Migrates and never starts", fails=True, app_asgi="probe:no_such_app")
    after = revision(server)
    assert int(after) == int(before) + 1
    assert "phase: gate" in said(done)
    assert f"THE DATABASE IS NOW AT REVISION {after} (it was at {before})" in said(done)
    assert f"the migration was run and is not undone; {base} serves on it" in said(done)
    line = server.ledger()[-1]
    assert (line["outcome"], line["schema"]) == ("refused", [before, after])
    assert server.live() == base


@pytest.fixture(scope="module")
def migrated(base, server, migrate):
    """A release that brought a revision, with a backup before."""
    server.host.run(f"rm -f {LOG}")
    before = revision(server)
    look = (
        f"{HOME}/bin/release psql -Atc 'select max(version) from probe_schema' >/run/probe-backup"
    )
    migrate(
        "It brings a revision",
        release_backup_command=look,
        app_credentials={"token": "a secret of the tests"},
        app_migrate_statement_timeout_seconds=77,
    )
    told = [json.loads(line) for line in server.host.file(LOG).content_string.splitlines()]
    return {"before": before, "release": server.live(), "told": told, "line": server.ledger()[-1]}


def test_a_migration_runs_once_as_the_new_release_in_the_sandbox_of_its_slots(
    migrated, server, base
):
    (told,) = migrated["told"]
    assert told["release"] == migrated["release"] != base
    assert told["said"] == "It brings a revision"
    assert told["credentials"] == ["app_token"]
    assert told["directory"] == f"{HOME}/releases/{migrated['release']}/code"
    assert told["unit"] == "probe-migration.service"
    assert told["read_only"], "the system is not mounted read-only there"
    assert told["writable"] == ["/tmp/x"]
    slot = server.host.check_output(f"systemctl show -P MainPID {server.slot()}")
    status = server.host.file(f"/proc/{slot}/status").content_string
    lines = dict(line.split(":", 1) for line in status.splitlines())
    # A process in a user namespace of its own sees these numbers as we do, its account among them.
    assert told["state"] == {name: lines[name].split() for name in told["state"]}
    assert told["state"]["NoNewPrivs"] == ["1"]


def test_a_migration_has_its_limits_whatever_its_driver_and_nothing_else_has(migrated, server):
    (told,) = migrated["told"]
    assert (told["lock_timeout"], told["statement_timeout"]) == ("5s", "77s")
    assert told["users"] == ["probe_migration", "probe"]
    assert told["search_path"] == '"$user", public'
    no_limits_are_left(server)


def test_the_ledger_has_the_revision_before_and_after(migrated, server):
    after = str(int(migrated["before"]) + 1)
    assert migrated["line"]["schema"] == [migrated["before"], after]
    assert migrated["line"]["outcome"] == "live"
    shown = server.host.check_output(f"{HOME}/bin/release show {migrated['release']}")
    assert "migrate.log):\nIt brings a revision\n" in shown


def test_the_backup_is_made_before_the_migration(migrated, server):
    seen = server.host.file("/run/probe-backup").content_string.strip()
    assert seen == migrated["before"]


def test_a_rollback_across_a_revision_is_refused_unless_it_is_forced(
    migrated, server, base, rollback
):
    done = rollback(fails=True)
    after = migrated["line"]["schema"][1]
    assert f"the database is at revision {after}, {base} was made for" in said(done)
    assert "migrated since by: " in said(done)
    assert migrated["release"] in said(done).partition("migrated since by: ")[2]
    assert "force=true" in said(done)
    assert server.live() == migrated["release"]

    rollback(release_force=True)

    assert server.live() == base


def test_a_rollback_across_a_backward_compatible_revision_is_allowed(
    migrated, server, migrate, rollback
):
    before = server.live()
    migrate("The old release can live with it", app_backward_compatible=True)
    assert server.ledger()[-1]["schema"][0] != server.ledger()[-1]["schema"][1]

    rollback()

    assert server.live() == before
