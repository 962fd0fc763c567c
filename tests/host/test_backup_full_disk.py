"""What a job of backups does where the disk takes nothing: it tells, and is noted elsewhere."""

import errno
import json
import os
import sys
from types import SimpleNamespace

import pytest
from pergola import results, system
from pergola.backup import cli, everywhere
from pergola.errors import PergolaError


@pytest.fixture
def places(disk, monkeypatch):
    """Where results are kept: on that disk, and in /run."""
    monkeypatch.setattr(results, "RESULTS", disk.path / "results")
    monkeypatch.setattr(results, "IN_RUN", disk.run / "results")
    return disk


def test_a_job_on_a_full_disk_keeps_its_result_in_run_and_says_one_sentence(places, capsys):
    places.full = True
    no_room = pytest.raises(PergolaError, match="No space left on device")
    with no_room as raised, results.recorded("backup"):
        system.write(places.path / "a file", "text")
    assert "make room" in raised.value.hint
    kept = json.loads((places.run / "results/backup.json").read_text())
    assert kept["ok"] is False
    assert "No space left on device" in kept["says"]
    assert results.every()["backup"].says == kept["says"]
    places.full = False
    with results.recorded("backup"):
        pass
    assert results.every()["backup"].ok
    assert not (places.run / "results/backup.json").exists()


def test_no_command_ends_in_a_traceback_of_the_system(monkeypatch, capsys):
    def refused(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/var/lib/somewhere")

    monkeypatch.setitem(everywhere.VERBS, "verify", refused)
    monkeypatch.setattr(sys, "argv", ["pergola-backup", "verify"])
    assert cli.main() == 1
    said = capsys.readouterr().err
    assert "/var/lib/somewhere: No space left on device" in said
    assert "make room" in said


def test_a_program_that_found_no_room_is_named_with_what_to_do():
    done = SimpleNamespace(returncode=82, stdout="", stderr="write: No space left on device")
    with pytest.raises(PergolaError, match="found no room on the disk") as raised:
        system.checked(done, "pgbackrest backup")
    assert "make room" in raised.value.hint
