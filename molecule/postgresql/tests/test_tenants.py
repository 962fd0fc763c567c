"""What one application can take from its neighbours of PostgreSQL: nothing of theirs."""

import json
from collections.abc import Iterator

import pytest
from scenario import wait_for
from testinfra.host import Host

# Opens connections until it gets no more, says how many it got and why, and holds them.
LEAK = """\
import json, pathlib, time, psycopg2
held = []
try:
    while len(held) < 500:
        held.append(psycopg2.connect("dbname=probe"))
except psycopg2.OperationalError as error:
    pathlib.Path("/run/leak/held").write_text(json.dumps([len(held), str(error)]))
time.sleep(600)
"""


@pytest.fixture
def leak(web1: Host, provision) -> Iterator[list]:
    """The application has taken all connections that it gets."""
    provision()
    properties = "--collect --property=RuntimeDirectory=leak --unit=leak --uid=probe"
    web1.check_output(f"systemd-run {properties} /usr/bin/python3 -I -c %s", LEAK)
    try:
        wait_for("it gets no more", lambda: web1.run("test -s /run/leak/held").rc == 0)
        yield json.loads(web1.file("/run/leak/held").content_string)
    finally:
        web1.check_output("systemctl stop leak")


def test_an_application_that_leaks_connections_leaves_the_others_theirs(leak, database):
    count, says = leak
    assert 'too many connections for role "probe"' in says
    limit = int(database("select rolconnlimit from pg_roles where rolname = 'probe'"))
    pool = database("select count(*) from pg_stat_activity where usename = 'probe'")
    assert count <= int(pool) == limit
    # Both slots' pools: 2 workers of 5 each, twice.
    assert limit == 20
    assert int(database("show max_connections")) >= limit + 20
    # An operator, the superuser and what a deploy does as it.
    assert database("select 1", database="probe", user="ada") == "1"


def test_a_leak_does_not_refuse_the_deploy_that_ends_it(leak, database, server, playbook):
    """The new slot gets its half; without that it would not become ready."""
    count, _ = leak
    assert count > 10
    before = server.live()
    try:
        done = playbook("playbooks/deploy.yml", app_workers=1)
        assert done.returncode == 0, done.stdout
        assert server.live() != before
        held = "select count(*) from pg_stat_activity where usename = 'probe' and query = ''"
        assert int(database(held)) < count
    finally:
        done = playbook("playbooks/deploy.yml")
        assert done.returncode == 0, done.stdout


def test_nobody_else_reads_what_was_deployed_and_how_it_is_served(web1):
    for path in ("/srv/probe/ledger.jsonl", "/etc/caddy/probe.caddy"):
        assert web1.file(path).size > 0
        assert web1.run(f"runuser -u nobody -- cat {path}").rc != 0, path


def test_the_servers_own_databases_are_closed_to_applications(provision, database, web1):
    provision()
    for name in ("postgres", "template1"):
        for user in ("probe", "ada"):
            done = database.run("select 1", database=name, user=user)
            assert done.rc != 0, (name, user)
            assert "permission denied for database" in done.stderr
        assert database("select 1", database=name) == "1"
    # What watches PostgreSQL does so through the first.
    database("create role watcher login; grant pg_monitor to watcher")
    try:
        grants = "select has_database_privilege('watcher', 'postgres', 'connect')"
        assert database(grants) == "t"
    finally:
        database("drop role watcher")
    web1.check_output("cd / && runuser -u postgres -- vacuumdb --all --quiet")
    web1.check_output("cd / && runuser -u postgres -- pg_dumpall >/dev/null")
    assert "closed to applications" not in provision("--check")
