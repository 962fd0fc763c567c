"""Settings: computed from what applications need, checked, taken without a failed request."""

import json
import time

import pytest
from conftest import MANY, TOTAL
from scenario import wait_for

MAX = "show max_connections"
LOST = {"postgresql_settings": {"max_prepared_transactions": 3, "log_min_duration_statement": 700}}


def test_the_pools_of_all_applications_are_added_up_whichever_runs_last(
    provision, deploy, database, second, load
):
    """Another application comes, whose pools need a restart, under the load of the first."""
    assert database(MAX) == "250"
    before = database.began()
    with load() as running:
        time.sleep(1)
        running.mark("restart")
        output = deploy(inventory=second, **MANY)
        running.mark("after")
        time.sleep(2)
        seen = running.end()
    TOTAL.restart(output)
    print(f"a restart for another application: {seen.windows}")
    assert database.began() != before
    # 150 connections x 2 slots, the probe's 5 x 2 workers x 2 slots, and 20.
    assert database(MAX) == "340"
    assert "PostgreSQL of web1 restarts, max_connections: 250 -> 340" in output
    assert seen.lost == []
    assert seen.ok > 100

    restarted = database.began()
    assert "changed=0 " in provision()
    assert "changed=0 " in deploy("--tags=app")
    assert "changed=0 " in deploy("--tags=app", inventory=second, **MANY)
    assert (database.began(), database(MAX)) == (restarted, "340")
    reasons = "needed: 20 for probe + 300 for second + 20 for backups, monitoring"
    assert reasons in database.text()


def test_a_number_of_connections_that_the_pools_exceed_is_refused_with_the_sum(provision, database):
    """What its own application needs a run knows by itself, what others need from the server."""
    before = database.text()
    own = provision(fails=True, postgresql_max_connections=30)
    assert (
        "postgresql_max_connections 30 is too small: probe may open 20 (app_database_connections 5 "
        "x (2 slots x (2 app_workers + 0 app_processes) + 0 app_schedules)), and 20 are for "
        "others. Set it to 40 or more, or remove it" in own
    )
    both = provision(fails=True, postgresql_max_connections=60)
    assert (
        "postgresql_max_connections 60 is too small: 20 for probe + 300 for second + 20 for "
        "backups, monitoring, migrations and consoles are 340" in both
    )
    assert "et it to 340 or more" in both
    assert "group_vars/servers/settings.yml" in both
    assert database.text() == before


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "shared_bufers = 1GB",
            'shared_bufers: unrecognized configuration parameter "shared_bufers"',
        ),
        ("work_mem = 'lots'", 'work_mem: invalid value for parameter "work_mem": "lots"'),
        ("max_wal_size = 4GB = 5", "syntax error"),
        ("superuser_reserved_connections = 9000", "must be less than"),
        ("wal_level = minimal\narchive_mode = on", "archival cannot be enabled when"),
        ("shared_preload_libraries = 'no_such'", 'could not access file "no_such"'),
    ],
)
def test_settings_that_the_server_would_not_start_with_are_found(line, says, web1, database):
    text = f"{line}  # postgresql_settings\n".replace("\n", "\\n").replace("'", "'\\''")
    command = f"printf '{text}' >/run/new.conf; pergola-postgresql check /run/new.conf"
    done = web1.run(command)
    assert done.rc == 1
    assert says in done.stderr
    assert web1.run("pergola-postgresql check").rc == 0


def test_a_setting_that_cannot_be_is_refused_before_anything_is_replaced(provision, database):
    before = database.text(), database.began()
    output = provision(fails=True, postgresql_settings={"shared_bufers": "1GB"})
    assert "PostgreSQL 17 would not start" in output.replace(database.version, "17")
    assert "postgresql_settings: shared_bufers: unrecognized configuration parameter" in output
    assert "correct postgresql_settings in " in output
    assert "inventory/group_vars/servers/settings.yml" in output
    elsewhere = provision(fails=True, postgresql_settings={"max_connections": 7})
    assert "set elsewhere: max_connections (postgresql_max_connections)" in elsewhere
    assert (database.text(), database.began()) == before


def test_a_restart_that_a_cut_run_lost_is_made_up_for(provision, database, playbook, load):
    """The run ends between the settings and the server. What needs no restart waits for none."""
    cut = playbook("playbooks/provision.yml", "--tags=packages", **LOST)
    assert cut.returncode == 0, cut.stdout
    database("select pg_reload_conf()")  # as an operator or a rotation of logs would
    assert database("show log_min_duration_statement") == "700ms"
    assert database("show max_prepared_transactions") == "0"
    with load() as running:
        time.sleep(1)
        output = provision(**LOST)
        time.sleep(2)
        seen = running.end()
    TOTAL.restart(output)
    assert "PostgreSQL of web1 restarts, max_prepared_transactions: 0 -> 3." in output
    assert database("show max_prepared_transactions") == "3"
    assert seen.lost == []


def test_what_is_taken_away_needs_nothing_any_more(
    playbook, second, database, provision, deploy, web1
):
    """An application and a setting."""
    removed = playbook("playbooks/remove.yml", inventory=second, confirm="second")
    assert removed.returncode == 0, removed.stdout
    assert not web1.file("/etc/pergola/applications/second.fact").exists
    assert database("select rolname from pg_roles where rolname ~ 'second'") == ""
    # A deploy restarts it for more connections only.
    assert "PostgreSQL of web1 restarts" not in deploy("--tags=app")
    assert database(MAX) == "340"
    assert "max_connections: 340 -> 250" in provision("--check")
    output = provision()
    TOTAL.restart(output)
    assert "max_connections: 340 -> 250" in output
    assert "max_prepared_transactions: 3 -> default" in output
    assert database(MAX) == "250"
    assert database("show max_prepared_transactions") == "0"


def test_a_reload_is_enough_for_most_settings(web1, database):
    before = database.began()
    web1.check_output(
        f"sed -i 's/^log_min_duration.*/log_min_duration_statement = 300/' {database.file}"
    )
    looked = json.loads(web1.check_output("pergola-postgresql reload --only-look"))
    assert (looked["reloaded"], looked["pending"], looked["put_right"]) == (True, {}, [])
    assert database("show log_min_duration_statement") == "1s"
    web1.check_output("pergola-postgresql reload")
    assert database("show log_min_duration_statement") == "300ms"
    assert database.began() == before


def test_a_password_in_a_statement_that_failed_is_not_in_the_log(database):
    """Another role's failed statement is, and the superuser's error."""
    log = f"/var/log/postgresql/postgresql-{database.version}-main.log"
    done = database.run("alter role nobody_of_this_name password 'a-mark-in-a-password'")
    assert done.rc != 0
    assert database.run("select a_mark_of_the_application", "probe", "probe").rc != 0
    text = database.host.file(log).content_string
    assert 'role "nobody_of_this_name" does not exist' in text
    assert "STATEMENT:  select a_mark_of_the_application" in text
    assert "a-mark-in-a-password" not in text


def test_an_extension_with_a_library_of_its_own_is_installed_and_loaded(
    provision, deploy, database
):
    """By a deploy: the package, the library, the extension."""
    provision()  # the test before has edited the file of settings
    package = f"postgresql-{database.version}-pgaudit"
    assert not database.host.package(package).is_installed
    output = deploy("--tags=app", app_databases=[{"name": "probe", "extensions": ["pgaudit"]}])
    assert database.host.package(package).is_installed
    TOTAL.restart(output)
    assert "shared_preload_libraries: pg_stat_statements -> pg_stat_statements,pgaudit" in output
    assert database("show shared_preload_libraries") == "pg_stat_statements,pgaudit"
    assert "pgaudit" in database("select extname from pg_extension", database="probe")

    # Taken from the list it stays, and statements work that its library looks at.
    assert "PostgreSQL of web1 restarts" not in deploy("--tags=app")
    unchanged = provision()
    assert "changed=0 " in unchanged, unchanged
    assert database("show shared_preload_libraries") == "pg_stat_statements,pgaudit"
    database("create table looked_at (); drop table looked_at", database="probe")

    # How to be rid of it: docs/database.md.
    database("drop extension pgaudit", database="probe")
    database.host.check_output("rm /etc/pergola/applications/probe.fact")
    output = deploy("--tags=app")
    TOTAL.restart(output)
    assert "shared_preload_libraries: pg_stat_statements,pgaudit -> pg_stat_statements" in output


def test_a_restart_waits_for_a_deploy_at_work(database, web1):
    """A phase of a deploy holds the kernel's lock; a migration is one."""
    web1.check_output("flock /run/probe/.lock sleep 4 >/dev/null 2>&1 & sleep 0.3")
    began = time.monotonic()
    web1.check_output("pergola-postgresql restart")
    assert time.monotonic() - began > 3
    active = "systemctl is-active 'probe@*.service'"
    wait_for("the slot runs", lambda: web1.run(active).rc == 0)


def test_a_server_that_does_not_start_lets_the_applications_go_on(web1, database):
    """The program's own check passes; what fails is the start itself."""
    unit = f"postgresql@{database.version}-main"
    drop_in = f"/run/systemd/system/{unit}.service.d/broken.conf"
    web1.check_output(
        f"mkdir -p $(dirname {drop_in}) && printf '[Service]\\nExecStartPre=/bin/false\\n' "
        f">{drop_in} && systemctl daemon-reload"
    )
    try:
        failed = web1.run("pergola-postgresql restart")
    finally:
        web1.check_output(f"rm {drop_in} && systemctl daemon-reload && systemctl restart {unit}")
    assert failed.rc == 1
    assert "PostgreSQL did not start again" in failed.stderr
    assert not web1.file("/run/probe/pause").exists
    active = "systemctl is-active 'probe@*.service'"
    wait_for("the slot runs", lambda: web1.run(active).rc == 0)
