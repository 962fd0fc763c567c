"""What the benchmarks do before anything is measured, and what they show when it fails."""

import os
import runpy
import stat
import sys
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
sys.path.insert(0, str(PROJECT / "benchmarks"))

from bench import FLOOR, PERGOLA, Bench, Timing, last_lines, run  # noqa: E402


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


@pytest.mark.parametrize(
    ("ours", "met"), [((32, 6.8, 8.5), [True, True, True]), ((33, 7, 8.6), [False, False, False])]
)
def test_targets_are_ratios_to_the_floor_of_the_same_run(ours, met):
    results = runpy.run_path(str(PROJECT / "benchmarks/provision"))["results"]
    steps = dict(zip(("cold", "unchanged", "deploy"), ours, strict=True))
    pair = {f"{step} {PERGOLA}": Timing(spent, spent) for step, spent in steps.items()}
    pair |= {f"cold {FLOOR}": Timing(20, 20), f"deploy {FLOOR}": Timing(5, 5)}
    cold, unchanged, deploy, first = results([pair])
    assert [line.met for line in (cold, unchanged, deploy, first)] == [*met, None]
    assert unchanged.cells()[1:4] == ["20.0", f"{ours[1]:.1f}", f"{ours[1] / 20:.2f} x"]


def test_a_deploys_target_is_a_ratio_and_a_rollbacks_seconds():
    results = runpy.run_path(str(PROJECT / "benchmarks/deploy"))["results"]
    names = ("code only", "dependency", "config only")
    one = {f"{name} {FLOOR}": [Timing(5, 5)] for name in names}
    one |= {f"{name} {PERGOLA}": [Timing(8.5, 8)] for name in names}
    one |= {"config only, bare": [Timing(1, 1)], f"rollback {PERGOLA}": [Timing(6.1, 4)]}
    lines = results([one])
    assert [line.met for line in lines] == [True, True, True, None, False]
    assert [line.cells()[5] for line in lines] == ["≤ 1.7 x"] * 3 + ["", "≤ 6.0 s"]
