"""What a host that keeps copies knows of the files that it protects."""

import pytest
from pergola.backup.protect import Entry, Protected
from pergola.backup.settings import Repository, Settings
from pergola.people import DAY

WAL = "archive/web1/17-1/0000000100000000/000000010000000000000005-" + "a" * 40 + ".zst"


@pytest.fixture
def protected(tmp_path):
    repository = Repository(2, "copies", local=True, path=str(tmp_path / "copies"))
    return Protected(Settings("web1", 17, (repository,), protected_days=7))


def test_what_vanished_stays_for_some_days_and_what_came_back_is_not_gone(protected):
    protected.entries = {WAL: Entry(seen=100.0), "archive/web1/x": Entry(seen=100.0)}
    protected.note_gone({"archive/web1/x"}, now=1000.0)
    assert protected.entries[WAL].gone == 1000.0
    protected.note_gone(set(protected.entries), now=2000.0)
    assert protected.entries[WAL].gone is None
    protected.note_gone({"archive/web1/x"}, now=3000.0)
    protected.note_gone({"archive/web1/x"}, now=3000.0 + 7 * DAY)
    assert WAL in protected.entries
    protected.note_gone({"archive/web1/x"}, now=3001.0 + 7 * DAY)
    assert set(protected.entries) == {"archive/web1/x"}


def test_a_moment_has_the_files_that_there_were_and_the_last_version_of_those_that_change(
    protected,
):
    info = "archive/web1/archive.info"
    protected.entries = {
        f"@100/{info}": Entry(100.0, gone=500.0),
        f"@500/{info}": Entry(500.0),
        "archive/web1/kept": Entry(100.0),
        "archive/web1/expired": Entry(100.0, gone=200.0),
        "archive/web1/deleted": Entry(100.0, gone=500.0),
        "archive/web1/added": Entry(500.0),
    }
    assert protected.as_of(400.0) == {
        info: f"@100/{info}",
        "archive/web1/kept": "archive/web1/kept",
        "archive/web1/deleted": "archive/web1/deleted",
    }
    assert protected.everything()[info] == f"@500/{info}"


def test_the_index_is_written_when_something_changed_only(protected):
    protected.home.mkdir(parents=True)
    assert protected.take(now=100.0) == []
    first = protected.index.stat()
    again = Protected(protected.settings)
    again.take(now=200.0)
    assert again.index.stat().st_ino == first.st_ino, "it was replaced"
    again.entries["archive/web1/gone"] = Entry(seen=100.0)
    again.take(now=300.0)
    assert again.index.stat().st_ino != first.st_ino
    assert Protected(protected.settings).entries["archive/web1/gone"].gone == 300.0


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("archive/web1/archive.info", []),
        # A server that was rebuilt sends them again, encrypted again.
        ("archive/web1/17-1/0000000A.history", []),
        (WAL, [f"{WAL} was replaced by another file"]),
    ],
)
def test_what_pgbackrest_itself_replaces_is_no_attack_and_keeps_each_version(
    protected, monkeypatch, name, wrong
):
    monkeypatch.setattr("pergola.backup.links.Found.seal", lambda _: True)
    protected.home.mkdir(parents=True)
    file = protected.live / name
    file.parent.mkdir(parents=True)
    file.write_text("first")
    assert protected.take(now=100.0) == []
    fresh = file.with_name("fresh")
    fresh.write_text("second")
    fresh.replace(file)
    assert protected.take(now=200.0) == wrong
    before = protected.as_of(150.0)[name]
    assert (protected.tree / before).read_text() == "first"


class Backup:
    def __init__(self, first_wal, history=1):
        self.first_wal, self.history = first_wal, history


@pytest.mark.parametrize(
    ("first", "history", "lost"),
    [
        ("000000020000000000000004", 1, True),
        ("000000010000000000000005", 1, True),
        ("000000010000000000000006", 1, False),  # older than all backups: expired
        ("000000010000000000000001", 2, False),  # of a cluster that has no backups any more
    ],
)
def test_wal_that_backups_need_does_not_vanish(protected, monkeypatch, first, history, lost):
    found = [Backup(first, history), Backup("0000000100000000000000FF", history)]
    monkeypatch.setattr("pergola.backup.protect.Repositories.away", lambda _: {})
    monkeypatch.setattr("pergola.backup.protect.Repositories.backups", lambda _: found)
    protected.entries = {WAL: Entry(100.0, gone=200.0)}
    assert protected.missed() == ([f"{WAL} vanished"] if lost else [])
    protected.entries[WAL].removed = True
    assert protected.missed() == []


def test_a_file_whose_name_looks_like_a_version_is_none(protected):
    """A client may name a file as it likes; what it sends is below archive/ or backup/."""
    protected.entries = {"archive/web1/archive.info@100": Entry(100.0)}
    assert protected.versions("archive/web1/archive.info") == []


def test_a_repository_that_pgbackrest_cannot_read_any_more_is_told_with_the_file(
    protected, monkeypatch
):
    reason = "[FileMissingError] unable to load info file 'archive.info'\nHINT: a stanza-create?"
    monkeypatch.setattr("pergola.backup.protect.Repositories.away", lambda _: {1: reason})
    (told,) = protected.missed()
    assert told.startswith("pgBackRest finds no backup in it any more: [FileMissingError] unable")
    assert told.endswith("'archive.info'")
