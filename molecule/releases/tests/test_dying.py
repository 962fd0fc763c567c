"""A run that dies in any phase: one release serves, the old or the new, and the next run converges.

It dies of three things: the control node's processes are killed, the network is cut, the server
loses its power. The program on the server is stopped in the phase in question until that happened,
so that each phase is hit, however short it is. After the first two it goes on: nobody is there to
tell it otherwise.
"""

import contextlib
import socket
import tempfile

import pytest
import scenario
from listener import Listener
from losing import Catcher, Connection, asking, ended, kill, to_its_end, verdicts
from scenario import wait_for

PHASES = ("prepare", "migrate", "gate", "switch", "bake", "drain")
WORKER = {"name": "worker", "command": "python worker.py dying"}
SETTINGS = {
    "app_migrate_command": "python migrate.py && sleep 1",
    "app_bake_seconds": 2,
    "app_processes": [WORKER],
}


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

    def run(case, **more):
        more = {**SETTINGS, **environment(PROBE_CASE=case), **more}
        arguments = {"app_source": str(probe.path), "app_version": "HEAD", **more}
        return playbook.start("playbooks/deploy.yml", "--tags=release", **arguments)

    return run


@pytest.fixture
def catch(web1):
    """Have the program stopped in phases; what is returned waits until it is in one."""
    catcher = Catcher(web1, "probe")
    yield lambda *phases: catcher.prepare(phases)
    catcher.end()


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
    # Since version 255 systemd says so of each unit, when it has not reread them after an enable.
    assert web1.check_output("systemctl show --property=NeedDaemonReload caddy").endswith("=no")
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
    wait_for("the next one's turn", lambda: again.poll() is not None or asking(web1) == 2)
    assert again.poll() is None, again.communicate()
    web1.check_output("rm /run/caught")
    output, _ = again.communicate(timeout=600)
    assert again.returncode == 0, output
    assert site.get("/env?name=CASE").text == case
    assert [line["to"] for line in server.ledger()].count(server.live()) == 1


@pytest.fixture
def connection():
    with tempfile.TemporaryDirectory() as folder:  # a socket's path is short
        yield Connection(folder)


@pytest.fixture
def told():
    listener = Listener()
    yield listener
    listener.end()


@pytest.fixture
def hooks(tmp_path):
    """Hooks that do nothing, before every phase: each of them is a call of its own."""
    for phase in PHASES:
        (tmp_path / f"before_{phase}.yml").write_text("- ansible.builtin.meta: noop\n")
    return tmp_path


@pytest.mark.parametrize("hooked", [False, True], ids=["in one call", "in six calls"])
def test_a_run_that_loses_its_connection_in_every_phase_comes_back_and_succeeds(
    first, hooked, web1, server, site, start, catch, load, connection, told, hooks
):
    case = f"lost in every phase {hooked}"
    old = server.live()
    more = {"release_hooks_dir": str(hooks)} if hooked else {}
    with load(rate=20) as running:
        caught = catch(*PHASES)
        run = start(case, **connection.settings, **told.settings, **more)
        with to_its_end(run):
            for phase in PHASES:
                caught(phase)
                connection.cut()
                # Those that wait for the program stay, though nobody hears them any more.
                before = asking(web1)
                came_back = lambda: run.poll() is not None or asking(web1) > before  # noqa: B023, E731
                wait_for("the run's return", came_back)
                assert run.poll() is None, ended(run)
                web1.check_output("rm /run/caught")
            code, said = ended(run)
        seen = running.end()
    assert code == 0, said
    assert "failed=0" in said
    assert server.live() != old
    assert said.count(f"{server.live()} is live on web1.") == 1
    assert site.get("/env?name=CASE").text == case
    lines = [line for line in server.ledger() if line["to"] == server.live()]
    assert [line["outcome"] for line in lines] == ["live"]
    assert not web1.file("/run/probe/deploy.json").exists
    assert seen.failed == 0, seen.first_failures
    assert [notice["event"] for _, notice in told.posts] == ["deploy"]
    assert len(told.mails) == 1


def test_a_run_that_loses_its_connection_in_a_hook_goes_back_and_says_so(
    first, web1, server, site, start, connection, told, tmp_path
):
    old = server.live()
    (tmp_path / "before_bake.yml").write_text(
        "- ansible.builtin.command: sh -c 'touch /run/hooked; sleep 20'\n"
    )
    (tmp_path / "on_failure.yml").write_text(
        "- ansible.builtin.copy: {content: '{{ hook.reason }}', dest: /run/hooked}\n"
    )
    hooked = {"release_hooks_dir": str(tmp_path)}
    run = start("lost in a hook", **connection.settings, **told.settings, **hooked)
    with to_its_end(run):
        wait_for("the hook", lambda: run.poll() is not None or web1.file("/run/hooked").exists)
        connection.cut()
        code, said = ended(run)
    reason = web1.check_output("cat /run/hooked; rm /run/hooked")
    assert code != 0
    (verdict,) = verdicts(said)
    assert verdict.endswith(
        f"failed. the connection to a server was lost in a hook web1 serves {old}"
    )
    assert reason == "the connection to a server was lost in a hook"
    assert [notice["event"] for _, notice in told.posts] == ["failed"]
    assert server.live() == site.release() == old
    assert server.ledger()[-1]["outcome"] == "returned"
    assert not web1.file("/run/probe/deploy.json").exists


def test_a_run_that_comes_back_hears_that_its_release_was_refused_meanwhile(
    first, web1, server, start, catch, connection
):
    old = server.live()
    caught = catch("gate")
    run = start("refused meanwhile", app_asgi="probe:no_such_app", **connection.settings)
    with to_its_end(run):
        caught()
        scenario.testhosts("cut", "web1")
        try:  # longer than the run's own patience with a connection
            with pytest.raises(OSError, match=r"timed out|No route|unreachable"):
                socket.create_connection((scenario.address("web1"), 22), 8)
        finally:
            scenario.testhosts("join", "web1")
        code, said = ended(run)
    assert code != 0
    assert "lost | Wait until the server answers again" in said
    assert "did not become ready" in said
    assert "phase: gate of release" in said
    assert f"web1 serves {old}" in said
    assert "unknown outcome" not in said
    assert server.live() == old
    assert server.ledger()[-1]["outcome"] == "refused"


def test_a_server_that_stays_away_is_never_told_as_the_opposite_of_what_is(
    first, web1, server, site, start, catch, connection, told
):
    case = "stays away"
    old = server.live()
    caught = catch("switch")
    away = {"release_reconnect_seconds": 1}
    run = start(case, **connection.settings, **told.settings, **away)
    with to_its_end(run):
        caught()
        scenario.testhosts("cut", "web1")
        try:
            code, said = ended(run)
        finally:
            scenario.testhosts("join", "web1")
    # The program went on by itself.
    wait_for("the deploy's end", lambda: not web1.file("/run/probe/deploy.json").exists)
    assert server.live() != old
    assert site.get("/env?name=CASE").text == case
    assert code != 0
    every = "prepare, migrate, gate, switch, bake, drain"
    assert verdicts(said) == [
        f"The deploy of {server.live()} has an unknown outcome. web1: could not be reached again "
        f"within 1 s, its connection was lost in {every} web1 does not answer, so what it serves "
        f"is unknown; what was at work there goes on to its end: {every}"
    ]
    assert "playbooks/releases.yml" in said
    ((_, notice),) = told.posts
    assert notice["event"] == "unknown"
    assert "failed" not in notice["text"]


def test_a_run_whose_server_restarted_begins_again_there(
    first, web1, server, site, start, catch, connection, told
):
    case = "restarted"
    caught = catch("switch")
    run = start(case, **connection.settings, **told.settings)
    with to_its_end(run):
        caught()
        scenario.testhosts("kill", "web1")
        scenario.testhosts("start", "web1")
        code, said = ended(run)
    assert code == 0, said
    assert f"{server.live()} is live on web1." in said
    assert site.get("/env?name=CASE").text == case
    assert server.ledger()[-1]["outcome"] == "live"
    assert not web1.file("/run/probe/deploy.json").exists
    assert [notice["event"] for _, notice in told.posts] == ["deploy"]
