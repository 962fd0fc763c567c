"""A run that dies in any phase: one release serves, the old or the new, and the next run converges.

It dies of three things: the control node's processes are killed, the network is cut, the server
loses its power. The program on the server is stopped in the phase in question until that happened,
so that each phase is hit, however short it is. After the first two it goes on: nobody is there to
tell it otherwise.
"""

import contextlib
import os
import signal
import socket
from pathlib import Path

import pytest
import scenario
from scenario import wait_for

PHASES = ("prepare", "migrate", "gate", "switch", "bake", "drain")
# Deaths below are somewhere in the phase, not at its first instruction.
INTO_IT = {"prepare": 0.5, "migrate": 0.3, "gate": 0.3, "bake": 0.5}
WORKER = {"name": "worker", "command": "python worker.py dying"}
SETTINGS = {
    "app_migrate_command": "python migrate.py && sleep 1",
    "app_bake_seconds": 2,
    "app_processes": [WORKER],
}
# Stops the program in a phase until the file is removed, the network is gone, or the power.
CATCHER = """
import json, os, pathlib, signal, sys, time
phase, into = sys.argv[1], float(sys.argv[2])
flag = pathlib.Path("/srv/probe/live/green")
caught = pathlib.Path("/run/caught")
green = flag.exists()
while True:
    try:
        state = json.loads(pathlib.Path("/run/probe/deploy.json").read_text())
    except (FileNotFoundError, ValueError):
        state = {}
    if state.get("phase") == phase and (phase != "switch" or flag.exists() != green):
        break
    time.sleep(0.002)
time.sleep(into)
os.kill(state["pid"], signal.SIGSTOP)
caught.write_text(json.loads(pathlib.Path("/run/probe/deploy.json").read_text())["phase"])
carrier = pathlib.Path("/sys/class/net/host0/carrier")
while caught.exists() and carrier.read_text() == "1\\n":
    time.sleep(0.02)
os.kill(state["pid"], signal.SIGCONT)
"""


def descendants(pid):
    """A process and everything below it."""
    found = [pid]
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in path.read_text().split():
                found += descendants(int(child))
    return found


def kill(run):
    """Kill a run of ansible-playbook with all that it started, as a control node's death does."""
    for pid in descendants(run.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    run.wait()
    run.stdout.close()


def control_node_dies(host, run):
    kill(run)
    host.check_output("rm /run/caught")


def network_is_cut(host, run):
    scenario.testhosts("cut", "web1")
    try:
        kill(run)
    finally:
        scenario.testhosts("join", "web1")


def power_is_lost(host, run):
    scenario.testhosts("kill", "web1")
    kill(run)
    with pytest.raises(OSError, match=r"timed out|No route|unreachable"):
        socket.create_connection((scenario.address("web1"), 22), 0.5)
    scenario.testhosts("start", "web1")
    wait_for("a login", lambda: host.run("true").rc == 0)


DEATHS = [control_node_dies, network_is_cut, power_is_lost]


@pytest.fixture(scope="module")
def first(probe, deploy, server):
    """A good release, with a worker, that no run has died on yet."""
    probe.reset()
    probe.commit("note", "dying", "A release to come back to")
    deploy(**SETTINGS)
    yield server.live()
    deploy()


@pytest.fixture
def start(playbook, probe, environment):
    """Begin a deploy of another release of the same commit."""

    def run(case):
        more = {**SETTINGS, **environment(PROBE_CASE=case)}
        arguments = {"app_source": str(probe.path), "app_version": "HEAD", **more}
        return playbook.start("playbooks/deploy.yml", "--tags=release", **arguments)

    return run


@pytest.fixture
def catch(web1):
    """Have the program stopped in a phase; the function that is returned waits until it is."""

    def prepare(phase):
        web1.check_output("rm -f /run/caught")
        web1.check_output(
            "systemd-run --quiet --collect --unit=catcher python3 -c %s %s %s",
            CATCHER,
            phase,
            str(INTO_IT.get(phase, 0)),
        )

        def wait():
            caught = "cat /run/caught || ! systemctl is-active --quiet catcher"
            found = wait_for(f"the phase {phase}", lambda: web1.run(caught).stdout)
            assert found == phase, "the phase was over too soon to be caught in"

        return wait

    yield prepare
    web1.run("rm -f /run/caught; systemctl stop catcher")


def states(host, slot):
    """The state of a slot's units, and whether a boot starts them."""
    units = [f"probe@{slot}.socket", f"probe@{slot}.service", f"probe.worker.{slot}.service"]
    shown = host.check_output(
        f"systemctl show --property=ActiveState,UnitFileState {' '.join(units)}"
    )
    return [tuple(line.partition("=")[2] for line in part.split()) for part in shown.split("\n\n")]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("death", DEATHS, ids=lambda death: death.__name__)
def test_one_release_serves_after_a_death_and_the_next_run_converges(
    first, death, phase, web1, server, site, start, catch, load
):
    case = f"{death.__name__}-{phase}"
    old = server.live()
    with contextlib.ExitStack() as stack:
        # Nobody's requests come through a cut or a power loss.
        loaded = death is control_node_dies
        running = stack.enter_context(load(rate=20)) if loaded else None
        caught = catch(phase)
        run = start(case)
        try:
            caught()
            death(web1, run)
        finally:
            kill(run)
        answer = wait_for("an answer", lambda: site.get("/").raise_for_status())
        serves = answer.headers["x-release"]
        again = start(case)
        output, _ = again.communicate(timeout=600)
        assert again.returncode == 0, output
        seen = running.end() if running else None

    status = server.status()
    new = status["live"]
    print(f"{case}: {'the old' if serves == old else 'the new'} release served afterwards")
    assert serves in (old, new)
    assert new != old
    assert site.get("/env?name=CASE").text == case
    assert server.ledger()[-1]["to"] == new
    assert server.ledger()[-1]["outcome"] == "live"
    assert not web1.file("/run/probe/deploy.json").exists
    slot, idle = status["slot"], {"blue": "green", "green": "blue"}[status["slot"]]
    assert states(web1, slot) == [("active", "enabled")] * 3
    wait_for(
        "the idle slot's end",
        lambda: {state for state, _ in states(web1, idle)} <= {"inactive", "failed"},
    )
    assert "enabled" not in {enabled for _, enabled in states(web1, idle)}
    if seen:
        assert seen.failed == 0, seen.first_failures
        assert set(seen.releases) == {old, new}


def test_the_next_run_waits_for_what_a_dead_one_has_left_at_work(
    first, web1, server, site, start, catch
):
    case = "the next run waits"
    caught = catch("bake")
    run = start(case)
    try:
        caught()
    finally:
        kill(run)
    again = start(case)
    at_work = "pgrep --full --count '^/usr/bin/python3 -I /srv/probe/bin/release .* do '"
    wait_for(
        "the next one's turn",
        lambda: again.poll() is not None or web1.run(at_work).stdout.strip() == "2",
    )
    assert again.poll() is None, again.communicate()
    web1.check_output("rm /run/caught")
    output, _ = again.communicate(timeout=600)
    assert again.returncode == 0, output
    assert site.get("/env?name=CASE").text == case
    assert [line["to"] for line in server.ledger()].count(server.live()) == 1
