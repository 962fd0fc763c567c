"""How each job ended, for monitoring and people."""

import json
from dataclasses import dataclass

import pytest
from pergola import results
from pergola.errors import PergolaError


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "disk")
    monkeypatch.setattr(results, "IN_RUN", tmp_path / "run")
    return tmp_path


def test_a_job_that_ended_well_is_noted_as_monitoring_reads_it(places, capsys):
    with results.recorded("backup", type="full") as result:
        result.says = "made"
        result.more["files"] = 3
    noted = json.loads((places / "disk/backup.json").read_text())
    assert (noted["job"], noted["ok"], noted["says"], noted["type"]) == (
        "backup", True, "made", "full"
    )  # fmt: skip
    assert noted["ended"] >= noted["seconds"] >= 0
    assert noted["began"].endswith("Z")
    assert (noted["format"], noted["files"]) == (1, 3)
    assert capsys.readouterr().err == "backup: ok: made\n"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (PergolaError("it broke", "a line"), "it broke"),
        (OSError(28, "No space left on device", "/x"), "/x: No space left on device"),
        (KeyboardInterrupt(), "it was interrupted"),
    ],
)
def test_a_job_that_failed_says_why(error, says):
    with pytest.raises((PergolaError, KeyboardInterrupt)), results.recorded("drill"):
        raise error
    noted = results.every()["drill"]
    assert (noted.ok, noted.says) == (False, says)


def test_a_result_that_the_disk_does_not_take_is_noted_in_run_and_the_newer_one_counts(
    places, monkeypatch, capsys
):
    with results.recorded("drill") as result:
        result.says = "before"
    good = results.RESULTS
    monkeypatch.setattr(results, "RESULTS", places / "disk/drill.json/no-directory")
    with results.recorded("drill") as result:
        result.says = "on a full disk"
    assert f"the result is in {places}/run" in capsys.readouterr().err
    monkeypatch.setattr(results, "RESULTS", good)
    assert results.every()["drill"].says == "on a full disk"
    with results.recorded("drill") as result:
        result.says = "after"
    assert results.every()["drill"].says == "after"
    assert not list((places / "run").iterdir())


@dataclass(frozen=True)
class Outage:
    outage_seconds: float = 0


def test_results_of_an_earlier_pergola_are_read(places):
    (places / "disk").mkdir()
    (places / "disk/restore.json").write_text(
        '{"job": "restore", "ok": true, "says": "x", "ended": 1, "seconds": 0, "cut": true,'
        ' "outage_seconds": 3.1, "parts": {}}'
    )
    assert results.every()["restore"].cut
    assert results.details(results.every()["restore"], Outage) == Outage(3.1)
