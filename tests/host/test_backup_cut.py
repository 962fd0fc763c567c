"""A restore that is cut off between two directories is settled, whatever the disk looks like."""

import errno
import itertools
import json
from pathlib import Path

import pytest
from pergola import documents
from pergola.backup import changes, intent, places
from pergola.backup.changes import Change
from pergola.errors import PergolaError


class PowerLossError(BaseException):
    """Nothing catches it, as nothing catches a power loss."""


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data directory, and the state beside it."""
    monkeypatch.setattr(intent, "FILE", tmp_path / "state/restore.json")
    monkeypatch.setattr(changes, "FILE", tmp_path / "state/restores.jsonl")
    monkeypatch.setattr(places.shutil, "chown", lambda *_: None)
    folder = tmp_path / "17/main"
    folder.mkdir(parents=True)
    (folder / "rows").write_text("of before")
    return folder


def begun(data, kind="restore"):
    fresh = data.with_name("main.restoring" if kind == "restore" else "main.before-2026")
    fresh.mkdir()
    (fresh / "rows").write_text("of the target")
    return intent.begin(kind, "a moment", data, fresh)


def rows(folder):
    return (folder / "rows").read_text()


@pytest.fixture
def loses_power(monkeypatch):
    """Lose it at the n-th thing that is written; whether n is larger than their number."""

    def lose(number, what):
        count = itertools.count(1)

        def counted(real):
            def wrapped(*given, **more):
                if next(count) == number:
                    raise PowerLossError
                return real(*given, **more)

            return wrapped

        with monkeypatch.context() as patched:
            for owner, name in (
                (places, "mark"), (places, "move"), (places, "persist"),
                (documents, "write"), (Path, "rename"),
            ):  # fmt: skip
                patched.setattr(owner, name, counted(getattr(owner, name)))
            try:
                what()
            except PowerLossError:
                return False
            return True

    return lose


@pytest.fixture(params=["in one step", "in several"])
def steps(request, monkeypatch):
    """A file system that exchanges two names in one step, and one that cannot."""
    if request.param == "in several":

        class Libc:
            def renameat2(self, *_):
                return -1

        monkeypatch.setattr(places.ctypes, "CDLL", lambda *_, **__: Libc())
        monkeypatch.setattr(places.ctypes, "get_errno", lambda: errno.EINVAL)
    return request.param


@pytest.mark.parametrize("kind", ["restore", "undo"])
@pytest.mark.parametrize("at", range(1, 20))
def test_cut_off_anywhere_it_is_taken_back_and_that_may_be_cut_off_too(
    at, kind, data, steps, loses_power
):
    one = begun(data, kind)
    if loses_power(at, one.exchange):
        assert rows(data) == "of the target"
        assert rows(one.kept) == "of before"
    for again in range(1, 20):
        if loses_power(again, lambda: intent.read().take_back()):
            break
    assert rows(data) == "of before"
    assert rows(one.fresh) == "of the target"
    assert sorted(path.name for path in data.parent.iterdir()) == ["main", one.fresh.name]
    intent.read().end()
    assert not places.marked(data)
    assert not places.marked(one.fresh)
    assert intent.read() is None


def test_a_server_that_had_no_data_has_none_again(data):
    (data / "rows").unlink()
    data.rmdir()
    one = begun(data)
    one.exchange()
    assert rows(data) == "of the target"
    intent.read().take_back()
    assert not data.exists()
    assert rows(one.fresh) == "of the target"


def test_what_cannot_be_told_is_refused_and_nothing_is_touched(data):
    one = begun(data)
    one.exchange()
    places.unmark(data)
    with pytest.raises(PergolaError, match="which data was live before cannot be told") as raised:
        intent.read().take_back()
    assert "nothing was touched" in raised.value.hint
    assert rows(data) == "of the target"
    assert rows(one.kept) == "of before"


def test_a_link_in_place_of_the_mark_is_not_followed(data, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("root's")
    (data / places.MARK).symlink_to(precious)
    with pytest.raises(OSError, match="symbolic link"):
        places.marked(data)
    places.mark(data, "an id")
    assert precious.read_text() == "root's"
    assert places.marked(data) == "an id"


def test_a_restore_is_in_force_from_its_line_on_and_half_a_line_is_none(data):
    one = begun(data)
    file = changes.FILE
    changes.FORM.add(file, Change(data, 1.0, 2.0, id="an earlier one"))
    with file.open("a") as half:
        half.write('{"id": "' + one.id)
    assert not one.is_recorded()
    changes.FORM.add(file, Change(data, 1.0, 2.0, id=one.id))
    assert one.is_recorded()
    assert [change.id for change in changes.every()] == ["an earlier one", one.id]


def test_a_line_in_the_middle_that_cannot_be_read_is_named(data):
    line = '{"kept": "/x", "stopped": 1.0, "at": 2.0}\n'
    changes.FILE.parent.mkdir()
    changes.FILE.write_text(line + '{"b"\n' + line)
    with pytest.raises(PergolaError, match=r"line 2 of .*restores\.jsonl cannot be read"):
        changes.every()


def test_pages_and_units_of_one_that_was_cut_off_are_taken_over(data):
    before = begun(data)
    before.pages, before.units = ["app"], {"app": ["app@blue.service"]}
    before.save()
    again = intent.begin("undo", "before", data, data.with_name("main.before-1"))
    assert again.pages == ["app"]
    assert again.units == {"app": ["app@blue.service"]}


class Server:
    """A server as `changes` asks it: system ids and timelines by directory."""

    def __init__(self, data, ids, timelines, timeline):
        self.data = data
        self.system_id = lambda path: ids[path.name]
        self.timeline_of = lambda path: timelines[path.name]
        self.timeline = lambda: timeline


@pytest.mark.parametrize(
    ("changed", "live", "says"),
    [
        ({}, 3, ""),
        ({}, 4, "something else has changed the data since"),
        ({"system_id": 8}, 3, "another cluster's"),
        ({"kept_system_id": 8}, 3, "holds another cluster"),
        ({"kept_timeline": 1}, 3, "was put aside on 1"),
        ({"system_id": None, "kept_system_id": None, "kept_timeline": None}, 3, ""),
    ],
)
def test_undo_goes_only_to_what_it_is_sure_of(changed, live, says, data):
    kept = data.with_name("main.before-1")
    kept.mkdir()
    entry = {"kept": kept, "at": 2.0, "stopped": 1.0, "to_timeline": 3, "from_timeline": 2}
    entry |= {"system_id": 7, "kept_system_id": 7, "kept_timeline": 2, **changed}
    entry = {name: value for name, value in entry.items() if value is not None}
    changes.FORM.add(changes.FILE, Change(**entry))
    server = Server(data, {"main": 7, kept.name: 7}, {"main": 3, kept.name: 2}, live)
    if says:
        with pytest.raises(PergolaError, match=says):
            changes.last_change(server)
    else:
        assert changes.last_change(server).kept == kept


def test_a_control_file_may_be_behind_right_after_a_restore(data):
    (data / "pg_wal").mkdir()
    assert not changes.is_behind(data, 2, 3)
    (data / "pg_wal/00000003.history").touch()
    assert changes.is_behind(data, 2, 3)
    assert not changes.is_behind(data, 4, 3)


def test_the_record_is_json(data):
    begun(data)
    assert json.loads(intent.FILE.read_text())["phase"] == "copying"
