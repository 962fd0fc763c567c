"""Modules of ours without Ansible's packing: they get and answer what they would with it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pergola_control import modules

PROJECT = Path(__file__).parents[2]
MODULE = """
from ansible.module_utils.basic import AnsibleModule
SPEC = {
    "files": {"type": "list", "elements": "dict", "default": [], "options": {
        "path": {"type": "path", "required": True},
        "mode": {"type": "str", "default": "0644"},
        "validate": {"type": "str"},
    }},
    "names": {"type": "list", "elements": "str"},
    "forget": {"type": "bool", "default": False},
    "more": {"type": "dict"},
    "count": {"type": "int"},
}
module = AnsibleModule(SPEC, supports_check_mode=True)
if module.params["names"]:
    code, out, err = module.run_command(module.params["names"])
    module.exit_json(changed=True, code=code, out=out, err=err)
module.exit_json(params=module.params, check=module.check_mode, diff=module._diff)
"""
SENT = {"check": False, "diff": False}


@pytest.fixture
def both(tmp_path, monkeypatch):
    """What a module answers to Ansible's own AnsibleModule and to ours."""
    (tmp_path / "probe.py").write_text(MODULE)
    monkeypatch.setattr(modules, "LIBRARY", tmp_path)

    def call(parameters, check=False, diff=False):
        modes = {"_ansible_check_mode": check, "_ansible_diff": diff}
        theirs = json.dumps({"ANSIBLE_MODULE_ARGS": {**parameters, **modes}})
        ours = modules.order("probe", parameters, check, diff)
        ways = ([tmp_path / "probe.py"], theirs), (["-I", "-c", modules.BEGIN], ours)
        for words, order in ways:
            argv = [sys.executable, *words]
            done = subprocess.run(argv, input=order, capture_output=True, text=True)
            result = modules.understood(done.stdout)
            assert result is not None, done.stderr
            yield {name: value for name, value in result.items() if name != "invocation"}

    return call


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"files": [{"path": "/a"}, {"path": "/b", "mode": "0600", "validate": None}]},
        {"forget": "yes", "more": {"a": [1]}, "count": "7"},
        {"forget": "no"},
        {"forget": True, "names": []},
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_parameters_are_as_ansible_gives_them(both, parameters, check):
    theirs, ours = both(parameters, check, diff=not check)
    assert ours == {"changed": False, **theirs}


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"file": []}, "Unsupported parameters"),
        ({"files": [{"path": "/a", "moode": "0600"}]}, "Unsupported parameters"),
        ({"files": [{"mode": "0600"}]}, "missing required arguments"),
        ({"forget": "perhaps"}, ""),
        ({"more": 7}, ""),
    ],
)
def test_what_a_module_does_not_take_is_refused(both, parameters, says):
    for result in both(parameters):
        assert result["failed"]
        assert says in result["msg"]


@pytest.mark.parametrize("command", [["sh", "-c", "echo a; echo b >&2; exit 3"], ["cat"]])
def test_programs_answer_the_same(both, command):
    theirs, ours = both({"names": command})
    assert ours == theirs


def test_a_program_that_there_is_not_fails(both):
    *_, ours = both({"names": ["/nowhere/x"]})
    assert ours["code"] == 127


def test_a_module_of_a_role_finds_what_it_has_beside_it(tmp_path, monkeypatch):
    """By the names that Ansible's packing gives it; a test of the role imports it plainly."""
    module, beside = tmp_path / "one/library/probe.py", tmp_path / "one/module_utils/probe"
    module.parent.mkdir(parents=True)
    beside.mkdir(parents=True)
    module.write_text(
        "from ansible.module_utils.basic import AnsibleModule\n"
        "from ansible.module_utils.probe import first\n"
        "AnsibleModule({}).exit_json(said=first.SAID)\n"
    )
    (beside / "__init__.py").write_text("")
    (beside / "first.py").write_text("from .second import WORD\nSAID = f'{WORD}!'\n")
    (beside / "second.py").write_text("WORD = 'here'\n")
    monkeypatch.setattr(modules, "ROLES", tmp_path)
    order = modules.order("probe", {}, check=False, diff=False)
    argv = [sys.executable, "-I", "-c", modules.BEGIN]
    done = subprocess.run(argv, input=order, capture_output=True, text=True)
    assert json.loads(done.stdout) == {"changed": False, "said": "here!"}, done.stderr


def test_each_module_has_the_action():
    places = [PROJECT / "library", PROJECT / "roles/preflight/library"]
    names = {path.name for place in places for path in place.glob("*.py")}
    action = PROJECT / "plugins/action/files.py"
    for name in names:
        assert (action.parent / name).resolve() == action, name


def test_ansible_runs_it(tmp_path):
    play = tmp_path / "play.yml"
    file = {
        "path": str(tmp_path / "made/one"),
        "content": "{{ text }}\n",
        "validate": "{{ check }}",
    }
    file |= {"owner": "{{ me }}", "group": "{{ me }}"}
    task = {"files": {"files": [file]}, "register": "done"}
    name = {"name_taken": {"name": "no-such-name"}, "environment": {"PATH": os.environ["PATH"]}}
    show = {"debug": {"msg": "{{ done.written | length }} {{ taken.taken }}"}}
    tasks = [task, {**name, "register": "taken"}, show]
    play.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
        "ANSIBLE_STDOUT_CALLBACK": "default",
    }
    me = {"me": Path.home().owner(), "text": "an ä", "check": "grep -q ä %s"}

    def run(*words, **more):
        argv = [Path(sys.executable).parent / "ansible-playbook", "-c", "local", play, *words]
        argv += ["-i", "localhost,", "-e", json.dumps({**me, **more})]
        done = subprocess.run(argv, env=environment, cwd=tmp_path, capture_output=True, text=True)
        return done.stdout + done.stderr

    said = run("--check", "--diff")
    assert "changed=1" in said
    assert "+an ä" in said
    assert "1 " in said
    assert not (tmp_path / "made").exists()
    assert "changed=1" in run()
    assert (tmp_path / "made/one").read_text() == "an ä\n"
    assert "changed=0" in run()
    said = run(text="another")
    assert "was refused by `grep -q ä %s`" in said
    assert (tmp_path / "made/one").read_text() == "an ä\n"
