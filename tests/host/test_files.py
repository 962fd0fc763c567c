"""The module that writes files, run as Ansible runs it and as our action does."""

import grp
import importlib.util
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from pergola.web import load

MODULE = Path(__file__).parents[2] / "library/files.py"
sys.path.insert(0, str(MODULE.parent.parent / "control"))
from pergola_control import modules  # noqa: E402


@pytest.fixture(params=["Ansible", "action"])
def called(request):
    """The module's result, whoever calls it."""

    def call(parameters, check=False, diff=False):
        if request.param == "action":
            argv = [sys.executable, "-I", "-c", modules.BEGIN]
            order = modules.order("files", parameters, check, diff)
        else:
            argv = [sys.executable, MODULE]
            modes = {"_ansible_check_mode": check, "_ansible_diff": diff}
            order = json.dumps({"ANSIBLE_MODULE_ARGS": {**parameters, **modes}})
        done = subprocess.run(argv, input=order, capture_output=True, text=True)
        return modules.understood(done.stdout)

    return call


@pytest.fixture
def write(tmp_path, called):
    me = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}

    def run(*files, check=False, diff=False):
        wanted = [{**me, **file, "path": str(tmp_path / file["path"])} for file in files]
        return called({"files": wanted}, check, diff)

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


def test_a_link_takes_the_place_of_what_is_there(write, tmp_path):
    link, before = tmp_path / "a/link", {"path": "a/link", "content": "old\n"}
    write(before)
    result = write({"path": "a/link", "link": "../there"}, check=True, diff=True)
    assert link.read_text() == "old\n"
    (diff,) = result["diff"]
    assert (diff["before"], diff["after"]) == ("old\n", "../there")
    assert write({"path": "a/link", "link": "../there"})["changed"]
    assert str(link.readlink()) == "../there"
    assert not write({"path": "a/link", "link": "../there"})["changed"]
    result = write({"path": "a/link", "link": "elsewhere"}, diff=True)
    assert result["diff"][0]["before"] == "../there"
    assert str(link.readlink()) == "elsewhere"
    assert [path.name for path in link.parent.iterdir()] == ["link"]


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
        diff=True,
    )
    assert result["written"] == [str(tmp_path / "one"), str(tmp_path / "none/two")]
    assert (result["diff"][0]["before"], result["diff"][0]["after"]) == ("old\n", "new\n")
    assert (tmp_path / "one").read_text() == "old\n"
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("validate", [None, "true", "false"])
def test_contents_are_shown_by_a_diff_only(write, validate):
    write({"path": "one", "content": "old mark-1"})
    result = write({"path": "one", "content": "new mark-2", "validate": validate})
    assert "mark-" not in json.dumps(result)
    assert result["invocation"]["module_args"]["files"][0]["path"].endswith("/one")


def test_contents_are_not_shown_when_a_file_cannot_be_written(write, tmp_path):
    (tmp_path / "one").write_text("")
    result = write({"path": "one/two", "content": "mark-1"})
    assert result["failed"]
    assert "mark-" not in json.dumps(result)


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


def set_of(folder, command):
    """Files of a folder that are checked together by a command."""
    return {"folder": str(folder), "validate": command}


@pytest.fixture
def module(tmp_path, called):
    """The module with all of its parameters."""

    def run(**parameters):
        me = {
            "owner": pwd.getpwuid(os.getuid()).pw_name,
            "group": grp.getgrgid(os.getgid()).gr_name,
        }
        files = [
            {**me, **file, "path": str(tmp_path / file["path"])}
            for file in parameters.pop("files", [])
        ]
        return called({"files": files, **parameters})

    return run


def test_files_are_checked_as_the_set_that_is_loaded(module, tmp_path):
    folder = tmp_path / "sites"
    folder.mkdir()
    (folder / "theirs").write_text("a name\n")
    # Each name once, in all files of the folder; and a path in a file is that of the copy.
    check = (
        f"""sh -c 'test -z "$(cat "$0"/* | sort | uniq -d)" && ! grep -q {folder} "$0"/main' %s"""
    )
    main = {"path": "sites/main", "content": f"import {folder}/*\n"}
    wrong = {"path": "sites/ours", "content": "a name\n"}
    hints = {"nothing of it": "no hint", "": "see the settings"}
    result = module(files=[main, wrong], together={**set_of(folder, check), "hints": hints})
    assert result["msg"].endswith("see the settings")
    assert "no hint" not in result["msg"]
    assert result["failed"]
    assert "do not go together; nothing was replaced" in result["msg"]
    assert sorted(path.name for path in folder.iterdir()) == ["theirs"]
    right = {"path": "sites/ours", "content": "another\n"}
    assert module(files=[main, right], together=set_of(folder, check))["changed"]
    assert (folder / "main").read_text() == f"import {folder}/*\n"


def test_a_set_is_checked_with_the_modes_that_it_will_have(module, tmp_path):
    """A key that Caddy's account cannot read is no key for it."""
    folder = tmp_path / "sites"
    folder.mkdir()
    (folder / "theirs").write_text("")
    (folder / "theirs").chmod(0o604)
    modes = 'stat -c %a "$0/.." "$0/theirs" "$0/a/key" | tr "\\n" " "'
    check = f"""sh -c 'test "$({modes})" = "711 604 640 "' %s"""
    key = {"path": "sites/a/key", "content": "secret", "mode": "0640"}
    result = module(files=[key], together=set_of(folder, check))
    assert result["changed"], result


def test_nobody_else_reads_a_set_before_it_has_its_modes(tmp_path, monkeypatch):
    """What is copied is everybody's until it has its owner and its mode."""
    folder = tmp_path / "sites"
    folder.mkdir()
    (folder / "theirs").write_text("secret")
    (folder / "theirs").chmod(0o600)
    spec = importlib.util.spec_from_file_location("library_files", MODULE)
    library_files = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "library_files", library_files)
    spec.loader.exec_module(library_files)
    seen = []

    class Module:
        params: ClassVar = {"together": set_of(folder, "true %s")}

        def run_command(self, command):
            seen.append(("checked", Path(command[1]).parent.stat().st_mode & 0o777))
            return 0, "", ""

    def owned(copy, source):
        seen.append((copy.name, copy.parent.parent.stat().st_mode & 0o777))

    monkeypatch.setattr(library_files, "own_alike", owned)
    file = library_files.File(folder / "ours", b"secret", "root", "root", 0o600, None, True)
    (tmp_path / "sites/.ours").write_text("secret")
    library_files.check_together(Module(), [(file, folder / ".ours")])
    assert sorted(seen[:-1]) == [(".ours", 0o700), ("ours", 0o700), ("theirs", 0o700)]
    assert seen[-1] == ("checked", 0o711)


def test_what_was_replaced_can_be_taken_back(module, tmp_path):
    (tmp_path / "one").write_text("before")
    (tmp_path / "one").chmod(0o600)
    kept = str(tmp_path / "kept")
    files = [{"path": "one", "content": "after"}, {"path": "two", "content": "new"}]
    assert module(files=files, kept=kept)["changed"]
    assert (tmp_path / "two").exists()
    load.take_back(Path(kept))
    assert (tmp_path / "one").read_text() == "before"
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "two").exists()
    (tmp_path / "one").write_text("of somebody")
    load.take_back(Path(kept))
    assert (tmp_path / "one").read_text() == "of somebody", "it was forgotten"


def test_nothing_new_forgets_nothing_that_was_kept(module, tmp_path):
    kept = str(tmp_path / "kept")
    (tmp_path / "one").write_text("before")
    module(files=[{"path": "one", "content": "after"}], kept=kept)
    assert not module(files=[{"path": "one", "content": "after"}], kept=kept)["changed"]
    load.take_back(Path(kept))
    assert (tmp_path / "one").read_text() == "before"


def test_a_secret_is_not_in_the_difference_that_is_shown(write, tmp_path):
    (tmp_path / "one").write_text("hush before")
    result = write({"path": "one", "content": "hush", "secret": True}, check=True, diff=True)
    assert result["changed"]
    assert "hush" not in json.dumps(result["diff"])
    assert result["diff"][0]["after"] == "(not shown)\n"


def test_a_set_is_checked_where_something_of_it_changes_only(module, tmp_path):
    """The check of Caddy's files takes a second, and what else is written is not about them."""
    (tmp_path / "sites").mkdir()
    together = set_of(tmp_path / "sites", "false %s")
    assert module(files=[{"path": "unit", "content": "x"}], together=together)["changed"]
    assert module(files=[{"path": "sites/one", "content": "x"}], together=together)["failed"]
