"""What a deploy would change, told before it does."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from pergola_control.plan.migrations import is_migration
from pergola_control.plan.packages import Lock
from pergola_control.plan.whole import of_the_same
from pergola_control.source.servers import own_version
from repositories import CONTROL, DIGEST, commit, git, release

PLAN = (sys.executable, CONTROL, "plan")
OTHER_DIGEST = "fedcba98"
SETTINGS = {"environment": ["DEBUG"], "processes": [], "schedules": [], "config": {"workers": 2}}

PYPROJECT = """
[project]
name = "web"
version = "1"
[dependency-groups]
dev = []
server = []
[tool.uv]
default-groups = ["dev", "server"]
"""
UV_LOCK = """
version = 1
revision = 3
requires-python = ">=3.11"
[[package]]
name = "web"
version = "1"
source = { virtual = "." }
dependencies = [{ name = "uvicorn", extra = ["standard"] }]
[package.optional-dependencies]
s3 = [{ name = "boto3" }]
[package.dev-dependencies]
dev = [{ name = "pytest" }]
server = [{ name = "gunicorn" }]
tools = [{ name = "watchfiles" }]
[[package]]
name = "click"
version = "8.0"
source = { git = "https://u:s3cret@git.test/click?rev=main#COMMIT" }
"""


def package(name, version, more=""):
    file = f'{{ url = "https://packages.test/{name}-{version}.zip", hash = "sha256:{64 * "0"}" }}'
    source = '{ registry = "https://packages.test/simple" }'
    entry = f'name = "{name}"\nversion = "{version}"\nsource = {source}\nsdist = {file}\n'
    return f"[[package]]\n{entry}{more}"


UVICORN = """dependencies = [{ name = "click" }]
[package.optional-dependencies]
standard = [{ name = "httptools", marker = "sys_platform != 'win32'" }]
watch = [{ name = "watchfiles" }]
"""


def uv_lock(uvicorn="0.54", click="1111111aaaa", **others):
    lock = UV_LOCK.replace("COMMIT", click.ljust(40, "0")) + package("uvicorn", uvicorn, UVICORN)
    more = {"httptools": "0.6", "gunicorn": "25", "pytest": "9", "boto3": "1", "watchfiles": "1"}
    return lock + "".join(package(name, version) for name, version in {**more, **others}.items())


@pytest.fixture
def app(tmp_path):
    directory = tmp_path / "app"
    directory.mkdir()
    git(directory, "init", "-q", "-b", "main")
    files = {"migrations/versions/0001_a.py": "1", "migrations/env.py": "1"}
    commit(directory, "First", pyproject_dot_toml=PYPROJECT, uv_dot_lock=uv_lock(), **files)
    return directory


def live(app, **more):
    """The release that is live: the commit that is checked out, as a host tells of it."""
    sha = git(app, "rev-parse", "HEAD")
    told = {"id": f"{sha[:12]}-{DIGEST[:8]}", "commit": sha, "describe": "Of then"}
    lock = {"lock_name": "uv.lock", "lock": (app / "uv.lock").read_text()}
    return {**told, **lock, "date": "2026-01-01T00:00", "revision": "0001", **SETTINGS, **more}


def call(tmp_path, app, was, *arguments, src=None, made=None, **more):
    made = made or release(tmp_path, src or app, *arguments)
    new = {**made, **SETTINGS, **more}
    arguments = [argument for argument in arguments if "version" not in argument]
    argv = [
        *PLAN,
        f"--source={src or app}",
        f"--cache={tmp_path / 'cache'}",
    ]
    return subprocess.run(
        list(map(str, [*argv, *arguments])),
        input=json.dumps({"app": "web", "host": "web1", "new": new, "live": was}).encode(),
        capture_output=True,
        env=os.environ | {"GIT_CONFIG_GLOBAL": os.devnull},
    )


def planned(tmp_path, app, was, *arguments, **more):
    """The plan's sections, and its first line as `head`."""
    done = call(tmp_path, app, was, *arguments, **more)
    assert done.returncode == 0, done.stderr.decode()
    head, *lines = done.stdout.decode().removesuffix("\n").split("\n")
    sections = {"head": head}
    for line in lines:
        label = line[:15].strip() or label  # noqa: F821 - the first line has one
        sections.setdefault(label, []).append(line[15:])
    return sections


def refusal(tmp_path, app, was, **more):
    done = call(tmp_path, app, was, **more)
    assert done.returncode == 1
    assert done.stdout == b""
    message = done.stderr.decode()
    assert "Traceback" not in message
    assert "\n  Next: " in message
    return message


# Its Python


@pytest.mark.parametrize(
    ("of_all", "interpreter", "says"),
    [
        (True, "", None),
        (False, "", "3.12, the server's own, for 3.12 (.python-version:1)"),
        (False, "/usr/bin/python3.12", "3.12, the server's own, for 3.12 (.python-version:1)"),
        (
            False,
            "/opt/pergola/python/cpython-3.12.4-linux-x86_64-gnu/bin/python3.12",
            "3.12, which uv brings, for 3.12 (.python-version:1)",
        ),
    ],
)
def test_the_python_that_was_asked_for_is_said_with_its_place(
    tmp_path, app, of_all, interpreter, says
):
    asked = {"said": "3.12 (.python-version:1)", "versions": "==3.12.*", "of_all": of_all}
    found = planned(
        *(tmp_path, app, None),
        python=asked,
        interpreter=interpreter,
        config={"python": "3.12"},
    )
    assert found.get("python") == ([says] if says else None)


# The server


@pytest.mark.parametrize(
    ("server", "locked", "says"),
    [
        ("uvicorn", {}, None),
        (
            "uvicorn",
            {"without": "uvicorn"},
            f"uvicorn {own_version()}, Pergola's own: the lock has none",
        ),
        ("gunicorn", {}, "gunicorn 25 of the lock"),
        ("command", {}, "app_server_command"),
    ],
)
def test_what_serves_it_is_said_unless_it_is_the_locks_uvicorn(tmp_path, app, server, locked, says):
    if locked:
        requirements = "click==8 --hash=sha256:" + "a" * 64 + "\n"
        git(app, "rm", "-q", "uv.lock", "pyproject.toml")
        commit(app, "Without", requirements_dot_txt=requirements)
    found = planned(tmp_path, app, None, config={"server": server})
    assert found.get("server") == ([says] if says else None)


# Commits


def test_a_release_that_is_live_changes_nothing(tmp_path, app):
    head = git(app, "rev-parse", "--short=7", "HEAD")
    assert planned(tmp_path, app, live(app)) == {
        "head": f"web on web1: {head} is live already: a deploy would change nothing"
    }


def test_a_live_release_that_starts_again_for_its_units_is_no_nothing(tmp_path, app):
    again = "and web@<slot> starts again beside the old one"
    stale = planned(tmp_path, app, {**live(app), "current": False})["head"]
    assert stale.endswith(f"is live already: its units are newer than its process, {again}")
    order = {"app": "web", "files": ["/etc/systemd/system/web@.service"]}
    assert of_the_same({"current": True}, order) == f"web@.service would be written, {again}"
    assert of_the_same({}, {"app": "web", "files": []}) == "a deploy would change nothing"


def test_the_commits_that_come_are_listed_newest_first(tmp_path, app):
    was = live(app)
    shas = [commit(app, f"Add {name}", **{name: "1"}) for name in ("one", "two")]
    plan = planned(tmp_path, app, was)
    assert plan["head"] == f"web on web1: {was['id']} -> {shas[1][:12]}-{DIGEST[:8]}"
    assert plan["commits"] == [
        "2 new:",
        f"+ {shas[1][:7]} Add two (T, 2026-01-02)",
        f"+ {shas[0][:7]} Add one (T, 2026-01-02)",
    ]


def test_twenty_commits_are_listed_and_the_others_counted(tmp_path, app):
    was = live(app)
    for number in range(23):
        git(app, "commit", "-qm", f"Number {number}", "--allow-empty")
    lines = planned(tmp_path, app, was)["commits"]
    assert lines[0] == "23 new:"
    assert "Number 22" in lines[1]
    assert "Number 3 " in lines[20]
    assert lines[21:] == ["+ and 3 more"]


def test_going_back_lists_what_goes_away(tmp_path, app):
    sha = commit(app, "Then", then="1")
    was = live(app)
    lines = planned(tmp_path, app, was, "--version=HEAD~1")["commits"]
    assert lines == ["going back: 1 goes away:", f"- {sha[:7]} Then (T, 2026-01-02)"]


def test_going_sideways_lists_both(tmp_path, app):
    git(app, "switch", "-qc", "aside")
    went = commit(app, "Aside", aside="1")
    was = live(app)
    git(app, "switch", "-q", "main")
    came = commit(app, "Ahead", ahead="1")
    assert planned(tmp_path, app, was)["commits"] == [
        "sideways: 1 new, 1 goes away:",
        f"+ {came[:7]} Ahead (T, 2026-01-02)",
        f"- {went[:7]} Aside (T, 2026-01-02)",
    ]


def test_a_commit_that_is_gone_is_told_with_what_its_release_says(tmp_path, app):
    was = live(app, commit="1" * 40, id="1-1")
    plan = planned(tmp_path, app, was)
    why = "commit 1111111 of the live release is not in the repository any more"
    assert plan["commits"][0] == f"cannot be listed: {why}"
    assert plan["commits"][1] == "- 1111111 Of then (2026-01-01)"
    assert plan["commits"][2].endswith(" First (2026-01-02)")
    assert plan["migrations"] == [
        f"database at 0001; which of 1 files are new cannot be told: {why}"
    ]


@pytest.mark.parametrize("name", ["--output=x", "HEAD"])
def test_a_commit_from_a_host_is_a_hash_and_nothing_else(tmp_path, app, name):
    plan = planned(tmp_path, app, live(app, commit=name, id="1-1"))
    assert "not in the repository any more" in plan["commits"][0]


@pytest.mark.parametrize("in_git", [True, False])
def test_a_directory_s_files_have_no_commits(tmp_path, app, in_git):
    was = live(app)
    (app / "new.py").write_text("1")
    if not in_git:
        (app / ".git").rename(tmp_path / "gone")
    plan = planned(tmp_path, app, was, "--version=working-tree")
    why = "the new release is a directory's files, not a commit"
    assert plan["commits"][0] == f"cannot be listed: {why}"
    assert plan["commits"][2].startswith("+ t")


def test_a_live_release_of_a_directory_s_files_has_no_commits(tmp_path, app):
    was = live(app, commit="tree-0123456789abcdef", id="t0123-1")
    plan = planned(tmp_path, app, was)
    why = "the live release is a directory's files, not a commit"
    assert plan["commits"][:2] == [f"cannot be listed: {why}", "- t0123 Of then (2026-01-01)"]
    assert plan["migrations"][0].endswith(why)


def test_a_source_that_is_not_in_git_any_more_is_told(tmp_path, app):
    was, made = live(app), release(tmp_path, app)
    made["id"] = f"{made['id'][:12]}-{OTHER_DIGEST}"
    (app / ".git").rename(tmp_path / "gone")
    was["commit"] = "1" * 40
    plan = planned(tmp_path, app, was, made=made)
    assert plan["commits"][0] == "cannot be listed: the source is not in git any more"


def test_an_address_is_looked_up_in_its_mirror(tmp_path, app):
    was = live(app)
    commit(app, "Second", second="1")
    src = f"file://{app}"
    assert planned(tmp_path, app, was, src=src)["commits"][0] == "1 new:"
    made = release(tmp_path, src)
    (mirror,) = (tmp_path / "cache" / "web").glob("mirror-*")
    mirror.rename(tmp_path / "gone")
    message = refusal(tmp_path, app, was, src=src, made=made)
    assert "There is no mirror" in message
    assert "Setting: release_cache_dir" in message


@pytest.mark.parametrize("as_option", [True, False])
def test_of_a_subdirectory_only_its_own_commits_and_migrations_are_listed(tmp_path, app, as_option):
    commit(app, web__pyproject_dot_toml=PYPROJECT, web__uv_dot_lock=uv_lock())
    was = live(app)
    sha = commit(app, "Inside", web__migrations__0002_dot_sql="1", web2__migrations__x_dot_sql="1")
    commit(app, "Outside", migrations__0003_dot_sql="1")
    arguments = ["--subdirectory=web"] if as_option else []
    src = None if as_option else app / "web"
    plan = planned(tmp_path, app, was, *arguments, src=src)
    assert plan["commits"] == [
        "2 new in the whole repository; those in web:",
        f"+ {sha[:7]} Inside (T, 2026-01-02)",
    ]
    assert plan["migrations"] == ["database at 0001:", "+ migrations/0002.sql"]


def test_a_subdirectory_that_no_commit_touches_is_told(tmp_path, app):
    commit(app, web__pyproject_dot_toml=PYPROJECT, web__uv_dot_lock=uv_lock())
    was = live(app)
    commit(app, "Outside", outside="1")
    plan = planned(tmp_path, app, was, "--subdirectory=web")
    assert plan["commits"] == ["1 new in the whole repository; none of them is in web"]


def test_nothing_that_a_terminal_obeys_is_printed(tmp_path, app):
    was = live(app)
    commit(app, "Red \x1b[31m and \x85 two", red="1")
    assert "Red ?[31m and ? two" in planned(tmp_path, app, was)["commits"][1]


# Migrations


def test_migrations_that_are_new_changed_and_gone_are_told_apart(tmp_path, app):
    commit(app, **{"migrations/versions/0002_b.py": "1", "migrations/versions/0009_x.py": "1"})
    was = live(app, revision="0002")
    git(app, "rm", "-q", "migrations/versions/0009_x.py")
    commit(app, **{"migrations/versions/0002_b.py": "2", "migrations/versions/0003_c.py": "1"})
    assert planned(tmp_path, app, was)["migrations"] == [
        "database at 0002:",
        "~ migrations/versions/0002_b.py (changed; where it has run it does not run again)",
        "+ migrations/versions/0003_c.py",
        "- migrations/versions/0009_x.py (gone; what it did to the database stays)",
    ]


def test_a_change_without_migrations_says_where_the_database_is(tmp_path, app):
    was = live(app)
    commit(app, main_dot_py="2")
    assert planned(tmp_path, app, was)["migrations"] == ["none; database at 0001"]
    unknown = planned(tmp_path, app, was | {"revision": None})
    assert unknown["migrations"] == ["none; the database's revision is unknown"]


def test_migrations_that_no_command_runs_are_told(tmp_path, app):
    was = live(app)
    commit(app, **{"migrations/versions/0002_b.py": "1"})
    config = {"migrate_command": ""}
    (head, _) = planned(tmp_path, app, was, config=config)["migrations"]
    assert head == "database at 0001; app_migrate_command is empty: none of these runs:"


def test_what_runs_once_the_release_serves_is_told(tmp_path, app):
    was = live(app)
    commit(app, main_dot_py="2")
    config = {"migrate_after_command": "psql -f a.sql\npsql -f b.sql"}
    plan = planned(tmp_path, app, was, config=config)
    assert plan["migrations"][-1] == "once it serves: psql -f a.sql psql -f b.sql"


def test_what_has_not_succeeded_since_a_release_serves_runs_again(tmp_path, app):
    was = live(app, runs_after=True)
    assert planned(tmp_path, app, was)["head"].endswith(
        "is live already: app_migrate_after_command would run, which has not succeeded yet"
    )


def test_what_is_not_done_for_a_database_of_another_server_is_told(tmp_path, app):
    was = live(app)
    commit(app, main_dot_py="2")
    away = {"PGHOST": "db.example.org", "PGDATABASE": "shop", "PGSSLMODE": "verify-full"}
    where, without = planned(tmp_path, app, was, database_elsewhere=away)["database"]
    assert where == "shop on db.example.org (app_database_url)"
    assert without.startswith("not done for it: backups, a point to return to")
    away["PGSSLMODE"] = "require"
    where, _ = planned(tmp_path, app, was, database_elsewhere=away)["database"]
    assert where.endswith(": sslmode=require verifies no certificate")
    assert "database" not in planned(tmp_path, app, was)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("migrations/0001_initial.py", True),
        ("src/web/migrations/versions/0001.py", True),
        ("alembic/versions/ab12.py", True),
        ("migrations/1.up.sql", True),
        ("db/versions/ab12.py", True),
        ("versions/ab12.py", False),
        ("other/versions/ab12.py", False),
        ("migrations/env.py", False),
        ("migrations/versions/__init__.py", False),
        ("tests/migrations/test_0001.py", False),
        ("migrations/README.md", False),
        ("mymigrations/a.py", False),
    ],
)
def test_a_migration_is_known_by_where_it_is(path, expected):
    assert is_migration(path, {path, "db/env.py"}) is expected


# Packages


def test_packages_that_servers_install_are_compared(tmp_path, app):
    was = live(app)
    commit(app, uv_dot_lock=uv_lock("0.55", "2222222bbbb").replace('"httptools"', '"http_2"'))
    done = call(tmp_path, app, was)
    assert b"s3cret" not in done.stdout
    assert planned(tmp_path, app, was)["packages"] == [
        "~ click 8.0 at 1111111 -> 8.0 at 2222222",
        "+ http-2 0.6",
        "- httptools 0.6",
        "~ uvicorn 0.54 -> 0.55",
    ]


def test_packages_of_extras_and_of_the_group_dev_change_nothing_on_a_server():
    names = {"uvicorn", "click", "httptools", "gunicorn"}
    assert (
        Lock("uv.lock", uv_lock(orphan="1"), {"pyproject.toml": PYPROJECT}).packages().keys()
        == names
    )


def test_a_group_that_is_no_default_is_not_installed_on_a_server():
    none = PYPROJECT.replace('["dev", "server"]', "[]")
    assert "gunicorn" not in Lock("uv.lock", uv_lock(), {"pyproject.toml": none}).packages()


def test_a_group_that_is_no_default_any_more_goes_away(tmp_path, app):
    was = live(app)
    commit(app, pyproject_dot_toml=PYPROJECT.replace('["dev", "server"]', "[]"))
    assert planned(tmp_path, app, was)["packages"] == ["- gunicorn 25"]


def test_what_uv_says_of_a_lock_is_told_in_one_line_without_the_file():
    with pytest.raises(
        ValueError, match=r"\AFailed to parse `uv.lock`; cause: .* line 2"
    ) as caught:
        Lock("uv.lock", "version = 1\n[[s3cret\n", {"pyproject.toml": PYPROJECT}).packages()
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_user_s_own_settings_of_uv_do_not_matter(monkeypatch):
    monkeypatch.setenv("UV_LOCKED", "1")
    monkeypatch.setenv("UV_NO_DEFAULT_GROUPS", "1")
    assert "gunicorn" in Lock("uv.lock", uv_lock(), {"pyproject.toml": PYPROJECT}).packages()


def test_a_package_may_have_several_versions_and_the_lock_no_project():
    project = '[dependency-groups]\nserver = []\n[tool.uv]\ndefault-groups = ["server"]\n'
    markers = {"1": "python_full_version < '3.12'", "2": "python_full_version >= '3.12'"}
    wanted = "".join(
        f'{{ name = "a-b-c", marker = "{marker}", specifier = "=={version}" }},'
        for version, marker in markers.items()
    )
    lock = f"""
version = 1
revision = 3
requires-python = ">=3.11"
resolution-markers = {list(markers.values())}
[manifest.dependency-groups]
server = [{wanted}]
"""
    for version, marker in markers.items():
        lock += package("a-b-c", version, f'resolution-markers = ["{marker}"]\n')
    assert Lock("uv.lock", lock, {"pyproject.toml": project}).packages() == {"a-b-c": "1, 2"}


def test_requirements_are_read_with_hashes_markers_and_extras():
    text = (
        "--require-hashes\n# web==1\nuvicorn[standard]==0.54 ; python_version > '3' \\\n"
        "    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
        "numpy==1.26;python_version<'3.12' --hash=x\n"
        "numpy == 2.0 ; python_version >= '3.12' --hash=x\n"
        "pkg @ https://u:s3cret@files.test/d/pkg-1.0.whl?token=s3cret --hash=x\n"
    )
    assert Lock("requirements.txt", text).packages() == {
        "uvicorn": "0.54",
        "numpy": "1.26, 2.0",
        "pkg": "pkg-1.0.whl",
    }


def test_a_change_from_requirements_to_uv_is_compared_as_well(tmp_path, app):
    hashed = "click==8.0 --hash=x\nhttptools==0.6 --hash=x\ngunicorn==24 --hash=x\n"
    was = live(app, lock=hashed, lock_name="requirements.txt", id=f"x-{OTHER_DIGEST}")
    assert planned(tmp_path, app, was)["packages"] == [
        "~ click 8.0 -> 8.0 at 1111111",
        "~ gunicorn 24 -> 25",
        "+ uvicorn 0.54",
    ]


@pytest.mark.parametrize(
    ("lock", "why"),
    [(None, "lock is unknown; 4 to"), ("", "lock is unknown"), ("[[x", "uv.lock: ")],
)
def test_a_live_lock_that_cannot_be_read_hinders_nothing(tmp_path, app, lock, why):
    was = live(app, lock=lock)
    commit(app, main_dot_py="2")
    plan = planned(tmp_path, app, was)
    assert plan["packages"][0].startswith(f"cannot be compared: the live release's {why}")
    assert plan["commits"][0] == "1 new:"


def test_a_new_lock_that_cannot_be_read_is_refused(tmp_path, app):
    was = live(app)
    commit(app, uv_dot_lock='[[package]]\nversion = "1"\n')
    assert "Setting: app_version" in refusal(tmp_path, app, was)


def test_an_archive_that_is_no_use_is_refused(tmp_path, app):
    was = live(app)
    commit(app, main_dot_py="2")
    made = release(tmp_path, app)
    archive = Path(made["archive"])
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    assert "Setting: release_cache_dir" in refusal(tmp_path, app, was, made=made)
    archive.unlink()
    assert "Setting: release_cache_dir" in refusal(tmp_path, app, was, made=made)
    with tarfile.open(archive, "w:gz"):
        pass
    assert "Setting: app_build_command" in refusal(tmp_path, app, was, made=made)


# Settings, environment, processes


def other_settings(app):
    """A live release of the same commit, whose id differs in the digest of its settings only."""
    was = live(app)
    return was | {"id": f"{was['commit'][:12]}-{OTHER_DIGEST}"}


def test_settings_that_differ_are_shown_where_they_cannot_be_a_secret(tmp_path, app):
    was = other_settings(app) | {
        "config": {"workers": 2, "static_command": "x s3cret", "uvicorn_options": [], "asgi": "a:b"}
    }
    config = {"workers": 4, "static_command": "y s3cret", "uvicorn_options": ["--a", "-b"]}
    config |= {"asgi": "a:b", "domain": "https://u:s3cret@x.test", "build_command": "z s3cret"}
    plan = planned(tmp_path, app, was, config=config)
    assert plan["settings"] == [
        "+ build_command",
        "+ domain https://x.test",
        "~ static_command",
        "~ uvicorn_options (empty) -> --a -b",
        "~ workers 2 -> 4",
    ]
    assert plan["commits"][0].startswith("none: ")
    assert plan["commits"][0].endswith(" with other settings")
    assert plan["packages"] == ["none"]


def test_no_server_is_named_for_an_application_without_a_site(tmp_path, app):
    config = {"server": "granian"}
    assert "server" in planned(tmp_path, app, other_settings(app), config=config)
    config = {"server": "granian", "web": False}
    assert "server" not in planned(tmp_path, app, other_settings(app), config=config)


def test_what_the_procfile_says_is_shown_line_by_line(tmp_path, app):
    said = ["Procfile:1: web is not used, …", "Procfile:2: worker is one of app_processes: w"]
    procfile = {"settings": {"server": "command"}, "said": said}
    plan = planned(
        tmp_path, app, other_settings(app), config={"server": "command"}, procfile=procfile
    )
    assert plan["Procfile"] == said
    assert "server" not in plan
    plan = planned(tmp_path, app, other_settings(app), procfile={"settings": {}, "said": []})
    assert "Procfile" not in plan


def test_only_the_names_of_the_environment_are_shown(tmp_path, app):
    was = other_settings(app) | {"environment": ["OLD", "SAME"]}
    plan = planned(tmp_path, app, was, environment=["SAME", "NEW"])
    assert plan["environment"] == ["+ NEW", "- OLD"]


def test_another_value_of_the_environment_is_told_without_it(tmp_path, app):
    plan = planned(tmp_path, app, other_settings(app))
    assert plan["environment"] == [
        "the same names; a value, which is never shown, differs here or in a secret file"
    ]
    plan = planned(tmp_path, app, other_settings(app), config={"workers": 4})
    assert plan["environment"] == ["the same names; values, which are never shown, may differ"]
    was = live(app)
    commit(app, main_dot_py="2")
    assert planned(tmp_path, app, was)["environment"] == ["none"]


def test_what_an_older_host_does_not_tell_is_not_compared(tmp_path, app):
    was = live(app, environment=None, config=None, processes=None)
    commit(app, main_dot_py="2")
    plan = planned(tmp_path, app, was)
    assert plan["environment"] == ["cannot be compared: that of the live release is unknown"]
    assert plan["settings"] == ["cannot be compared: those of the live release are unknown"]
    assert plan["processes"] == ["none"]


def test_processes_come_go_and_change_and_one_must_stop_first(tmp_path, app):
    mail = {"command": "mail s3cret", "overlap": True, "drain_seconds": 5}
    once = {"name": "once", "command": "once", "overlap": False}
    was = other_settings(app) | {"processes": [{"name": "gone"}, {"name": "mail", **mail}, once]}
    processes = [{"name": "mail", **mail, "command": "mail 2", "drain_seconds": 6}, once]
    plan = planned(tmp_path, app, was, processes=[*processes, {"name": "worker", "overlap": False}])
    assert plan["processes"] == ["- gone", "~ mail (command, drain_seconds)", "+ worker"]
    again = "starts again beside the old one, which stops after the switch"
    assert plan["units"] == [
        f"web@<slot> {again}",
        "gone stops for good",
        f"mail {again}",
        "worker starts",
        "expected interruption: once stops before it starts again",
    ]


def test_schedules_may_be_a_dictionary_as_well(tmp_path, app):
    was = other_settings(app) | {"schedules": {"nightly": {"on_calendar": "daily"}}}
    plan = planned(tmp_path, app, was, schedules={"nightly": {"on_calendar": "weekly"}})
    assert plan["schedules"] == ["~ nightly (on_calendar)"]
    assert plan["units"][-1] == "expected interruption: none"


# The first deploy, and the whole


def test_a_first_deploy_lists_what_it_makes(tmp_path, app):
    more = {
        "config": {"workers": 2, "static_dir": ""},
        "processes": [{"name": "w", "overlap": False}],
    }
    plan = planned(tmp_path, app, None, **more)
    sha = git(app, "rev-parse", "HEAD")
    assert plan == {
        "head": f"web on web1: first deploy; it makes {sha[:12]}-{DIGEST[:8]}:",
        "commits": [f"+ {sha[:7]} First (2026-01-02)"],
        "packages": ["4 to install"],
        "migrations": ["+ migrations/versions/0001_a.py"],
        "environment": ["+ DEBUG"],
        "settings": ["+ workers 2"],
        "processes": ["+ w"],
        "schedules": ["none"],
        "units": ["web@<slot> starts", "w starts", "expected interruption: none"],
    }


def test_no_line_ends_in_a_space(tmp_path, app):
    # YAML could not print the plan as a block otherwise.
    for was in (None, other_settings(app) | {"environment": []}):
        text = call(tmp_path, app, was).stdout.decode()
        assert [line for line in text.split("\n") if line != line.rstrip()] == []


def test_an_unfit_source_is_refused_as_in_source_py(tmp_path, app):
    made = release(tmp_path, app)
    message = refusal(tmp_path, app, live(app, id="x-y"), src="/nowhere/at/all", made=made)
    assert "Setting: app_source" in message
