"""The backups of applications' files: made, looked through, restored and taken back, by restic."""

import contextlib
import json
import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from pergola import apps, results
from pergola.app import directories
from pergola.apps import App
from pergola.backup.files import back, databases, drill, make, repositories, shown
from pergola.errors import PergolaError

CONFIGURATION = """\
# Managed by Ansible (role backup).
[global]
repo1-path={path}
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=a key=of%backups
repo1-retention-full-type=time
repo1-retention-full=14
compress-type=zst

[global:backup]
expire-auto=n
"""
STORAGE = """\
repo2-type=s3
repo2-path=/web1
repo2-s3-bucket=backups
repo2-s3-endpoint=s3.example.org
repo2-s3-region=eu-central-1
repo2-s3-key=an id
repo2-s3-key-secret=a=secret
repo2-s3-uri-style={style}
repo2-storage-port=9000
repo2-cipher-pass=a key=of%backups
"""
has_restic = pytest.mark.skipif(not shutil.which("restic"), reason="restic is not installed")


@pytest.fixture(autouse=True)
def told_to_stop():
    """A restore ignores SIGTERM from some moment on, and its process ends then; ours goes on."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host with the application notes, whose directory is media; `shared`: where that is."""
    home, work = tmp_path / "srv/notes", tmp_path / "work"
    (home / "bin").mkdir(parents=True)
    (home / "bin/release").touch()
    (home / "shared/media").mkdir(parents=True)
    file = tmp_path / "pgbackrest.conf"
    file.write_text(CONFIGURATION.format(path=tmp_path / "repository"))
    for module in (apps, back):
        monkeypatch.setattr(module, "HOMES", tmp_path / "srv")
    for module in (make, back, drill):
        monkeypatch.setattr(module, "WORK", work)
    monkeypatch.setattr(repositories, "CONFIGURATION", file)
    monkeypatch.setattr(repositories, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(results, "IN_RUN", tmp_path / "run-results")
    monkeypatch.setattr(directories, "is_applications", lambda path: path.name == "media")
    monkeypatch.setattr(directories, "UNITS", tmp_path)
    monkeypatch.setattr(databases, "in_sandbox", here)
    monkeypatch.setattr(databases, "account_of", lambda _: pwd.getpwuid(os.getuid()))
    monkeypatch.setattr(back, "account_of", lambda _: pwd.getpwuid(os.getuid()))
    monkeypatch.setattr(back, "locked", lambda *_: contextlib.nullcontext())
    if not may_mount(tmp_path):
        monkeypatch.setattr(make, "shown", copied)
    return SimpleNamespace(home=home, shared=home / "shared/media", work=work, file=file)


def here(_, visible, *words):
    """The worker, without a sandbox."""
    inside = {name: path for path, name in visible.items()}
    words = [inside.get(word, word) for word in words]
    return subprocess.run(
        [sys.executable, "-I", "-", *map(str, words)],
        input=databases.WORKER.read_text(),
        capture_output=True,
        text=True,
        check=False,
    )


def may_mount(path):
    try:
        with shown.shown(path, path / "mounted"):
            return True
    except PermissionError:
        return False


@contextlib.contextmanager
def copied(top, at):
    """What no account but root can have: the tree in another place."""
    shutil.copytree(top, at, symlinks=True)
    yield
    shutil.rmtree(at)


def database(path, *rows, wal=False):
    """A database that stays open, as an application's does."""
    there = sqlite3.connect(path)
    if wal:
        there.execute("pragma journal_mode = wal")
    there.execute("create table if not exists notes (text)")
    for row in rows:
        there.execute("insert into notes values (?)", [row])
    there.commit()
    return there


def rows_of(path):
    with contextlib.closing(sqlite3.connect(path)) as there:
        return [row[0] for row in there.execute("select text from notes order by rowid")]


def made():
    make.make()
    return results.every()["files"].says


# -- the whole way, with restic itself -------------------------------------------------------------


@has_restic
def test_files_come_back_as_they_were(host):
    (host.shared / "2026").mkdir()
    (host.shared / "2026/a picture.png").write_bytes(b"picture")
    (host.shared / "link").symlink_to("/etc/passwd")
    said = made()
    assert said.startswith("notes: 1 file (7 B), ")
    assert make.HERE_ONLY in said
    (host.shared / "2026/a picture.png").write_bytes(b"overwritten")
    (host.shared / "new").write_text("new")
    back.restore("notes", "")
    assert (host.shared / "2026/a picture.png").read_bytes() == b"picture"
    assert (host.shared / "link").readlink() == Path("/etc/passwd")
    assert not (host.shared / "new").exists()
    [kept] = host.home.glob("shared.before-*")
    assert (kept / "media/new").read_text() == "new"
    assert str(kept) in results.every()["files-restore"].says
    assert {one.name for one in host.home.iterdir()} == {"bin", "shared", kept.name}

    back.undo("notes")
    assert (host.shared / "2026/a picture.png").read_bytes() == b"overwritten"
    back.undo("notes")
    assert (host.shared / "2026/a picture.png").read_bytes() == b"picture"


@has_restic
def test_databases_in_use_are_copied_at_one_moment(host):
    names = ("app.db", "odd [name]*$x.db", "line\nbreak", "caf\udce9.db")
    paths = [host.shared / name for name in names]
    there = [database(path, "committed", wal=n > 0) for n, path in enumerate(paths)]
    for one in there:
        one.execute("insert into notes values ('not yet')")
    assert "4 of SQLite" in made()
    for one in there:
        one.rollback()
        one.execute("insert into notes values ('later')")
        one.commit()
        one.close()
    back.restore("notes", "")
    assert [rows_of(path) for path in paths] == [["committed"]] * 4
    left = sorted(one.name for one in host.shared.iterdir())
    assert left == sorted(names), "no -wal of another moment"
    drill.drill()
    assert "4 of SQLite" in results.every()["files-drill"].says


@has_restic
def test_what_a_visitor_uploads_fails_neither_backup_nor_drill(host):
    """Files that only begin as SQLite's do, or are cut, are kept as they are."""
    database(host.shared / "whole.db", *("row" for _ in range(5000))).close()
    cut = (host.shared / "whole.db").read_bytes()[:9000]
    (host.shared / "odd").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    (host.shared / "cut.db").write_bytes(cut)
    os.mkfifo(host.shared / "pipe")
    said = made()
    assert "1 of SQLite" in said
    assert "no whole databases, as they lie on the disk: media/cut.db, media/odd" in said
    drill.drill()
    assert results.every()["files-drill"].says.endswith("all in order")
    for name in ("odd", "cut.db"):
        (host.shared / name).unlink()
    back.restore("notes", "")
    assert (host.shared / "odd").stat().st_size == 5016
    assert (host.shared / "cut.db").read_bytes() == cut


@has_restic
def test_a_database_that_stays_locked_is_told_and_the_rest_is_in_the_backup(host, monkeypatch):
    locked = database(host.shared / "app.db", "row")
    locked.execute("pragma locking_mode = exclusive")
    locked.execute("insert into notes values ('more')")
    locked.commit()
    (host.shared / "file").write_text("file")
    text = databases.WORKER.read_text().replace("SECONDS_TO_WAIT = 60", "SECONDS_TO_WAIT = 1")
    monkeypatch.setattr(databases, "WORKER", host.file.with_name("worker.py"))
    databases.WORKER.write_text(text)
    with pytest.raises(PergolaError, match=r"media/app.db \(locked for more than 1 s\)") as told:
        made()
    assert "in the backup as they lie on the disk" in told.value.reason
    assert len(repositories.of("notes")[0].snapshots()) == 1
    locked.close()


@has_restic
def test_a_worker_that_fails_does_not_keep_the_files_from_their_backup(host, monkeypatch):
    (host.shared / "file").write_text("file")
    monkeypatch.setattr(
        databases,
        "in_sandbox",
        lambda *_: SimpleNamespace(returncode=1, stderr="killed", stdout=""),
    )
    with pytest.raises(PergolaError, match="could not be copied or looked at"):
        made()
    assert len(repositories.of("notes")[0].snapshots()) == 1


@has_restic
@pytest.mark.parametrize("call", [lambda: back.restore("notes", ""), drill.drill])
def test_nothing_is_restored_where_there_is_no_room(host, monkeypatch, call):
    (host.shared / "file").write_text("file")
    made()
    monkeypatch.setattr(back.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 30))
    monkeypatch.setattr(repositories.Repository, "restore", None)
    with pytest.raises(PergolaError, match="there is no room to restore the files of notes"):
        call()


@has_restic
def test_one_that_fails_its_drill_does_not_keep_the_others_from_theirs(host, monkeypatch):
    for name in ("alpha", "notes"):
        home = host.home.parent / name
        (home / "shared/media").mkdir(parents=True, exist_ok=True)
        (home / "bin").mkdir(exist_ok=True)
        (home / "bin/release").touch()
        (home / "shared/media/file").write_text("file")
    made()
    real, seen = drill.drill_one, []

    def one(app, repository):
        seen.append(app.name)
        if app.name == "alpha":
            raise PergolaError("alpha is damaged")
        return real(app, repository)

    monkeypatch.setattr(drill, "drill_one", one)
    with pytest.raises(PergolaError, match="alpha is damaged"):
        drill.drill()
    assert sorted(seen) == ["alpha", "notes"]


@has_restic
def test_the_newest_before_a_moment_is_restored(host):
    (host.shared / "file").write_text("first")
    made()
    [first] = repositories.of("notes")[0].snapshots()
    (host.shared / "file").write_text("second")
    made()
    assert len(repositories.of("notes")[0].snapshots()) == 2
    assert "second" not in (back.beside("notes", at(first.at)) / "media/file").read_text()
    assert (host.shared / "file").read_text() == "second", "only to look"
    with pytest.raises(PergolaError, match="to go back to: the oldest is of"):
        back.make_plan("notes", at(first.at - 60))
    plan = back.told(back.make_plan("notes"))
    assert f"from          {host.file.parent}/repository/files/notes\n" in plan
    assert "no release is live, nothing is stopped" in plan


def at(moment):
    # To the second, after the moment that is meant.
    return back.stamp(moment + 1).replace(" ", "T") + ":00"


@has_restic
def test_what_is_damaged_is_told(host, monkeypatch):
    (host.shared / "file").write_bytes(os.urandom(100_000))
    made()
    for pack in (host.file.parent / "repository/files/notes/data").glob("*/*"):
        pack.chmod(0o600)
        pack.write_bytes(pack.read_bytes()[:100] + b"damaged" + pack.read_bytes()[107:])
    monkeypatch.setattr(make, "PARTS", 1)
    with pytest.raises(PergolaError, match="is damaged"):
        made()
    with pytest.raises(PergolaError, match="restic restore"):
        drill.drill()
    assert not results.every()["files-drill"].ok
    assert not list(host.work.glob("*.drill")), "what was half restored is removed"


@has_restic
def test_a_failed_restore_changes_nothing(host, monkeypatch):
    (host.shared / "file").write_text("file")
    made()

    def fail(*_):
        raise PergolaError("no room")

    monkeypatch.setattr(back, "put_in", fail)
    with pytest.raises(PergolaError, match="no room"):
        back.restore("notes", "")
    assert (host.shared / "file").read_text() == "file"
    assert {one.name for one in host.home.iterdir()} == {"bin", "shared"}


@has_restic
def test_another_key_is_refused_and_changes_nothing(host):
    (host.shared / "file").write_text("file")
    made()
    host.file.write_text(host.file.read_text().replace("a key", "another key"))
    with pytest.raises(PergolaError, match="cannot be read with this key") as told:
        made()
    assert "backup.key" in told.value.hint


@has_restic
def test_neither_key_nor_secret_is_on_a_command_line(host, monkeypatch):
    seen = []
    real = repositories.attempt
    monkeypatch.setattr(
        repositories,
        "attempt",
        lambda *words, **more: (seen.append(words), real(*words, **more))[1],
    )
    (host.shared / "file").write_text("file")
    made()
    key = repositories.derived("a key=of%backups")
    assert {words[3] for words in seen} >= {"init", "backup", "forget", "check"}
    assert key not in str(seen)
    assert "of%backups" not in str(seen)
    assert key not in repr(repositories.of("notes"))


def test_no_application_with_files_is_no_failure(host):
    assert made() == make.NONE
    drill.drill()
    assert results.every()["files-drill"].says == make.NONE


# -- where they are --------------------------------------------------------------------------------


def test_a_second_copy_is_where_that_of_postgresql_is(host):
    text = host.file.read_text().replace("compress", STORAGE.format(style="path") + "compress")
    host.file.write_text(text)
    one, two = repositories.of("notes")
    assert (one.keep_days, one.path) == (14, host.file.parent / "repository/files/notes")
    assert two.address == "s3:https://s3.example.org:9000/backups/web1/files/notes"
    assert (two.name, two.options) == ("s3://backups/web1/files/notes", ("s3.bucket-lookup=path",))
    assert two.variables["AWS_SECRET_ACCESS_KEY"] == "a=secret"
    assert one.key == two.key != "a key=of%backups"
    assert "a=secret" not in repr(two)


def test_where_there_are_no_backups_that_is_said(host):
    host.file.unlink()
    with pytest.raises(PergolaError, match="is missing"):
        repositories.of("notes")


def test_no_repository_is_made_behind_somebodys_link(host, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository/files").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PergolaError, match="is not root's own directory"):
        repositories.of("notes")[0].have()
    assert not list((tmp_path / "elsewhere").iterdir())


# -- an application that means harm ----------------------------------------------------------------


def test_a_copy_is_put_behind_no_link(tmp_path, monkeypatch):
    """A database's directory may have become a link since it was copied."""
    tree, copies, outside = (tmp_path / name for name in ("tree", "copies", "outside"))
    for folder in (tree, copies / "data", outside):
        folder.mkdir(parents=True)
    (copies / "data/passwd").write_text("theirs")
    (tree / "data").symlink_to(outside)
    os.lchown(tree / "data", *others())
    with pytest.raises(OSError, match="data"):
        back.put_in(copies, tree)
    assert not list(outside.iterdir())


def others():
    if os.geteuid():
        pytest.skip("only root can give a link away")
    return 12345, 12345


def test_files_become_the_applications_and_what_is_roots_stays(tmp_path, monkeypatch):
    number, _ = others()
    (tmp_path / "var/data").mkdir(parents=True)
    (tmp_path / "var/data/link").symlink_to("/etc/passwd")
    for name in ("data", "data/link"):
        os.lchown(tmp_path / "var" / name, number, number)
    before = Path("/etc/passwd").stat().st_uid
    monkeypatch.setattr(back, "account_of", lambda _: SimpleNamespace(pw_uid=777, pw_gid=778))
    back.own(tmp_path, "notes")
    found = [(tmp_path / "var" / name).lstat().st_uid for name in ("", "data", "data/link")]
    assert found == [0, 777, 777]
    assert Path("/etc/passwd").stat().st_uid == before


def test_what_is_shown_follows_no_link_and_cannot_be_written(tmp_path):
    top, place = tmp_path / "top", tmp_path / "place"
    (top / "a").mkdir(parents=True)
    (top / "a/file").write_text("file")
    (top / "way").symlink_to("/etc")
    try:
        with shown.shown(top, place):
            assert (place / "a/file").read_text() == "file"
            with pytest.raises(OSError, match="Too many levels"):
                (place / "way/passwd").read_text()
            with pytest.raises(OSError, match="Read-only"):
                (place / "new").touch()
    except PermissionError:
        pytest.skip("this account may mount nothing")
    assert shown.mounts(place) == []
    assert not list(place.iterdir())


def test_the_copies_are_made_in_a_sandbox_without_a_network(monkeypatch, tmp_path):
    seen = []
    done = SimpleNamespace(returncode=0, stdout='["media/a.db", "", false]\n', stderr="")
    monkeypatch.setattr(databases, "attempt", lambda *words, **_: (seen.extend(words), done)[1])
    monkeypatch.setattr(databases, "account_of", lambda _: pwd.getpwuid(os.getuid()))
    found = databases.copied("notes", Path("/srv/notes/shared"), tmp_path / "copies")
    assert found == [databases.Database("media/a.db")]
    for line in ("User=notes", "PrivateNetwork=yes", "NoNewPrivileges=yes"):
        assert f"--property={line}" in seen
    assert (
        f"--property=BindPaths=/srv/notes/shared:/srv/notes/shared {tmp_path}/copies:/run/copies"
        in seen
    )


def test_what_the_application_removed_meanwhile_is_no_fault(host, monkeypatch):
    said = {"total_files_processed": 1, "total_bytes_processed": 5, "data_added": 5}
    there = host.work / "notes/tree/media/locked"
    there.parent.mkdir(parents=True)
    there.touch()
    kept = []
    for missing, fails in ((there.parent / "gone", False), (there, True)):
        repository = SimpleNamespace(
            name="r", have=lambda: None, add=lambda *_, m=missing: (said, [str(m)]),
            forget=lambda: kept.append(1), check=lambda *_: None,
        )  # fmt: skip
        expected = pytest.raises(PergolaError, match="media/locked") if fails else None
        with expected or contextlib.nullcontext():
            make.back_up_to(App(host.home), repository, [], host.work / "notes")
    assert len(kept) == 2, "old backups are removed all the same"


def test_the_worker_says_what_is_wrong_with_a_database(host):
    database(host.shared / "good.db", "a").close()
    (host.shared / "bad.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    os.mkfifo(host.shared / "pipe")
    found = {one.path: one.wrong for one in databases.checked("notes", host.home / "shared")}
    assert found["media/good.db"] == ""
    assert found["media/bad.db"]
    assert json.dumps(sorted(found)) == '["media/bad.db", "media/good.db"]'


# -- the application is kept away ------------------------------------------------------------------


class Kept:
    """What is called instead of an application's page and units."""

    done: list[str]
    fails = False
    page_is_ours = False

    def __init__(self, _):
        Kept.done = []

    def __getattr__(self, name):
        return lambda: Kept.done.append(name)

    def has_page(self):
        return False

    def start(self):
        Kept.done.append("start")
        if Kept.fails:
            raise PergolaError("notes does not come up")


@pytest.mark.parametrize("fails", [False, True])
def test_the_directories_change_places_while_nothing_runs(host, monkeypatch, fails):
    monkeypatch.setattr(back, "Closed", Kept)
    monkeypatch.setattr(Kept, "fails", fails)
    monkeypatch.setattr(App, "is_live", lambda _: True)
    monkeypatch.setattr(back, "exchange", lambda *_: Kept.done.append("exchange"))
    monkeypatch.setattr(directories, "show_again", lambda _: Kept.done.append("mounts"))
    other = host.home / "other"
    other.mkdir()
    expected = pytest.raises(PergolaError, match="the maintenance page stays: notes does not")
    with expected if fails else contextlib.nullcontext():
        back.change_places(App(host.home), other)
    after = [] if fails else ["show"]
    assert Kept.done == ["hide", "plan_stop", "stop", "exchange", "mounts", "start", *after]


def test_a_failure_between_starts_it_again_and_loses_no_file(host, monkeypatch):
    monkeypatch.setattr(back, "Closed", Kept)
    monkeypatch.setattr(App, "is_live", lambda _: True)

    def fail(_):
        raise PergolaError("no mount")

    monkeypatch.setattr(directories, "show_again", fail)
    (host.shared / "file").write_text("former")
    other = host.home / ".restored/tree"
    (other / "media").mkdir(parents=True)
    with pytest.raises(PergolaError, match="no mount"):
        back.change_places(App(host.home), other)
    assert Kept.done[-2:] == ["start", "show"]
    [kept] = host.home.glob("shared.before-*")
    assert (kept / "media/file").read_text() == "former"
    assert not other.exists(), "what is removed afterwards holds nothing of it"


def test_a_mount_does_not_change_places(host, monkeypatch):
    monkeypatch.setattr(back, "mounts", lambda path: [path / "media"])
    with (
        pytest.raises(PergolaError, match="media is a mount: restore beside it"),
        back.held(App(host.home)),
    ):
        pass


@pytest.mark.parametrize("name", ["../etc", "a/b", "", "A"])
def test_no_other_directory_is_taken_for_an_application(host, name):
    with pytest.raises(PergolaError, match="is no application's name"):
        back.application(name)


def test_public_directories_are_mounted_once_more(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(directories, "UNITS", tmp_path)
    monkeypatch.setattr(directories, "let_in", done.append)
    monkeypatch.setattr(directories, "mount", done.append)
    for name, what in (("srv-notes-public-media", "notes"), ("srv-notes2-public-a", "notes2")):
        (tmp_path / f"{name}.mount").write_text(f"[Mount]\nWhat=/srv/{what}/shared/media\n")
    directories.show_again(Path("/srv/notes"))
    assert done == [Path("/srv/notes/shared/media"), "srv-notes-public-media.mount"]
