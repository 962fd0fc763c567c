"""A status on a disk that takes nothing: it tells, and remembers elsewhere."""

from types import SimpleNamespace

import pytest
from pergola.status import checks, gather, notify, reserve, store, timer
from pergola.status.config import Config
from pergola.status.look import WARNING, Finding
from pergola.status.memory import Memory
from pergola.status.seen import Seen

SETTINGS = Config(limits={}, urls=["https://told.example.org/"])


@pytest.fixture
def places(disk, monkeypatch):
    """Where the status and its memory are kept: on that disk, and in /run."""
    monkeypatch.setattr(store, "HOME", disk.path)
    monkeypatch.setattr(store, "RUN", disk.run)
    monkeypatch.setattr(timer, "STATUS", disk.path / "status.json")
    monkeypatch.setattr(timer, "METRICS", disk.run / "pergola.prom")
    return disk


def told(number):
    """The memory with something new in it."""
    known = store.remembered()
    known.summary = number
    return known


def test_what_the_disk_does_not_take_is_remembered_in_run_until_it_does(places):
    assert store.remember(told(1)) == ""
    places.full = True
    assert "No space left on device" in store.remember(told(2))
    assert store.remembered().summary == 2
    assert [path.name for path in places.path.iterdir()] == ["monitoring.json"]  # and no half file
    places.full = False
    assert store.remember(told(3)) == ""
    assert store.remembered().summary == 3
    assert not list(places.run.iterdir())


def test_a_memory_that_cannot_be_read_is_ignored(places, capsys):
    (places.path / store.MEMORY).write_text('{"half')
    assert store.remembered() == Memory()
    assert "cannot be read" in capsys.readouterr().err


@pytest.fixture
def look(places, monkeypatch):
    """Looks of a host with a unit that failed; what was sent by each."""
    failed = Finding("unit some.service", WARNING, "failed")
    monkeypatch.setattr(checks, "all_of", lambda _: [failed])
    sent = []
    monkeypatch.setattr(gather, "gather", lambda *_: Seen("web1", 1000.0, 1.0, "b", results={}))
    monkeypatch.setattr(reserve, "kept", lambda _: None)
    monkeypatch.setattr(notify, "posted", lambda _: lambda told: sent.append(told.check))

    def once():
        sent.clear()
        timer.look_and_tell(SETTINGS)
        return list(sent)

    return once


def test_a_full_disk_keeps_no_message_back_and_repeats_none(places, look):
    places.full = True
    assert look() == []  # a failed unit is held back for one look
    assert look() == ["unit some.service", "memory"]
    assert look() == []
    places.full = False
    look()
    assert "memory" in look()


def test_room_is_given_up_when_there_is_none_and_taken_again(tmp_path, monkeypatch):
    disk = SimpleNamespace(f_blocks=64000, f_frsize=1000, f_bavail=32000)
    monkeypatch.setattr(reserve.os, "statvfs", lambda _: disk)
    file = tmp_path / "reserve"
    seen = reserve.kept(None, file)
    assert seen.there
    assert file.stat().st_size == seen.bytes == 1_000_000
    assert reserve.judged(seen).state == "ok"
    disk.f_bavail = 10
    seen = reserve.kept(seen, file)
    assert not file.exists()
    found = reserve.judged(seen)
    assert found.state == "critical"
    assert "du -xh" in found.says
    disk.f_bavail = 1010  # what it gave up
    seen = reserve.kept(seen, file)
    assert reserve.judged(seen).state == "critical"
    disk.f_bavail = 5000
    assert reserve.judged(reserve.kept(seen, file)).state == "ok"


def test_a_disk_that_never_had_room_for_it_is_no_alarm(tmp_path, monkeypatch):
    disk = SimpleNamespace(f_blocks=64000, f_frsize=1000, f_bavail=2000)
    monkeypatch.setattr(reserve.os, "statvfs", lambda _: disk)
    seen = reserve.kept(None, tmp_path / "reserve")
    found = reserve.judged(seen)
    assert (found.state, found.says) == ("ok", "less than 4 times 1.0 MB are free: none is kept")
