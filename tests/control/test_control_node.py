"""The action that runs a program of control/ on the control node."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

PATH = Path(__file__).parents[2] / "plugins/action/control_node.py"
spec = importlib.util.spec_from_file_location("control_node", PATH)
control_node = importlib.util.module_from_spec(spec)
spec.loader.exec_module(control_node)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the action with a program in place of control's; a task's process ends with it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", sys.stdin)
    monkeypatch.setattr(control_node.ActionBase, "run", lambda self, tmp, task_vars: {})

    def start(program, *argv, **arguments):
        monkeypatch.setattr(control_node, "main", program)
        action = object.__new__(control_node.ActionModule)
        action._task = SimpleNamespace(args={"argv": ["source", *argv], **arguments})
        return action.run()

    return start


def test_it_returns_what_the_program_said_and_how_it_ended(run):
    def program(argv):
        print(sys.stdin.buffer.read().decode(), *argv)
        print("no", file=sys.stderr)
        sys.exit(3)

    said = {"rc": 3, "stdout": "asked source --plan 1", "stderr": "no"}
    assert run(program, "--plan", 1, stdin="asked") == {
        "changed": False, **said, "failed": True, "msg": "no"
    }  # fmt: skip


def test_it_fails_only_with_an_exit_code(run):
    result = run(lambda _: print("mind", file=sys.stderr))
    assert result == {"changed": False, "rc": 0, "stdout": "", "stderr": "mind"}
    assert "failed" not in run(lambda _: sys.exit(0))


@pytest.mark.parametrize(("end", "says"), [("what to do", "what to do"), (ValueError("x"), "x")])
def test_what_it_ends_with_is_said(run, end, says):
    def program(_):
        raise SystemExit(end) if isinstance(end, str) else end

    result = run(program)
    assert (result["rc"], result["failed"]) == (1, True)
    assert result["msg"].splitlines()[-1].endswith(says)


def test_it_runs_where_the_playbook_was_started(run, monkeypatch, tmp_path):
    (tmp_path / "there").mkdir()
    monkeypatch.setenv("PWD", str(tmp_path / "there"))
    assert run(lambda _: print(Path.cwd()))["stdout"] == str(tmp_path / "there")
