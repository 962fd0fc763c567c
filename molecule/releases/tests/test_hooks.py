"""Hooks around the phases, and who is told: seen from the hooks and from those who were told."""

import email
import json
import re
import socket
import time

import pytest
import scenario
import yaml
from conftest import SETTINGS
from listener import Listener

PHASES = ("prepare", "migrate", "gate", "switch", "bake", "drain")
LOG = "/var/tmp/hooks"
HANG = [{"name": "Hang", "ansible.builtin.command": "sleep 90"}]


def writes(name):
    """A hook that writes down what it was told, and which slot was live then."""
    told = f"printf '%s\\t%s\\t%s\\n' {name} \"$(readlink /srv/probe/slots/live)\" "
    command = told + "{{ hook | to_json | quote }} >>" + LOG
    return [{"name": f"Hook {name}", "ansible.builtin.shell": command}]


class Hooks:
    """The hooks of an environment, and what they wrote."""

    def __init__(self, folder, host):
        self.folder, self.host = folder, host
        folder.mkdir()

    def are(self, **hooks):
        """Let these be the hooks, and nothing be written yet."""
        for path in self.folder.iterdir():
            path.unlink()
        for name, tasks in hooks.items():
            (self.folder / f"{name}.yml").write_text(yaml.safe_dump(tasks))
        self.host.check_output(f"rm -f {LOG}")

    def wrote(self):
        """Name, live slot and variables of each hook that ran, in order."""
        lines = self.host.check_output(f"cat {LOG} 2>/dev/null || true").splitlines()
        rows = [line.split("\t") for line in lines]
        return [(name, slot, json.loads(told)) for name, slot, told in rows]


def nobody_there():
    """An address of the control node where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture(scope="module")
def environment_of_its_own(probe, server, tmp_path_factory):
    """The probe's inventory as a user would have it: inventory/<env>, hooks beside the hosts."""
    del server
    folder = tmp_path_factory.mktemp("hooked")
    settings = {**SETTINGS, "app_source": str(probe.path), "app_version": "HEAD"}
    return scenario.described(folder, {"app": ["web1"], "db": ["web1"]}, settings)


@pytest.fixture(scope="module")
def hooks(environment_of_its_own, web1):
    hooks = Hooks(environment_of_its_own.parent / "hooks", web1)
    yield hooks
    hooks.are()


@pytest.fixture
def told():
    listener = Listener()
    yield listener
    listener.end()


@pytest.fixture(scope="module")
def release(environment_of_its_own, playbook):
    """Deploy or roll back; returns what was said, in one line."""

    def run(action="deploy", *, fails=False, **more):
        tags = ["--tags=release"] if action == "deploy" else []
        book = f"playbooks/{action}.yml"
        done = playbook(book, *tags, inventory=environment_of_its_own, **more)
        assert (done.returncode != 0) == fails, done.stdout
        assert "a-secret-token" not in done.stdout
        return re.sub(r"\s+", " ", done.stdout)

    return run


@pytest.fixture(scope="module")
def first(probe, hooks, release, server):
    """A good release, the one to go back to."""
    probe.reset()
    probe.commit("note", "before the hooks", "Before the hooks")
    hooks.are()
    release()
    return server.live()


@pytest.fixture
def before(first, probe, server):
    """The live release; a commit that was never deployed is the next one."""
    del first
    probe.commit("note", str(time.time_ns()), "Another release")
    return server.live()


def test_every_hook_runs_in_its_place_and_is_told_what_happens(
    before, hooks, release, server, probe, told
):
    names = [f"{when}_{phase}" for phase in PHASES for when in ("before", "after")]
    hooks.are(**{name: writes(name) for name in names}, on_failure=writes("on_failure"))
    old_slot = server.status()["slot"]

    release(**told.settings)

    wrote = hooks.wrote()
    assert [name for name, _, _ in wrote] == names
    slots = {name: slot for name, slot, _ in wrote}
    assert slots["before_switch"] == old_slot
    assert slots["after_switch"] != old_slot
    for name, _, said in wrote:
        assert said == {
            "action": "deploy",
            "app": "probe",
            "release": server.live(),
            "commit": probe.git("rev-parse", "HEAD"),
            "actor": server.ledger()[-1]["who"],
            "run_url": "",  # of a CI run
            "phase": name.partition("_")[2],
            "hosts": ["web1"],
            "reason": "",
        }
    assert server.live() != before

    ((path, notice),) = told.posts
    assert path == "/a-secret-token"
    assert notice["event"] == notice["action"] == "deploy"
    assert (notice["release"], notice["hosts"]) == (server.live(), ["web1"])
    assert notice["text"].endswith("is live")
    (mail,) = told.mails
    assert mail["To"] == "ops@example.org"
    assert server.live() in str(
        email.header.make_header(email.header.decode_header(mail["Subject"]))
    )


def test_a_deploy_that_fails_runs_the_hook_of_failures_and_tells(
    before, hooks, release, server, told
):
    hooks.are(on_failure=writes("on_failure"), after_migrate=writes("after_migrate"))

    said = release(
        fails=True, app_migrate_command="echo broken on purpose; exit 3", **told.settings
    )

    ((name, _, hook),) = hooks.wrote()
    assert (name, hook["phase"]) == ("on_failure", "migrate")
    assert "the migration `echo broken on purpose; exit 3` of " in hook["reason"]
    assert server.live() == before
    ((_, notice),) = told.posts
    assert notice["event"] == "failed"
    assert "ended with 3" in notice["reason"]
    (mail,) = told.mails
    assert "failed" in str(email.header.make_header(email.header.decode_header(mail["Subject"])))
    assert "phase: migrate" in said


def test_a_hook_that_fails_after_the_switch_brings_the_old_release_back(
    before, hooks, release, server, told
):
    hooks.are(
        after_switch=[{"name": "Refuse", "ansible.builtin.fail": {"msg": "not with me"}}],
        on_failure=HANG,
    )

    said = release(fails=True, release_hook_timeout_seconds=5, **told.settings)

    assert "not with me" in said
    assert "WARNING: the hook on_failure.yml failed itself" in said
    assert server.live() == before
    assert server.ledger()[-1]["outcome"] == "returned"
    assert told.posts[0][1]["reason"] == "not with me"


def test_a_hook_that_hangs_is_given_up_and_the_old_release_stays(
    before, hooks, release, server, web1
):
    hooks.are(before_switch=HANG)

    said = release(fails=True, release_hook_timeout_seconds=5)

    assert "The deploy of " in said
    assert "Timed out after 5 second" in said
    assert server.live() == before
    assert server.ledger()[-1]["outcome"] == "refused"
    assert web1.run("test -e /run/probe/deploy.json").failed, "the deploy's lock is still there"


@pytest.mark.parametrize("name", ["befor_switch.yml", "before_switch.yaml"])
def test_a_hook_that_nothing_would_run_is_refused(before, hooks, release, server, name):
    hooks.are()
    (hooks.folder / name).write_text(yaml.safe_dump(writes("never")))
    lines, kept = len(server.ledger()), server.kept()

    said = release(fails=True)

    assert f"{name} is run by nothing" in said
    assert "before_switch.yml, " in said
    assert (server.live(), len(server.ledger()), server.kept()) == (before, lines, kept)
    assert hooks.wrote() == []


def test_those_who_cannot_be_told_change_nothing(before, hooks, release, server, told):
    """And those who can are told of a rollback as well."""
    hooks.are(before_switch=writes("before_switch"))
    dead = nobody_there()

    said = release(
        release_notify_urls=[
            f"http://{host}:{dead}/a-secret-token" for host in ("127.0.0.1", "localhost")
        ],
        release_notify_mail={"to": ["ops@example.org"], "host": "127.0.0.1", "port": dead},
    )

    live = server.live()
    assert live != before
    assert "WARNING: nobody was told by 127.0.0.1, " in said
    assert re.search(r"WARNING: nobody was told by [^\"]*mail", said)

    said = release("rollback", **told.settings)

    assert server.live() == before
    assert "WARNING" not in said
    ((_, notice),) = told.posts
    assert (notice["event"], notice["release"]) == ("rollback", before)
    name, _, hook = hooks.wrote()[-1]
    assert (name, hook["action"], hook["release"]) == ("before_switch", "rollback", before)
    assert len(told.mails) == 1
