"""The module that writes files, run as Ansible runs it."""

import grp
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = Path(__file__).parent.parent / "library/files.py"


@pytest.fixture
def write(tmp_path):
    me = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}

    def run(*files, check=False):
        wanted = [{**me, **file, "path": str(tmp_path / file["path"])} for file in files]
        arguments = {"ANSIBLE_MODULE_ARGS": {"files": wanted, "_ansible_check_mode": check}}
        done = subprocess.run(
            [sys.executable, MODULE], input=json.dumps(arguments), capture_output=True, text=True
        )
        return json.loads(done.stdout.strip().splitlines()[-1])

    return run


def test_files_are_written_with_their_directories_and_modes(write, tmp_path):
    result = write(
        {"path": "a/b/one", "content": "ä\n", "mode": "0640"}, {"path": "two", "content": ""}
    )
    assert result["changed"]
    assert result["written"] == [str(tmp_path / "a/b/one"), str(tmp_path / "two")]
    assert (tmp_path / "a/b/one").read_text() == "ä\n"
    assert (tmp_path / "a/b/one").stat().st_mode & 0o7777 == 0o640
    assert (tmp_path / "a/b").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "two").stat().st_mode & 0o7777 == 0o644


def test_the_same_again_changes_nothing(write, tmp_path):
    write({"path": "one", "content": "x"})
    inode = (tmp_path / "one").stat().st_ino
    result = write({"path": "one", "content": "x"})
    assert (result["changed"], result["written"], result["diff"]) == (False, [], [])
    assert (tmp_path / "one").stat().st_ino == inode


def test_only_what_differs_is_written(write, tmp_path):
    write({"path": "one", "content": "x"}, {"path": "two", "content": "y"})
    (tmp_path / "two").chmod(0o600)
    result = write({"path": "one", "content": "x"}, {"path": "two", "content": "y"})
    assert result["written"] == [str(tmp_path / "two")]
    assert (tmp_path / "two").stat().st_mode & 0o7777 == 0o644


def test_a_refused_file_leaves_all_as_they_were_and_nothing_behind(write, tmp_path):
    write({"path": "one", "content": "old"})
    result = write(
        {"path": "one", "content": "new"},
        {"path": "two", "content": "bad", "validate": "grep --quiet good %s"},
    )
    assert result["failed"]
    assert "two was refused by `grep --quiet good %s`; nothing was replaced." in result["msg"]
    assert (tmp_path / "one").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_file_that_passes_its_check_is_put_in_place(write, tmp_path):
    write({"path": "one", "content": "good", "validate": "grep --quiet good %s"})
    assert (tmp_path / "one").read_text() == "good"


def test_check_mode_says_what_would_change_and_changes_nothing(write, tmp_path):
    write({"path": "one", "content": "old\n"})
    result = write(
        {"path": "one", "content": "new\n"},
        {"path": "none/two", "content": "x", "owner": "no-such-account"},
        check=True,
    )
    assert result["written"] == [str(tmp_path / "one"), str(tmp_path / "none/two")]
    assert (result["diff"][0]["before"], result["diff"][0]["after"]) == ("old\n", "new\n")
    assert (tmp_path / "one").read_text() == "old\n"
    assert not (tmp_path / "none").exists()


def test_a_link_is_replaced_and_not_followed(write, tmp_path):
    (tmp_path / "target").write_text("x")
    (tmp_path / "one").symlink_to("target")
    write({"path": "one", "content": "x"})
    assert not (tmp_path / "one").is_symlink()
    write({"path": "one", "content": "y"})
    assert (tmp_path / "target").read_text() == "x"


def test_an_unknown_owner_is_named_and_leaves_nothing_behind(write, tmp_path):
    result = write({"path": "one", "content": "x", "owner": "no-such-account"})
    assert result["failed"]
    assert "no-such-account" in result["msg"]
    assert list(tmp_path.iterdir()) == []
