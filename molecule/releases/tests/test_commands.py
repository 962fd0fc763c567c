"""What the environment, secret files and commands of a release are on a server."""

import shlex

import pytest

CONTENT = "a secret file of the tests"
SLEEP = {
    "name": "shell",
    "command": 'cd /tmp && cat "$PROBE_FILE" >"$STATE_DIRECTORY/shell-$$"; sleep 600',
    "count": 2,
    "memory_max": "512M",
    "stop_signal": "SIGINT",
}
YEARLY = {
    "name": "yearly",
    "command": 'cd .. && { cat "$PROBE_FILE"; pwd -P; } >"$STATE_DIRECTORY/yearly"',
    "on_calendar": "30 3 1 1 *",
    "time_zone": "Europe/Vienna",
}


@pytest.fixture(scope="module")
def live(probe, server, deploy, environment, web1):
    """A release that has all of it."""
    web1.check_output("rm -f /var/lib/probe/shell-* /var/lib/probe/yearly")
    probe.reset()
    probe.commit("note", "commands", "Commands of a shell")
    deploy(
        app_credentials={"google.json": {"content": CONTENT, "variable": "PROBE_FILE"}},
        app_processes=[SLEEP],
        app_schedules=[YEARLY],
        **environment(PROBE_LIST=["a", 1], PROBE_LINES="one\ntwo", PROBE_NULL=None),
    )
    return server.status()


@pytest.fixture(scope="module")
def inside(live, web1):
    """What a command in the live release says."""
    return lambda command: web1.check_output(
        f"/srv/probe/bin/release run sh -euc {shlex.quote(command)}"
    )


def test_values_arrive_and_one_without_a_value_is_not_set(inside):
    assert inside('echo "$PROBE_LIST"') == '["a", 1]'
    assert inside('echo "$PROBE_LINES"') == "one\ntwo"
    assert inside("echo ${PROBE_NULL-not set}") == "not set"


def test_a_client_needs_no_host_name_or_user_of_the_database(inside):
    assert inside("psql -XAtc 'select current_user, current_database()'") == "probe|probe"
    assert inside("psql -XAt -d postgresql:/// -c 'select 42'") == "42"


def test_a_secret_file_is_where_its_variable_says_in_every_unit(live, inside, web1):
    assert inside('cat "$PROBE_FILE"') == CONTENT
    unit = f"probe@{live['slot']}.service"
    process = web1.check_output(f"systemctl show --property=MainPID --value {unit}")
    environment = web1.check_output(f"tr '\\0' '\\n' </proc/{process}/environ").splitlines()
    (path,) = [line.partition("=")[2] for line in environment if line.startswith("PROBE_FILE=")]
    assert web1.file(path).content_string == CONTENT
    assert web1.check_output("cat /var/lib/probe/shell-*") == 2 * CONTENT


def test_each_process_of_several_is_the_program_itself(live, web1):
    for name in ("shell", "shell-2"):
        show = f"systemctl show --property=%s --value probe.{name}.{live['slot']}.service"
        assert web1.check_output(show % "ActiveState") == "active"
        assert web1.check_output(show % "MemoryMax") == str(512 * 2**20)
        assert web1.check_output(show % "KillSignal") == "2"
        process = web1.check_output(show % "MainPID")
        assert web1.check_output(f"cat /proc/{process}/comm") == "sleep"


def test_a_schedule_of_cron_s_form_runs_in_its_time_zone_and_in_its_directory(live, web1):
    show = "systemctl show --property=TimersCalendar --value probe.yearly.timer"
    assert "*-01-01 03:30:00 Europe/Vienna" in web1.check_output(show)
    web1.check_output("systemctl start probe.yearly.service")
    written = web1.check_output("cat /var/lib/probe/yearly")
    assert written == f"{CONTENT}/srv/probe/releases/{live['live']}"
