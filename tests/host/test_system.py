"""Programs and files."""

import errno
import getpass
import os
import pwd
import subprocess
import time
from pathlib import Path

import pytest
from pergola import people, system
from pergola.errors import PergolaError

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files and rights away")


# -- programs --------------------------------------------------------------------------------------


def test_a_program_is_run_in_english_and_from_the_root():
    assert system.run("sh", "-c", 'echo "$LC_ALL"; pwd') == "C.UTF-8\n/\n"
    assert system.run("cat", stdin="typed") == "typed"
    assert system.run("sh", "-c", "echo $A", environment={"A": "b"}) == "b\n"


def test_the_errors_of_a_program_stand_where_they_came_if_that_is_wanted():
    done = system.attempt("sh", "-c", "echo a; echo b >&2; echo c", merged=True)
    assert (done.stdout, done.stderr) == ("a\nb\nc\n", None)


def test_a_failure_is_told_with_its_evidence():
    with pytest.raises(PergolaError) as failed:
        system.run("sh", "-c", "echo reason >&2; exit 3")
    assert str(failed.value) == "`sh -c 'echo reason >&2; exit 3'` ended with 3\nreason"
    with pytest.raises(PergolaError, match="the query ended with 1"):
        system.run("false", what="the query")


def test_a_program_that_finds_no_room_is_told_with_what_makes_some():
    with pytest.raises(PergolaError, match="found no room on the disk") as failed:
        system.run("sh", "-c", "echo 'cp: x: No space left on device' >&2; exit 1")
    assert "make room" in failed.value.hint


def test_a_program_that_does_not_end_is_ended():
    began = time.monotonic()
    with pytest.raises(system.TookTooLongError, match="`sleep 60` did not end within"):
        system.attempt("sleep", "60", timeout=0.2)
    assert time.monotonic() - began < 30


def test_what_is_no_text_does_not_stop_a_program():
    assert system.run("printf", r"\377x") == "\ufffdx"


@root
def test_a_program_of_an_accounts_has_nothing_of_roots_left(monkeypatch):
    monkeypatch.setenv("SECRET", "of root")
    said = system.run("sh", "-c", "id -un; id -Gn; echo $HOME:$SECRET", account="nobody")
    user = pwd.getpwnam("nobody")
    assert said.split() == ["nobody", "nogroup", f"{user.pw_dir}:"]


def test_an_account_that_is_not_there_is_named():
    with pytest.raises(PergolaError, match="no account nobody-at-all"):
        system.run("true", account="nobody-at-all")


# -- files -----------------------------------------------------------------------------------------


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_there_whole_and_with_its_rights(tmp_path):
    path = tmp_path / "made/on/the/way/file"
    system.write(path, "text", 0o640)
    assert path.read_text() == "text"
    assert path.stat().st_mode & 0o7777 == 0o640
    assert (tmp_path / "made").stat().st_mode & 0o7777 == 0o755
    system.write(path, b"\xff", 0o600, durable=False)
    assert path.read_bytes() == b"\xff"
    assert path.stat().st_mode & 0o7777 == 0o600
    assert names(path.parent) == ["file"]


def test_whoever_reads_meanwhile_goes_on_with_the_old_one(tmp_path):
    path = tmp_path / "file"
    system.write(path, "old")
    with path.open() as reader:
        system.write(path, "new")
        assert reader.read() == "old"


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "other").write_text("other")
    (tmp_path / "file").symlink_to(tmp_path / "other")
    system.write(tmp_path / "file", "text")
    assert (tmp_path / "other").read_text() == "other"
    assert not (tmp_path / "file").is_symlink()


def test_a_link_of_ones_own_on_the_way_is_followed(tmp_path):
    (tmp_path / "there").mkdir()
    for name, target in (("by-name", "there"), ("by-path", tmp_path / "there")):
        (tmp_path / name).symlink_to(target)
        system.write(tmp_path / name / "file", name)
        assert (tmp_path / "there/file").read_text() == name
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(OSError, match="too many links"):
        system.write(tmp_path / "round/file", "")


@root
def test_a_link_of_anothers_on_the_way_is_not_followed(tmp_path):
    (tmp_path / "roots").mkdir()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/conf.d").symlink_to(tmp_path / "roots")
    os.chown(tmp_path / "theirs/conf.d", 1234, 1234, follow_symlinks=False)
    for use in (lambda path: system.write(path, "text"), system.read):
        with pytest.raises(OSError, match=r"Not a directory: .*/theirs/conf.d, at conf.d"):
            use(tmp_path / "theirs/conf.d/file")
    assert names(tmp_path / "roots") == []


@root
def test_a_file_is_given_to_an_account(tmp_path):
    user = pwd.getpwnam("nobody")
    system.write(tmp_path / "file", "text", 0o600, owner="nobody")
    there = (tmp_path / "file").stat()
    assert (there.st_uid, there.st_gid) == (user.pw_uid, user.pw_gid)
    system.write(tmp_path / "file", "text", 0o640, group="nobody")
    there = (tmp_path / "file").stat()
    assert (there.st_uid, there.st_gid) == (0, user.pw_gid)


def test_an_owner_that_is_not_there_leaves_nothing_behind(tmp_path):
    with pytest.raises(PergolaError, match="no account"):
        system.write(tmp_path / "file", "text", owner="nobody-at-all")
    assert names(tmp_path) == []


def test_a_write_that_fails_names_its_file_and_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(system.os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as failed:
        system.write(path, "new")
    assert failed.value.filename == str(path)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_two_that_write_the_same_file_leave_a_whole_one(tmp_path):
    script = (
        "import sys; from pathlib import Path; from pergola.system import write\n"
        f"for _ in range(200): write(Path('{tmp_path}/file'), sys.argv[1] * 5000, durable=False)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(system.__file__).parents[1])}
    writers = [
        subprocess.Popen(["python3", "-c", script, letter], env=environment) for letter in "ab"
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert (tmp_path / "file").read_text() in ("a" * 5000, "b" * 5000)
    assert names(tmp_path) == ["file"]


def test_only_a_plain_file_is_read(tmp_path):
    (tmp_path / "file").write_text("text")
    assert system.read(tmp_path / "file") == "text"
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "gone"):
        with pytest.raises(OSError):  # noqa: PT011 - each has its own
            system.read(tmp_path / name)


# -- systemd ---------------------------------------------------------------------------------------


def test_a_unit_that_does_not_start_is_told_with_its_journal(monkeypatch):
    def attempt(*words, **_):
        said = "it needs a port\n" if "--output=cat" in words else ""
        return subprocess.CompletedProcess(words, int("start" in words), said, "")

    monkeypatch.setattr(system, "attempt", attempt)
    with pytest.raises(PergolaError) as failed:
        system.start("notes@blue.service")
    assert str(failed.value) == "notes@blue.service does not start\nit needs a port"


def test_a_long_journal_begins_with_the_start(monkeypatch):
    lines = "".join(f"{number}\n" for number in range(100))
    done = subprocess.CompletedProcess([], 0, lines, "")
    monkeypatch.setattr(system, "attempt", lambda *_, **__: done)
    shown = system.journal("notes@blue.service", 4).splitlines()
    assert shown == ["0", "1", "(… 96 lines …)", "98", "99"]
    assert len(system.journal("notes@blue.service", 100).splitlines()) == 100


@pytest.mark.parametrize("count", [1, 500, 501, 730, 1000, 2345])
def test_of_a_journal_without_end_both_ends_are_read(count):
    said = system.attempt("sh", "-c", people.ENDS, "seq", count).stdout.split()
    every = [str(number) for number in range(1, count + 1)]
    assert said == (every if count <= 1000 else every[:500] + every[-500:])


def test_a_journal_is_of_the_latest_run_or_of_all_since_a_moment(monkeypatch):
    asked = []

    def attempt(*words, **_):
        asked.append(words)
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(system, "attempt", attempt)
    monkeypatch.setattr(system, "show", lambda *_: "8d1f")
    system.journal("notes@blue.service")
    assert asked[-1][-1] == "_SYSTEMD_INVOCATION_ID=8d1f"
    system.journal("notes@blue.service", since=1700000000.9)
    assert asked[-1][-2:] == ("_SYSTEMD_UNIT=notes@blue.service", "--since=@1700000000")


def test_the_user_of_these_tests_is_known():
    assert system.of_account(getpass.getuser())["USER"] == getpass.getuser()
