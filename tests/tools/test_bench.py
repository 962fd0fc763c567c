"""What the benchmarks do before anything is measured, and what they show when it fails."""

import os
import stat
import sys
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
sys.path.insert(0, str(PROJECT / "benchmarks"))

from bench import Bench, last_lines, run  # noqa: E402


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A measurement without its clone."""
    monkeypatch.setattr(Bench, "__init__", lambda self: None)
    made = Bench()
    made.folder, made.clone, made.access = tmp_path, tmp_path / "clone", tmp_path / "access"
    return made


def test_a_measured_server_has_a_key_for_its_backups(bench):
    """The demo's would be in a folder that a clone does not have."""
    place = bench.inventory(1)
    settings = {}
    for file in sorted((place / "group_vars/servers").iterdir()):  # the last one wins
        settings |= yaml.safe_load(file.read_text())
    key = Path(settings["backup_key_file"])
    assert len(key.read_text().strip()) == 48
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert os.path.commonpath([key, bench.folder]) == str(bench.folder)


def test_python_keeps_what_it_compiles_as_it_does_for_users(monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert run(sys.executable, "-c", "import sys; print(sys.dont_write_bytecode)") == "False\n"


def test_an_error_is_shown_and_not_the_times_of_all_tasks():
    times = [f"role : Task {number} ------ 0.10s" for number in range(200)]
    said = ["TASK [backup : key]", "[ERROR]: Task failed: no such directory", "fatal: [pergola]: x"]
    assert "no such directory" in last_lines("\n".join([*said, *times]))
    assert last_lines("\n".join(times)).splitlines() == times[-30:]
