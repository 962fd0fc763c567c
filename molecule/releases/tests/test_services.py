"""A Valkey of the application's own: who reaches it, what restarts it, and what stays."""

import json
import shlex
from functools import partial

import pytest
import scenario
from scenario import Server

HOME = "/srv/store"
UNIT = "store@valkey.service"
SOCKET = "/run/store/valkey/valkey.sock"
DATA = f"{HOME}/services/valkey"
WORKER = {"name": "worker", "command": "printenv VALKEY_URL >$STATE_DIRECTORY/url; exec sleep 600"}
# Valkey takes a command as a line.
ASK = """
import os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(os.environ["REDIS_URL"].removeprefix("unix://"))
connection.sendall(" ".join(sys.argv[1:]).encode() + b"\\r\\n")
print(connection.recv(4096).decode().split()[-1])
"""


@pytest.fixture(scope="module")
def run(probe, playbook, tmp_path_factory):
    """Run a playbook on an application that has a Valkey, without a site."""
    probe.reset()
    settings = {
        "app_name": "store",
        "app_web": False,
        "app_source": str(probe.path),
        "app_databases": [],
        "app_processes": [WORKER],
        "app_services": ["valkey"],
    }
    groups = {"app": ["web1"], "db": ["web1"]}
    inventory = scenario.described(tmp_path_factory.mktemp("store"), groups, settings)

    yield partial(scenario.called, playbook, inventory)
    probe.reset()


@pytest.fixture(scope="module")
def planned(run, web1):
    """What a plan said, before anything of it was there."""
    told = run("deploy", "--check", "--diff")
    assert not web1.file(f"/etc/systemd/system/{UNIT}").exists
    return told


@pytest.fixture(scope="module")
def first(run, planned):
    del planned
    return run("deploy")


@pytest.fixture(scope="module")
def ask(first, web1):
    """What Valkey answers to a command of the live release."""
    del first
    command = f"python3 -c {shlex.quote(ASK)}"
    return lambda words: web1.check_output(
        f"{HOME}/bin/release run sh -euc {shlex.quote(f'{command} {words}')}"
    )


def since(web1):
    return web1.check_output(f"systemctl show --property=InvocationID --value {UNIT}")


def test_what_is_no_service_is_refused_before_the_first_change(run, web1):
    for wanted, says in (
        (["redis"], "app_services: there is no service redis; there is valkey"),
        ([{"name": "valkey", "memory_max": "1"}], "memory_max '1' must be a size"),
    ):
        assert says in run("deploy", fails=True, app_services=wanted)
    assert not web1.file(HOME).exists


def test_the_plan_says_what_comes(planned):
    assert f"{UNIT} starts" in planned
    assert "app_services: valkey" in planned, "the package, with its reason"
    assert "+ REDIS_URL" in planned


def test_no_instance_for_the_whole_server_comes_with_the_package(first, web1):
    del first
    assert not web1.check_output("ss -Hltn 'sport = 6379'")
    for unit in ("valkey-server", "redis-server"):
        assert web1.run(f"systemctl is-active {unit}").rc != 0


def test_all_that_runs_of_the_application_reaches_it(ask, web1):
    assert ask("SET a 1") == "+OK"
    assert ask("GET a") == "1"
    assert web1.file("/var/lib/store/url").content_string.strip() == f"unix://{SOCKET}"
    account = web1.check_output(f"ps -o user= -p $(systemctl show -P MainPID {UNIT})")
    assert account == "store-store"


def test_no_other_account_does(ask, web1):
    assert ask("PING") == "+PONG"
    script = shlex.quote(ASK)
    for account in ("nobody", "probe", "caddy", "store-build"):
        done = web1.run(f"runuser -u {account} -- env REDIS_URL={SOCKET} python3 -c {script} PING")
        assert "PermissionError" in done.stderr, account


def test_it_sees_no_network_and_writes_nowhere_else(ask, web1):
    ask("CONFIG SET dir /tmp")
    assert ask("CONFIG GET dir") == "/"
    pid = web1.check_output(f"systemctl show -P MainPID {UNIT}")
    assert web1.check_output(f"nsenter -t {pid} -n ip -brief link | cut -d' ' -f1") == "lo"
    exposure = web1.check_output(f"systemd-analyze security {UNIT} | tail -1")
    assert float(exposure.split(":")[1].split()[0]) < 2


def test_neither_a_deploy_nor_a_rollback_restarts_it(ask, run, probe, web1):
    before = since(web1)
    ask("SET kept yes")
    probe.commit("note.txt", "2", "Another release")
    run("deploy")
    run("rollback")
    assert since(web1) == before
    assert ask("GET kept") == "yes"


def test_the_status_looks_at_it(ask, web1):
    del ask
    web1.run("systemctl start pergola-monitoring")
    names = {one["name"] for one in json.loads(web1.run("pergola status --json").stdout)["checks"]}
    assert {f"unit {UNIT}", "valkey store"} <= names


def test_it_keeps_to_its_limit(ask, run, web1):
    run("deploy", app_services=[{"name": "valkey", "memory_max": "8M"}])
    assert ask("CONFIG GET maxmemory") == str(8 * 2**20)
    limit = web1.check_output(f"systemctl show --property=MemoryMax --value {UNIT}")
    assert int(limit) == 80 * 2**20


def test_what_is_persistent_outlives_a_kill_and_is_told_to_be_in_no_backup(ask, run, web1):
    kept = [{"name": "valkey", "persistent": True}]
    planned = run("deploy", "--check", app_services=kept)
    assert f"{UNIT} restarts with other settings" in planned
    run("deploy", app_services=kept)
    ask("SET durable yes")
    web1.check_output("sleep 2")
    before = since(web1)
    web1.check_output(f"systemctl kill --signal=KILL {UNIT}; sleep 2")
    assert since(web1) != before
    assert ask("GET durable") == "yes"
    told = run("deploy", app_services=kept)
    assert "that are in no backup" in told
    assert DATA in told
    assert web1.check_output(f"stat -c '%a %U' {DATA}") == "700 store-store"


def test_taken_from_the_list_it_stops_and_its_data_stays(ask, run, web1):
    del ask
    run("deploy", app_services=[], app_processes=[])
    assert web1.run(f"systemctl is-active {UNIT}").rc == 0, "the release before could be live still"
    told = run("deploy", app_services=[], app_processes=[])
    assert f"{DATA} on web1: nothing in app_services keeps its data there any more" in told
    assert not web1.file(f"/etc/systemd/system/{UNIT}").exists
    assert web1.run(f"systemctl is-active {UNIT}").rc != 0
    assert web1.check_output(f"find {DATA} -type f")
    run("deploy", app_services=[{"name": "valkey", "persistent": True}])
    assert web1.run(f"systemctl is-active {UNIT}").rc == 0


def test_the_removal_takes_it_with_its_data(ask, run, web1):
    assert ask("GET durable") == "yes"
    assert "its services with their data" in run("remove", fails=True)
    run("remove", confirm="store")
    assert not web1.file(HOME).exists
    assert not web1.file("/run/store").exists
    assert not web1.check_output("ls /etc/systemd/system | grep ^store || true")
    assert not web1.check_output("getent passwd store-store || true")
    assert Server(web1).status()["state"] == "active", "its neighbour goes on"
