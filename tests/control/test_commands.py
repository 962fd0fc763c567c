"""Commands of an application: how many processes they are, and whether a shell can read them."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[2] / "plugins/filter/commands.py"
spec = importlib.util.spec_from_file_location("commands_filter", PATH)
commands = importlib.util.module_from_spec(spec)
spec.loader.exec_module(commands)


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({}, ["worker"]),
        ({"count": 1}, ["worker"]),
        ({"count": 3}, ["worker", "worker-2", "worker-3"]),
        ({"count": "2"}, ["worker", "worker-2"]),
        ({"count": 0}, []),
    ],
)
def test_each_process_has_a_name_of_its_own(more, names):
    found = commands.processes_each([{"name": "worker", "command": "x", **more}])
    assert found == [{"name": name, "command": "x"} for name in names]


@pytest.mark.parametrize(
    "command",
    [
        "",
        "worker --queue='a b' 100%",
        "cd jobs && exec worker",
        "if true; then worker; fi",
        "worker [a-z]* 2>&1 | tee log",
        "one\ntwo",
    ],
)
def test_what_a_shell_can_read_is_taken(command):
    assert commands.commands_wrong({"app_processes, worker": command}) == []


@pytest.mark.parametrize(
    "command", ["worker 's3cret", "a && && b", "if true; then b", "a | | b", "(a", "echo $("]
)
@pytest.mark.parametrize("shell", ["bash", ""])
def test_what_no_shell_can_read_is_refused(command, shell, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: shell)
    (said,) = commands.commands_wrong({"app_processes, worker": command})
    assert said.startswith("app_processes, worker: no shell can read the command: ")
    assert not said.endswith(": ")
    assert "line" not in said
    assert "s3cret" not in said
