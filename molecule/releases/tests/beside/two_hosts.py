"""Two servers of one application: all of them change, or none does."""

import re
import socket
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
import scenario
import testinfra
from losing import Catcher, Connection, asking, ended, to_its_end, verdicts
from scenario import INVENTORY, Server, address, wait_for

HOSTS = ("app1", "app2")
BAKE = 3  # seconds
# What an application may get wrong on one server only.
SICK = '    if os.environ.get("PROBE_SICK"):\n        raise RuntimeError("sick on purpose")\n'
READY = 'async def ready() -> dict[str, str]:\n    """Ready, unless told to be sick."""\n'


def on_app2(otherwise, there):
    """A setting that has another value on the second server."""
    return f"{{{{ {there!r} if inventory_hostname == 'app2' else {otherwise!r} }}}}"


class Pair:
    """The application on both servers, and what describes it."""

    def __init__(self, inventory, source, playbook):
        self.source, self.playbook = source, playbook
        self.servers = {
            name: Server(
                testinfra.get_host(f"ansible://{name}", ansible_inventory=INVENTORY, sudo=True),
                "pair",
            )
            for name in HOSTS
        }
        self.inventory = inventory

    def run(self, playbook, *arguments, fails=False, **more):
        """Run a playbook on both; return its words, without what wraps them."""
        book = f"playbooks/{playbook}.yml"
        done = self.playbook(book, *arguments, inventory=self.inventory, **more)
        assert (done.returncode != 0) == fails, done.stdout
        return re.sub(r"\s+", " ", done.stdout)

    def deploy(self, *arguments, **more):
        return self.run("deploy", "--tags=release", *arguments, **more)

    def live(self):
        return {name: server.live() for name, server in self.servers.items()}

    def migrated(self):
        """The releases whose migration ran on each server."""
        read = "cat /var/lib/pair/migrated 2>/dev/null || true"
        said = {name: server.host.run(read).stdout for name, server in self.servers.items()}
        return {name: text.split() for name, text in said.items()}

    def answers(self, name):
        """The release that a server's site answers with, whatever its certificate."""
        # Each server has a certificate authority of its own.
        with httpx.Client(verify=False, timeout=30, trust_env=False) as client:
            answer = client.get(
                f"https://{address(name)}/readyz",
                headers={"Host": "pair.test"},
                extensions={"sni_hostname": "pair.test"},
            )
        return answer.raise_for_status().json()["release"]

    def switched(self, name):
        """When a server's slots were last switched, by the clock that both have from their host."""
        link = "stat --format=%.9Y /srv/pair/slots/live"
        return float(self.servers[name].host.check_output(link))

    def is_whole(self, release):
        """Both serve a release, from one slot each, and no deploy is at work."""
        assert self.live() == dict.fromkeys(HOSTS, release)
        for name, server in self.servers.items():
            assert self.answers(name) == release
            assert server.host.run("test ! -e /run/pair/deploy.json").succeeded
            slot = server.slot()
            other = slot.replace("blue", "x").replace("green", "blue").replace("x", "green")
            until = time.monotonic() + 40
            while server.host.run(f"systemctl is-active --quiet {other}").succeeded:
                assert time.monotonic() < until, f"{other} of {name} still runs"
                time.sleep(0.5)
            failed = server.host.check_output("systemctl list-units --failed --plain --no-legend")
            assert failed == ""


@contextmanager
def cable_pulled(name):
    """A server without network; at the end it has it again, and answers."""
    scenario.testhosts("cut", name)
    try:
        yield
    finally:
        scenario.testhosts("join", name)
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection((address(name), 443), timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < until, f"{name} does not answer any more"
                time.sleep(0.5)


@pytest.fixture(scope="module")
def pair(probe, playbook, pair_inventory):
    """Both servers provisioned, with a first release."""
    probe.reset()
    source = (probe.path / "probe.py").read_text()
    head = "async def ready() -> dict[str, str]:\n"
    assert head in source
    probe.commit("probe.py", source.replace(head, READY + SICK), "Be sick when told so")
    pair = Pair(pair_inventory, probe, playbook)
    done = playbook("site.yml", inventory=pair.inventory)
    assert done.returncode == 0, done.stdout
    return pair


@pytest.fixture
def before(pair):
    """The release that both serve; a commit that nothing has seen yet is the next one."""
    live = pair.live()
    assert live["app1"] == live["app2"]
    pair.source.commit("note", str(time.time_ns()), "Another release")
    return live["app1"]


def test_one_server_is_switched_and_watched_then_the_other(pair, before):
    said = pair.deploy(app_bake_seconds=BAKE)

    after = pair.live()["app1"]
    assert after != before
    pair.is_whole(after)
    assert pair.switched("app2") - pair.switched("app1") > BAKE
    assert "switch, bake on app1" in said
    assert "switch, bake on app2" in said


def test_the_migration_ran_once_on_the_first_server(pair, before):
    del before
    then = pair.migrated()

    pair.deploy()

    assert pair.migrated() == {"app1": [*then["app1"], pair.live()["app1"]], "app2": then["app2"]}


def test_a_full_disk_on_one_stops_it_on_both_before_anything_else_happens(pair, before):
    migrated = pair.migrated()

    said = pair.deploy(fails=True, release_disk_free_mb=on_app2(500, 10**8))

    assert "pair on app2: /srv/pair has" in said
    assert "this release needs 10" in said
    assert "phase: prepare" in said
    assert f"live now: {before}" in said
    assert pair.migrated() == migrated, "it was migrated although one server could not prepare"
    pair.is_whole(before)


def test_a_release_that_is_sick_on_one_stops_the_switch_on_both(pair, before):
    switched = {name: pair.switched(name) for name in HOSTS}

    said = pair.deploy(fails=True, app_environment={"PROBE_SICK": on_app2("", "yes")})

    assert "pair on app2: " in said
    assert "did not become ready" in said
    assert "sick on purpose" in said
    assert "The deploy of " in said
    assert {name: pair.switched(name) for name in HOSTS} == switched
    pair.is_whole(before)
    ledgers = {name: server.ledger()[-1] for name, server in pair.servers.items()}
    assert ledgers["app2"]["phase"] == "gate"
    assert ledgers["app1"]["phase"] == "other host"
    assert ledgers["app1"]["reason"].startswith("pair on app2: ")


def test_a_server_that_is_switched_goes_back_when_a_later_one_fails(pair, before):
    switched = pair.switched("app1")
    command = on_app2("python worker.py pair", "false")

    said = pair.deploy(fails=True, app_processes=[{"name": "worker", "command": command}])

    assert "the process pair.worker." in said
    assert "did not stay up" in said
    assert pair.switched("app1") > switched, "app1 never served the new one"
    pair.is_whole(before)
    for server in pair.servers.values():
        assert server.ledger()[-1]["outcome"] == "returned"
        wanted = "find /etc/systemd/system -name 'pair.*' -type l"
        assert server.host.check_output(wanted) == "", "the worker would start at the next boot"
    assert pair.servers["app1"].host.run("pgrep --full 'worker[.]py pair'").rc != 0


def test_a_release_that_fails_on_the_first_is_never_tried_on_the_second(pair, before):
    switched = pair.switched("app2")
    command = on_app2("false", "python worker.py pair")

    pair.deploy(fails=True, app_processes=[{"name": "worker", "command": command}])

    assert pair.switched("app2") == switched
    assert pair.servers["app1"].ledger()[-1]["outcome"] == "returned"
    assert pair.servers["app2"].ledger()[-1]["outcome"] == "refused"
    pair.is_whole(before)


def test_a_server_that_cannot_be_reached_stops_the_deploy(pair, before):
    app1 = pair.servers["app1"]
    lines, kept = len(app1.ledger()), app1.kept()
    with cable_pulled("app2"):
        pair.deploy(fails=True)
    pair.is_whole(before)
    assert (len(app1.ledger()), app1.kept()) == (lines, kept)


def test_a_server_that_is_lost_half_way_brings_the_other_back(pair, before):
    switched = pair.switched("app1")
    with ThreadPoolExecutor(1) as pool:
        deploy = pool.submit(pair.deploy, fails=True, app_bake_seconds=15)
        until = time.monotonic() + 120
        while pair.switched("app1") == switched and not deploy.done():
            assert time.monotonic() < until, "app1 was not switched"
            time.sleep(0.5)
        with cable_pulled("app2"):
            said = deploy.result()

    (verdict,) = verdicts(said)
    assert " has an unknown outcome. app2: could not be reached again within 5 s" in verdict
    assert f"app1 serves {before} app2 does not answer, so what it serves is unknown" in verdict
    assert pair.answers("app1") == pair.answers("app2") == before
    assert pair.servers["app1"].ledger()[-1]["outcome"] == "returned"
    # What app2 could not be told is made up for by the next deploy.
    pair.deploy()
    after = pair.live()["app1"]
    assert after != before
    pair.is_whole(after)


@pytest.mark.parametrize("hooked", [False, True], ids=["without hooks", "with hooks"])
def test_servers_whose_connections_are_lost_in_every_phase_change_together(
    pair, before, hooked, tmp_path
):
    app1, app2 = (server.host for server in pair.servers.values())
    losses = {"prepare": app2, "migrate": app1, "gate": app2}
    losses |= dict.fromkeys(("switch", "bake", "drain"), app2)
    more = {"app_migrate_command": "sleep 2", "app_bake_seconds": BAKE}
    if hooked:
        more["release_hooks_dir"] = str(tmp_path)
        for phase in losses:
            (tmp_path / f"before_{phase}.yml").write_text("- ansible.builtin.meta: noop\n")
    catchers = {host: Catcher(host, "pair", flipped=False) for host in (app1, app2)}
    with tempfile.TemporaryDirectory() as folder:  # a socket's path is short
        connection = Connection(folder)
        caught = {
            host: catcher.prepare([phase for phase in losses if losses[phase] is host])
            for host, catcher in catchers.items()
        }
        run = pair.playbook.start(
            "playbooks/deploy.yml",
            "--tags=release",
            inventory=pair.inventory,
            **{**more, **connection.settings, "release_reconnect_seconds": 60},
        )
        try:
            with to_its_end(run):
                for phase, host in losses.items():
                    caught[host](phase)
                    connection.cut()  # to both
                    waiting = asking(host, "pair")
                    wait_for(
                        "the run's return",
                        lambda: run.poll() is not None or asking(host, "pair") > waiting,  # noqa: B023
                    )
                    assert run.poll() is None, ended(run)
                    host.check_output("rm /run/caught")
                code, said = ended(run)
        finally:
            for catcher in catchers.values():
                catcher.end()
    after = pair.live()["app1"]
    assert code == 0, said
    assert after != before
    assert said.count(f"{after} is live on app1, app2.") == 1
    pair.is_whole(after)
    for server in pair.servers.values():
        assert [line["outcome"] for line in server.ledger() if line["to"] == after] == ["live"]


def test_schedules_run_on_the_first_server_only_and_go_with_a_rollback(pair, before):
    pair.deploy(
        app_schedules=[
            {"name": "night", "command": "python job.py night 0", "on_calendar": "03:00"}
        ]
    )

    after = pair.live()["app1"]
    assert after != before
    pair.is_whole(after)
    active = "systemctl is-active pair.night.timer"
    assert pair.servers["app1"].host.run(active).stdout.strip() == "active"
    assert pair.servers["app2"].host.run(active).stdout.strip() == "inactive"

    pair.run("rollback")

    pair.is_whole(before)
    for server in pair.servers.values():
        assert server.ledger()[-1]["action"] == "rollback"
        assert server.host.run("ls /etc/systemd/system/pair.*").rc != 0


def test_a_rollback_goes_to_the_same_release_on_both(pair, before):
    """Also when one of them was alone for a while, and would choose another one by itself."""
    pair.deploy()
    first = pair.live()["app1"]
    pair.source.commit("note", str(time.time_ns()), "For one server only")
    pair.deploy("--limit=app2")
    alone = pair.live()["app2"]
    assert alone not in (first, before)
    pair.source.commit("note", str(time.time_ns()), "For both again")
    pair.deploy()

    pair.run("rollback")

    pair.is_whole(first)


def test_a_second_run_changes_nothing(pair, before):
    live = pair.live()
    pair.source.reset(before.partition("-")[0])
    assert "changed=0" in pair.deploy()
    assert pair.live() == live
