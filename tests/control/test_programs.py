"""The programs of the control node: which there are, and what they need."""

import subprocess
import sys

import pytest
from pergola_control import uv
from pergola_control.cli import PROGRAMS
from pergola_control.refusal import RefusalError
from repositories import CONTROL


@pytest.mark.parametrize("words", [[], ["sauce"]])
def test_a_program_that_is_none_is_refused_with_those_that_are(words):
    done = subprocess.run([sys.executable, CONTROL, *words], capture_output=True, text=True)
    assert done.returncode == 1
    assert all(program in done.stderr for program in PROGRAMS)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_says_what_it_takes(program):
    argv = [sys.executable, CONTROL, program, "--help"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    name = "pergola" if program == "people" else program  # as people type it
    assert done.stdout.lower().startswith(f"usage: {name} ")


def test_uv_is_the_one_beside_ansible_else_the_system_s(tmp_path, monkeypatch):
    for place in ("venv", "system"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "uv").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "system"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv/python"))
    assert uv.program() == str(tmp_path / "venv/uv")
    (tmp_path / "venv/uv").unlink()
    assert uv.program() == str(tmp_path / "system/uv")


def test_without_uv_the_way_to_get_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(RefusalError, match="make setup") as caught:
        uv.program()
    assert "Setting:" not in str(caught.value)
