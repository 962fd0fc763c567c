"""PostgreSQL by a password: on this server's loopback, and as that of another server would be."""

import re
import time

import pytest
from conftest import TOTAL
from scenario import Server

ASK = "select session_user || ' ' || host(inet_server_addr())"
CONNECT = (
    "python -c 'import asyncio, asyncpg, sys\n"
    "async def main():\n"
    " connection = await asyncpg.connect()\n"
    " print(await connection.fetchval(sys.argv[1]))\n"
    'asyncio.run(main())\' "{}"'
)
MAKES = (
    "create table made as select session_user::text as signed_in, "
    "host(inet_server_addr()) as address, current_setting('lock_timeout') as waits"
)
BY_PSQL = f'psql -X -v ON_ERROR_STOP=1 -c "drop table if exists made" -c "{MAKES}"'
SETTINGS = {
    "app_environment": {"PROBE_DATABASE": "second", "DB_PASSWORD": "{{ app_database.password }}"},
    "app_migrate_command": BY_PSQL,
    "app_schema_query": "",
    "app_health_path": "/",
}


@pytest.fixture(scope="module")
def by_tcp(deploy, second, load, web1):
    """The second application, deployed by TCP beside the first one under load; what was said."""
    with load() as running:
        time.sleep(1)
        output = deploy("-vv", inventory=second, app_database_tcp=True, **SETTINGS)
        time.sleep(1)
        seen = running.end()
    TOTAL.restart(output)
    return {"output": output, "seen": seen}


@pytest.fixture(scope="module", autouse=True)
def gone(playbook, second, provision, database):
    """After the last test of it the application is gone, and PostgreSQL listens on nothing."""
    yield
    removed = playbook("playbooks/remove.yml", inventory=second, confirm="second")
    assert removed.returncode == 0, removed.stdout
    TOTAL.restart(provision())
    assert database("show listen_addresses") == ""
    assert "second" not in database("select pg_read_file(current_setting('hba_file'))")


def test_the_plan_says_that_postgresql_restarts_for_it(deploy, second, database):
    began = database.began()
    output = deploy("--check", "--diff", inventory=second, app_database_tcp=True, **SETTINGS)
    assert re.search("would restart, listen_addresses: +-> 127.0.0.1", output), output
    assert "second may sign in by 127.0.0.1/32; a password of second" in output
    assert database.began() == began


def test_it_listens_on_loopback_only_and_no_request_of_the_others_fails(by_tcp, web1, database):
    assert by_tcp["seen"].lost == []
    assert database("show listen_addresses") == "127.0.0.1"
    listening = web1.check_output("ss -Hltn 'sport = :5432'").split()
    assert "127.0.0.1:5432" in listening
    assert "*:5432" not in listening


def test_the_release_and_its_migration_sign_in_by_tcp_each_as_its_role(by_tcp, web1):
    run = "/srv/second/bin/release run sh -c %s"
    assert web1.check_output(run, CONNECT.format(ASK)).strip() == "second 127.0.0.1"
    other = Server(web1, "second")
    assert other.sql("select * from made") == "second_migration|127.0.0.1|5s"


def test_the_password_is_in_the_release_and_in_no_output_log_or_unit(by_tcp, web1, database):
    secret = web1.check_output("cat /srv/second/database.password")
    assert re.fullmatch("[0-9a-f]{48}", secret)
    assert web1.check_output("stat -c '%a %U' /srv/second/database.password") == "600 root"
    environment = web1.check_output("cat /srv/second/slots/live/environment")
    assert f'PGPASSWORD="{secret}"' in environment
    assert f'DB_PASSWORD="{secret}"' in environment
    assert secret not in by_tcp["output"]
    pattern = f"{secret[:-1]}[{secret[-1]}]"  # sudo logs the command itself
    for place in ("/var/log/postgresql", "/etc/systemd/system", "/etc/postgresql"):
        assert web1.run(f"grep -rq '{pattern}' {place}").rc == 1, place
    assert web1.run(f"journalctl -o cat | grep -q '{pattern}'").rc == 1
    assert web1.run(f"grep -qF {secret} /srv/second/slots/live/release.json").rc == 1


def test_nobody_gets_in_without_it(by_tcp, web1):
    ask = "runuser -u nobody -- env PGPASSWORD=wrong psql -wXc 'select 1' "
    for user, database in (("second", "second"), ("second", "probe"), ("probe", "probe")):
        done = web1.run(f"cd / && {ask} -h 127.0.0.1 -U {user} {database}")
        assert done.rc != 0
        assert "password authentication failed" in done.stderr


def test_the_same_again_changes_nothing_and_without_the_setting_it_stays(
    by_tcp, deploy, second, database
):
    began = database.began()
    assert "changed=0 " in deploy(inventory=second, app_database_tcp=True, **SETTINGS)
    deploy(inventory=second, **SETTINGS)
    assert database("show listen_addresses") == "127.0.0.1"
    assert database.began() == began


def test_a_database_of_another_server_is_migrated_asked_and_said_to_have_no_backup(
    by_tcp, deploy, second, database, web1
):
    """It is the same server here, but all that is known of it is a URL."""
    database("create role away login password 'a%b@c' connection limit 7")
    database("create database away owner away")
    try:
        away = {
            "app_database_url": "postgresql://away:a%25b%40c@127.0.0.1/away?sslmode=disable",
            "app_migrate_command": BY_PSQL,
            "app_schema_query": "select signed_in from made",
            "app_health_path": "/",
            "app_environment": {},
        }
        plan = deploy("--check", "--diff", inventory=second, **away)
        assert (
            "away on 127.0.0.1 (app_database_url): sslmode=disable verifies no certificate" in plan
        )
        assert "not done for it: backups" in plan
        output = deploy(inventory=second, **away)
        assert (
            "WARNING: the database lets 7 connections in, and the application may open 10" in output
        )
        assert "a%b@c" not in output
        assert "a%25b%40c" not in output
        other = Server(web1, "second")
        assert other.sql("select * from made") == "away|127.0.0.1|0"
        assert other.ledger()[-1]["schema"][1] == "away"
        run = "/srv/second/bin/release run sh -c %s"
        assert web1.check_output(run, CONNECT.format(ASK)).strip() == "away 127.0.0.1"
        assert "changed=0 " in deploy(inventory=second, **away)
    finally:
        deploy(inventory=second, **SETTINGS)
        database("drop database away with (force)")
        database("drop role away")


def test_a_certificate_that_cannot_be_verified_is_refused_by_the_gate_and_nothing_changes(
    by_tcp, deploy, second, web1
):
    """Debian's certificate of its own is valid for another name, by no authority."""
    live = Server(web1, "second").live()
    url = "postgresql://second:not-its-password@127.0.0.1/second"
    output = deploy(
        inventory=second, fails=True, app_database_url=url, **{**SETTINGS, "app_environment": {}}
    )
    assert "phase: migrate" in output
    assert "certificate verify failed" in output or "does not support SSL" in output
    assert Server(web1, "second").live() == live


def test_an_application_without_a_database_on_a_server_that_has_postgresql(
    deploy, second, web1, database
):
    before = database("select datname from pg_database order by 1")
    deploy(
        inventory=second,
        app_databases=[],
        app_migrate_command='test -z "${PGHOST-}"',
        app_schema_query="",
        app_health_path="/",
        app_environment={},
    )
    assert database("select datname from pg_database order by 1") == before
    assert "PGHOST" not in web1.check_output("cat /srv/second/slots/live/environment")
