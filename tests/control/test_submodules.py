"""The files of submodules are part of a release."""

import tarfile
from dataclasses import replace

import pytest
from pergola_control.refusal import RefusalError
from pergola_control.source import submodules
from pergola_control.source.archives import archive_path
from pergola_control.source.commits import Commit
from pergola_control.source.forms import Form
from pergola_control.source.settings import Settings
from repositories import commit, git, names, refusal, release

FILES = ("-c", "protocol.file.allow=always")


@pytest.fixture
def library(tmp_path):
    """A repository that has a submodule of its own."""
    for name in ("deep", "library"):
        (tmp_path / name).mkdir()
        git(tmp_path / name, "init", "-q", "-b", "main")
        commit(tmp_path / name, "First", file="1")
    git(tmp_path / "library", *FILES, "submodule", "add", "-q", "../deep", "deep")
    commit(tmp_path / "library", "With it")
    return tmp_path / "library"


@pytest.fixture
def using(app, library):
    """The application with it."""
    git(app, *FILES, "submodule", "add", "-q", "../library", "lib/library")
    git(app, *FILES, "submodule", "update", "-q", "--init", "--recursive")
    commit(app, "With a library")
    return app


HELD = ["lib/library/deep/file", "lib/library/file", "main.py"]


def held(result):
    return [name for name in names(result) if name.endswith(("file", "main.py"))]


def content(result, name):
    with tarfile.open(result["archive"]) as archive:
        return archive.extractfile(name).read().decode()


def test_the_files_of_submodules_are_in_the_release(tmp_path, using):
    made = release(tmp_path, using)
    assert held(made) == HELD
    assert made["warnings"] == []
    assert release(tmp_path, using) == made


def test_an_archive_that_was_made_without_them_is_not_taken(tmp_path, using):
    settings = Settings("web", "x", "HEAD", "", "", "0", tmp_path)
    alone = Commit(using, "0" * 40, "", "", "", 0)
    whole = replace(alone, inside=(("lib", alone),))
    form = Form("uv-lock", "uv.lock")
    paths = {archive_path(settings, one, form) for one in (alone, whole)}
    assert len(paths) == 2


def test_it_is_the_recorded_commit_that_counts(tmp_path, using, library):
    inside = using / "lib/library"
    commit(inside, "Not recorded", file="2")
    made = release(tmp_path, using)
    assert content(made, "lib/library/file") == "1"
    assert "lib/library" in made["warnings"][0]
    commit(using, "Recorded")
    assert content(release(tmp_path, using), "lib/library/file") == "2"
    assert content(release(tmp_path, using, "--version", "HEAD~1"), "lib/library/file") == "1"


def test_a_subdirectory_has_the_submodules_below_it(tmp_path, using):
    commit(using, "A part", lib__pyproject_dot_toml="", lib__uv_dot_lock="")
    made = release(tmp_path, using, "--subdirectory", "lib")
    assert held(made) == ["library/deep/file", "library/file"]


@pytest.mark.parametrize("version", ["HEAD", "working-tree"])
@pytest.mark.parametrize("plan", [(), ("--plan",)])
def test_one_that_was_not_brought_is_refused_with_what_to_type(tmp_path, using, version, plan):
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", using, clone)
    said = refusal(tmp_path, clone, "--version", version, *plan)
    assert "The submodule lib/library is not in this clone" in said
    command = f"git -C {clone} submodule update --init --recursive"
    assert command in said
    git(tmp_path, *FILES, *command.split()[1:])
    assert held(release(tmp_path, clone, "--version", version)) == HELD


def test_one_without_the_recorded_commit_is_refused(tmp_path, using, library):
    clone = tmp_path / "clone"
    git(tmp_path, *FILES, "clone", "-q", "--recurse-submodules", using, clone)
    git(using / "lib/library", *FILES, "pull", "-q", library, "main")
    commit(library, "Second", file="2")
    git(using / "lib/library", *FILES, "pull", "-q", library, "main")
    commit(using, "Newer")
    git(clone, *FILES, "fetch", "-q", "--no-recurse-submodules")
    said = refusal(tmp_path, clone, "--version", "origin/main")
    assert "The submodule lib/library does not have its commit" in said
    assert f"git -C {clone}/lib/library fetch" in said


def test_the_working_tree_has_them_as_they_are(tmp_path, using):
    (using / "lib/library/new").write_text("x")
    made = release(tmp_path, using, "--version", "working-tree")
    assert "lib/library/new" in names(made)
    assert held(made) == HELD


def test_those_of_an_address_are_fetched(tmp_path, using, library):
    made = release(tmp_path, f"file://{using}")
    assert held(made) == HELD
    library.rename(tmp_path / "gone")
    again = release(tmp_path, f"file://{using}", "--commit", made["commit"])
    assert again == made
    other = refusal(tmp_path, f"file://{using}", cache="other")
    assert "There is no such repository" in other


def test_a_commit_that_nobody_pushed_is_refused(tmp_path, using):
    commit(using / "lib/library", "Only here", file="2")
    commit(using, "Names it")
    said = refusal(tmp_path, f"file://{using}")
    assert "The submodule lib/library has no commit" in said
    assert "push that commit" in said


def test_a_repository_cannot_name_one_of_this_machine(tmp_path, using, monkeypatch):
    room = tmp_path / "room"
    room.mkdir()
    settings = Settings("web", "https://app.test/web.git", "HEAD", "", "", "0", room)
    for url in ("file:///home/somebody/secret", "/home/somebody", "http://app.test/x", "ext::sh x"):
        with pytest.raises(RefusalError, match="is not fetched"):
            submodules.fetched_submodule(settings, url, "0" * 40, "lib")


def test_a_repository_that_is_no_submodule_is_told(tmp_path, using):
    git(using, "clone", "-q", "../deep", "stray")
    commit(using, "By mistake")
    (warning,) = release(tmp_path, using)["warnings"]
    assert ".gitmodules does not name" in warning
    assert "stray" in warning


@pytest.mark.parametrize(
    ("url", "parent", "whole"),
    [
        ("../lib.git", "https://git.test/team/web.git", "https://git.test/team/lib.git"),
        ("../../x/lib", "https://git.test/team/web/", "https://git.test/x/lib"),
        ("../lib.git", "git@git.test:team/web.git", "git@git.test:team/lib.git"),
        ("../lib.git", "git@git.test:web.git", "git@git.test:lib.git"),
        ("./lib", "file:///srv/web", "file:///srv/web/lib"),
        ("https://other.test/lib", "https://git.test/team/web", "https://other.test/lib"),
    ],
)
def test_a_relative_address_is_the_repository_s_neighbour(url, parent, whole):
    assert submodules.address(url, parent) == whole
