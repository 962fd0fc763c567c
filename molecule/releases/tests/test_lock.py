"""One deploy at a time: who is refused, and what a lock ends with."""

import json
import os
import re
import signal
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import scenario
import testinfra
from scenario import INVENTORY, PROJECT, said, wait_for

HOME = "/srv/probe"
LOCK = "/run/probe/deploy.json"
LIMIT = 120
ELSEWHERE = (
    f"{HOME}/bin/release --who=grace@example.org --run=elsewhere/1/1 --alive=elsewhere/1/1 do gate "
)

HOOK = """\
- name: Wait until the test says so
  ansible.builtin.wait_for: {{path: {path}, timeout: 55, sleep: 1}}
  delegate_to: localhost
  become: false
"""


def descendants(process):
    """A process and all that it started, the oldest first."""
    found = [process]
    with suppress(FileNotFoundError):
        for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
            found += descendants(int(child))
    return found


def lock_of(server):
    file = server.host.file(LOCK)
    return json.loads(file.content_string) if file.exists else {}


@pytest.fixture(scope="module")
def live(probe, server, deploy):
    """A good release, and the lock free again whatever a test left behind."""
    probe.reset()
    deploy(probe.commit("note", "lock", "A release before locks"))
    yield server.live()
    server.host.check_output(f"{HOME}/bin/release unlock")
    probe.reset()
    deploy(probe.commit("note", "lock", "A release after locks"))


@pytest.fixture
def at_work(live, probe, server, playbook, tmp_path):
    """A deploy that waits between two phases until it is told to go on."""

    @contextmanager
    def begin(message):
        hooks, go_on = tmp_path / "hooks", tmp_path / "go-on"
        hooks.mkdir(exist_ok=True)
        (hooks / "before_gate.yml").write_text(HOOK.format(path=go_on))
        go_on.unlink(missing_ok=True)
        probe.commit("note", message, message)
        settings = {"app_source": str(probe.path), "app_version": "HEAD"}
        process = playbook.start(
            "playbooks/deploy.yml", "--tags=release", **settings, release_hooks_dir=str(hooks)
        )
        process.go_on = go_on.touch
        try:
            # A phase at work holds the kernel's lock too; between two there is the file alone.
            free = f'flock --nonblock /run/probe/.lock grep -q \'"phase": "migrate"\' {LOCK}'
            wait_for("a wait between two phases", lambda: server.host.run(free).succeeded)
            yield process
        finally:
            go_on.touch()
            if process.poll() is None:
                process.communicate(timeout=LIMIT)

    return begin


def kill(process):
    """The control node goes out: Ansible, its forks, and their SSH."""
    for number in descendants(process.pid):
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_the_second_of_two_deploys_is_refused_and_told_of_the_first(
    at_work, server, deploy, playbook, probe
):
    who = subprocess.check_output(["git", "config", "user.email"], cwd=PROJECT, text=True).strip()
    with at_work("The first of two deploys") as first:
        held = lock_of(server)
        done = deploy(fails=True)
        by_hand = server.host.run(f"{HOME}/bin/release rollback")
        first.go_on()
        output, _ = first.communicate(timeout=LIMIT)

    release = held["shared"]["release"]
    told = f"{who} is at work on probe since {held['since']}: deploy of {release}, now in"
    assert told in said(done)
    assert "phase: lock" in said(done)
    assert f"sudo {HOME}/bin/release unlock" in said(done)
    assert not by_hand.succeeded
    assert told in by_hand.stderr
    assert first.returncode == 0, output
    assert server.live() == release, "the second one disturbed the first"
    assert not server.host.file(LOCK).exists


def test_the_lock_of_a_killed_control_node_is_passed_over_at_once(at_work, server, probe, deploy):
    with at_work("A deploy whose control node dies between phases") as first:
        kill(first)
        assert lock_of(server)["phase"] == "migrate", "the dead run left no lock to pass over"

        deploy(probe.commit("note", "next", "The deploy after one that died"))

    assert server.live().startswith(probe.git("rev-parse", "--short=12", "HEAD"))
    assert not server.host.file(LOCK).exists


def test_a_phase_that_a_killed_control_node_left_at_work_is_waited_for(
    live, server, probe, playbook, deploy, environment
):
    probe.commit("note", "at work", "A deploy whose control node dies in a phase")
    settings = {"app_source": str(probe.path), "app_version": "HEAD"}
    first = playbook.start(
        "playbooks/deploy.yml",
        "--tags=release",
        **settings,
        app_migrate_command="sleep 20",
    )
    wait_for("a migration", lambda: lock_of(server).get("phase") == "migrate")
    kill(first)

    deploy(probe.commit("note", "next", "The deploy after one that died in a phase"))

    assert server.live().startswith(probe.git("rev-parse", "--short=12", "HEAD"))
    assert not server.host.file(LOCK).exists
    idle = {"blue": "green", "green": "blue"}[server.status()["slot"]]
    wait_for("the old slot's end", lambda: not server.host.service(f"probe@{idle}").is_running)


def test_a_lock_of_another_control_node_ends_with_its_time(live, server, deploy):
    deploy(release_lock_seconds=20, app_environment={"PROBE_DATABASE": "probe", "PROBE_L": "1"})
    server.host.check_output(ELSEWHERE + server.live())
    rollback = f"{HOME}/bin/release rollback {server.live()}"
    refused = server.host.run(rollback)
    assert re.search(
        rf"grace@example.org is at work on probe since .*: deploy of {server.live()}, "
        "now in phase gate",
        refused.stderr,
    )

    wait_for("the end of the lock", lambda: server.host.run(rollback).succeeded)

    assert not server.host.file(LOCK).exists


def test_a_lock_of_another_control_node_ends_after_its_connection(live, server, deploy):
    deploy(release_reconnect_seconds=5, app_environment={"PROBE_DATABASE": "probe", "PROBE_L": "3"})
    command = f"sudo {ELSEWHERE}{server.live()} && echo held && sleep 60"
    ssh = ["ssh", "-S", "none", "-F", str(scenario.RUN / "ssh_config"), "web1", command]
    runner = subprocess.Popen(ssh, stdout=subprocess.PIPE, text=True)
    assert any("held" in line for line in runner.stdout)
    rollback = f"{HOME}/bin/release rollback {server.live()}"
    server.host.check_output("sleep 8")
    refused = server.host.run(rollback)

    runner.kill()
    runner.communicate()

    assert "grace@example.org is at work on probe" in refused.stderr
    wait_for("the end of the lock", lambda: server.host.run(rollback).succeeded)
    assert not server.host.file(LOCK).exists


def test_a_deploy_waits_for_the_end_of_another_when_that_is_wanted(
    at_work, server, playbook, probe
):
    with at_work("The first of two, which the second waits for") as first:
        held = lock_of(server)
        settings = {"app_source": str(probe.path), "app_version": "HEAD", "release_lock_wait": 300}
        environment = {"PROBE_DATABASE": "probe", "PROBE_L": "4"}
        second = playbook.start(
            "playbooks/deploy.yml", "--tags=release", app_environment=environment, **settings
        )
        waits = "pgrep --full -- '--wait=300 .* do '"
        wait_for("the second one's call", lambda: server.host.run(waits).succeeded)
        assert lock_of(server)["run"] == held["run"]
        first.go_on()
        outputs = [each.communicate(timeout=LIMIT)[0] for each in (first, second)]

    assert (first.returncode, second.returncode) == (0, 0), outputs
    last = [line["to"] for line in server.ledger() if line["outcome"] == "live"][-2:]
    assert last == [held["shared"]["release"], server.live()]
    assert len(set(last)) == 2


def test_a_lock_can_be_broken(live, server, deploy):
    # With the usual time limit again, which is far away.
    deploy(app_environment={"PROBE_DATABASE": "probe", "PROBE_L": "2"})
    server.host.check_output(ELSEWHERE + server.live())
    rollback = f"{HOME}/bin/release rollback {server.live()}"
    refused = server.host.run(rollback)
    command = re.search(r"sudo (\S+ unlock)", refused.stderr)[1]

    was = json.loads(server.host.check_output(command))

    assert was["changed"]
    assert was["was"]["who"] == "grace@example.org"
    assert server.host.run(rollback).succeeded


def test_a_reboot_ends_a_lock(live, server, deploy):
    server.host.check_output(ELSEWHERE + server.live())
    scenario.testhosts("kill", "web1")
    scenario.testhosts("start", "web1")

    def is_back():
        with suppress(RuntimeError, OSError):
            web1 = testinfra.get_host("ansible://web1", ansible_inventory=INVENTORY, sudo=True)
            return web1.run("systemctl is-active probe@blue probe@green").stdout.count("active") > 1
        return False

    wait_for("the boot", is_back)
    assert server.host.run(f"{HOME}/bin/release rollback {server.live()}").succeeded
