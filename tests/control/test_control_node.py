"""The action that runs a program of control/ on the control node."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

PATH = Path(__file__).parents[2] / "plugins/action/control_node.py"
spec = importlib.util.spec_from_file_location("control_node", PATH)
control_node = importlib.util.module_from_spec(spec)
spec.loader.exec_module(control_node)


def run(monkeypatch, program, **arguments):
    monkeypatch.setattr(control_node.ActionBase, "run", lambda self, tmp, task_vars: {})
    monkeypatch.setattr(control_node, "CONTROL", "-c")
    action = object.__new__(control_node.ActionModule)
    action._task = SimpleNamespace(args={"argv": [program], **arguments})
    return action.run()


def test_it_returns_what_the_program_said_and_how_it_ended(monkeypatch):
    program = "import sys; print(sys.stdin.read()); print('no', file=sys.stderr); sys.exit(3)"
    result = run(monkeypatch, program, stdin="asked")
    said = {"rc": 3, "stdout": "asked", "stderr": "no"}
    assert result == {"changed": False, **said, "failed": True, "msg": "no"}


def test_it_fails_only_with_an_exit_code(monkeypatch):
    result = run(monkeypatch, "import sys; print('mind', file=sys.stderr)")
    assert result == {"changed": False, "rc": 0, "stdout": "", "stderr": "mind"}


def test_it_runs_where_the_playbook_was_started(monkeypatch, tmp_path):
    monkeypatch.setenv("PWD", str(tmp_path))
    assert run(monkeypatch, "import os; print(os.getcwd())")["stdout"] == str(tmp_path)
