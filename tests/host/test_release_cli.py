"""`pergola release`: its command line, its answers, and an application's own name for it."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pergola.lock import locked
from pergola.release import cli
from pergola.release.deploy import Deploy
from pergola.release.releases import point
from release_made import live, lock_of, manifest

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def call(releases, monkeypatch, capsys):
    """Call the program as root: the exit code, what it says, and what it says of a failure."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "nice", lambda _: 0)
    monkeypatch.setattr("pergola.release.releases.show", lambda *_: "active")
    monkeypatch.setattr("pergola.release.facts.show", lambda *_: "active")
    monkeypatch.setattr("pergola.release.slots.Slots.is_current", lambda *_: True)

    def program(*words, stdin=""):
        monkeypatch.setattr(sys, "argv", ["pergola", *words])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        try:
            code = cli.main()
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return program


def another(releases, name="zoo"):
    (releases.home.parent / name / "bin").mkdir(parents=True)
    (releases.home.parent / name / "bin/release").touch()


@pytest.fixture
def two(releases):
    """Two good releases, the second one live."""
    for name in "ab":
        manifest(releases, name, commit=f"commit of {name}", describe="Add search")
        live(releases, name, from_=None if name == "a" else "a", seconds={"gate": 1.5})
    point(releases.home / "slots/blue", releases.path("b"))
    return releases


def test_the_application_may_be_left_out_where_it_is_the_only_one(call, releases):
    code, said, _ = call("status")
    assert (code, json.loads(said)["app"]) == (0, "notes")
    another(releases)
    code, _, failed = call("status")
    assert code == 1
    assert failed.splitlines()[:2] == ["which application?", "applications here: notes, zoo"]
    assert json.loads(call("--app=zoo", "status")[1])["app"] == "zoo"
    code, _, failed = call("--app=zo", "status")
    assert (code, failed.splitlines()[0]) == (1, "this host has no application zo")


def test_only_root_may(call, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert call("run", "sh", "-c", "a b")[2] == (
        "run me as root: sudo pergola release run sh -c 'a b'\n"
    )


def test_the_status_has_what_others_read(call, two):
    said = json.loads(call("status")[1])
    assert list(said) == [
        "app", "host", "live", "slot", "state", "maintenance", "good", "ledger"
    ]  # fmt: skip
    assert (said["live"], said["slot"], said["good"]) == ("b", "blue", ["b", "a"])
    assert said["maintenance"] == "off"
    last = said["ledger"][-1]
    assert (last["from"], last["commit"], last["seconds"]) == ("a", "commit of b", {"gate": 1.5})
    assert last["format"] == 1


def test_the_plan_has_what_the_control_node_reads(call, two):
    said = json.loads(call("plan")[1])["live"]
    role = yaml.safe_load((PROJECT / "roles/release/vars/main.yml").read_text())
    hidden = {"environment", "secrets", "unset", "credentials", "processes", "schedules"}
    assert set(said.pop("config")) == set(role["__release_config"]) - hidden
    assert said == {
        "id": "", "commit": "commit of b", "describe": "Add search", "date": "", "processes": [],
        "schedules": [], "environment_names": [], "environment": [], "lock": None,
        "lock_name": "requirements.txt", "directory": "", "revision": None, "slot": "blue",
        "current": True, "runs_after": False,
    }  # fmt: skip
    point(two.home / "slots/blue", two.home / "nowhere")
    assert json.loads(call("plan")[1]) == {"changed": False, "live": None}


def test_a_choice_is_told_as_ansible_reads_it(call, two):
    assert json.loads(call("choose")[1]) == {
        "changed": False, "id": "a", "commit": "commit of a", "from": "b"
    }  # fmt: skip
    code, _, failed = call("choose", "nonsense")
    assert code == 1
    assert failed.splitlines() == [
        f"notes on {os.uname().nodename}: there is no release nonsense on this host",
        "phase: rollback of release nonsense",
        "kept releases: a, b",
        "live now: b (Add search) in slot blue, active",
        f"next: fix that and run again; sudo {two.home}/bin/release releases shows what was tried",
    ]


def test_everything_of_one_release_is_shown(call, two):
    (two.path("a") / "migrate.log").write_text("it said this\n")
    said = call("show", "a")[1]
    assert '"commit": "commit of a"' in said
    assert '"outcome": "live"' in said
    assert "it said this" in said
    assert said.endswith(f"its files: {two.path('a')}\n")


@pytest.fixture
def phases(monkeypatch):
    """The calls of phases, which do nothing else."""
    made = []

    def run(self, names, order=None):
        made.append((self.action, self.release, list(names), order))
        return {"changed": True, "live": self.release}

    monkeypatch.setattr(Deploy, "run", run)
    return made


RUN = ("--who=ada", "--run=node/1/1", "--alive=node/1/1", "--wait=0", "--attempt=now")
ORDER = {
    "settings": {"host": "web1", "lock_seconds": 900, "database": ""},
    "manifest": {"id": "c", "commit": "c", "secrets": {"KEY": "hidden"}, "workers": 2},
}


def test_the_first_deploy_brings_its_settings(call, releases, phases):
    (releases.home / "settings.json").unlink()
    code, said, failed = call(*RUN, "do", "prepare,gate", "c", stdin=json.dumps(ORDER))
    assert (code, failed, json.loads(said)) == (0, "", {"changed": True, "live": "c"})
    ((action, release, names, order),) = phases
    assert (action, release, names) == ("deploy", "c", ["prepare", "gate"])
    assert (order.settings.host, order.manifest.secrets) == ("web1", {"KEY": "hidden"})
    assert not (releases.home / "settings.json").exists()


def test_a_call_that_is_made_again_is_answered_again(call, releases, phases):
    first = call(*RUN, "do", "gate", "c")
    assert call(*RUN, "do", "gate", "c") == first
    assert len(phases) == 1
    lock_of(releases).release()
    assert call(*RUN[:-1], "--attempt=later", "do", "gate", "c") == first
    assert len(phases) == 2


def test_a_deploy_meanwhile_is_refused_with_who_is_at_work(call, releases, phases):
    call(*RUN, "do", "gate", "c")
    code, _, failed = call("--run=elsewhere/7/7", "--alive=elsewhere/7/7", "do", "gate", "d")
    assert code == 1
    lines = failed.splitlines()
    assert "ada is at work on notes since" in lines[0]
    assert lines[0].endswith(": deploy of c")
    assert lines[1] == "phase: lock of release d"
    assert f"sudo {releases.home}/bin/release unlock" in lines[-1]
    table = call("releases")[1]
    assert "at work: deploy of c by ada since" in table
    code, said, _ = call("unlock")
    assert (json.loads(said)["changed"], json.loads(said)["was"]["who"]) == (True, "ada")
    assert json.loads(call("unlock")[1]) == {"changed": False, "was": {}}


def test_another_program_at_work_keeps_deploys_out(call, releases, phases):
    with locked([releases.app.place], "a restore of the databases"):
        assert "a restore of the databases" in call(*RUN, "do", "gate", "c")[2]
        # Its page and its pause are none of a deploy's.
        assert json.loads(call("maintenance", "off")[1]) == {
            "changed": False, "maintenance": "off"
        }  # fmt: skip


def test_a_failure_is_told_with_its_phase_and_noted(call, two, monkeypatch):
    def fail(self, names, order=None):
        self.phase = "gate"
        raise cli.PergolaError("c did not become ready", "evidence", hint="fix it")

    monkeypatch.setattr(Deploy, "run", fail)
    first = call(*RUN, "do", "gate", "c")
    assert first[0] == 1
    assert first[2].splitlines()[1:] == [
        "phase: gate of release c",
        "evidence",
        "live now: b (Add search) in slot blue, active",
        "next: fix it",
    ]
    monkeypatch.undo()
    assert json.loads((two.home / "calls.json").read_text())["deploys"]["node/1/1 now"] == {
        "deploy gate c": {"tries": 0, "answer": None, "report": first[2].rstrip("\n")}
    }


def test_an_abort_says_what_is_live_and_ends_the_deploys_calls(call, two, phases):
    assert json.loads(call(*RUN, "abort", "web2 is lost")[1]) == {"changed": False, "live": "b"}
    call(*RUN, "do", "gate", "c")
    assert json.loads(call(*RUN, "abort", "web2 is lost")[1]) == {"changed": False, "live": "b"}
    assert "has given up meanwhile" in call(*RUN, "do", "switch", "c")[2]


def test_an_abort_where_nothing_was_ever_deployed_says_so(call, releases):
    (releases.home / "settings.json").unlink()
    assert json.loads(call(*RUN, "abort", "no")[1]) == {"changed": False, "live": None}
    assert "nothing of notes was deployed to this host" in call("psql")[2]


def test_a_rollback_by_hand_goes_through_all_its_phases(call, two, phases):
    assert call("rollback")[0] == 0
    assert phases == [("rollback", "a", ["gate", "switch", "bake", "drain"], None)]


def test_a_page_is_turned_on_by_whoever_asks_until_it_is_turned_off(call, releases):
    _, said, _ = call("--who=eva", "maintenance", "on", "--message=<b>", stdin="")
    assert json.loads(said) == {"changed": True, "maintenance": "on", "seconds": None}
    assert "&lt;b&gt;" in (releases.home / "live/maintenance.html").read_text()
    told = json.loads((releases.home / "live/maintenance.json").read_text())
    assert (told["who"], told["until"]) == ("eva", None)
    assert json.loads(call("status")[1])["maintenance"] == "on"
    assert json.loads(call("maintenance", "off")[1]) == {"changed": True, "maintenance": "off"}
    assert call("maintenance", "on", stdin="<p>ours")[0] == 0
    assert (releases.home / "live/maintenance.html").read_text() == "<p>ours"


@pytest.mark.parametrize("length", ["60", "1h"])
def test_a_pause_that_is_too_long_is_refused(call, length):
    code, _, failed = call("pause", "on", "--for", length)
    assert code == 1
    assert "is longer than Caddy waits for an answer" in failed
    assert "phase: pause" in failed


def test_options_of_psqls_are_its_own(call):
    assert cli.arguments(["psql", "-XAt", "-c", "select 1"]).more == ["-XAt", "-c", "select 1"]
    assert call("status", "--what")[0] == 2
    assert call("nonsense")[0] == 2


def test_an_application_calls_it_by_a_name_of_its_own(tmp_path):
    role = yaml.safe_load((PROJECT / "roles/release/vars/main.yml").read_text())
    text = role["__release_program_file"]["content"].replace("{{ release_app }}", "notes")
    program, script = tmp_path / "pergola", tmp_path / "release"
    program.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    script.write_text(text.replace("/usr/local/sbin/pergola", str(program)))
    for path in (program, script):
        path.chmod(0o755)
    done = subprocess.run([script, "run", "sh", "-c", "a  b"], capture_output=True, text=True)
    assert done.stdout == "release|--app=notes|run|sh|-c|a  b|"


def test_the_noun_is_known_to_the_command():
    done = subprocess.run(
        [sys.executable, "-I", PROJECT / "host/bin/pergola", "release", "--help"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "rollback" in done.stdout


def test_a_notice_goes_through_apprise_and_its_address_is_shown_by_nothing(
    call, monkeypatch, tmp_path
):
    sent, url = [], "slack://a-secret/b/c"

    def apprise(*words, stdin, timeout):
        file = Path(words[1].removeprefix("--config="))
        sent.append((words, stdin, json.loads(file.read_text()), file))
        return subprocess.CompletedProcess(words, len(sent) - 1, "", url)

    monkeypatch.setattr("pergola.apprise.attempt", apprise)
    monkeypatch.setattr(cli, "NOTICES", tmp_path)
    notice = {"url": url, "title": "linkboard", "text": "deploy of t1 failed", "kind": "failure"}

    assert call("tell", stdin=json.dumps(notice))[0] == 0
    code, said, failed = call("tell", stdin=json.dumps(notice))

    words, text, content, file = sent[0]
    assert words[2:] == ("--title=linkboard", "--notification-type=failure")
    assert (text, content) == (notice["text"], {"urls": [url]})
    assert (code, "apprise ended with 1" in failed) == (1, True)
    assert "secret" not in said + failed + " ".join(words)
    assert not file.exists()
