"""Which Python an application asks for, and which one a server has or gets."""

import json

import pytest
from pergola_control import uv
from pergola_control.here import ROOT
from pergola_control.refusal import RefusalError
from pergola_control.source.interpreters import PLACE, Server, chosen, unreachable
from pergola_control.source.pythons import asked
from pergola_control.source.settings import Settings, checked
from pergola_control.source.versions import resolved
from repositories import commit, git

HASHED = f"fastapi==1.0 --hash=sha256:{64 * '0'}\n"
PROJECT = '[project]\nname = "web"\nversion = "1"\nrequires-python = "{}"\n'
POETRY = '[tool.poetry]\nname = "web"\n[tool.poetry.dependencies]\n"python" = "{}"\n'


@pytest.fixture
def asks(tmp_path):
    """What an application with some files asks for."""

    def ask(files, **settings):
        path = tmp_path / "app"
        path.mkdir()
        git(path, "init", "-q", "-b", "main")
        for name, content in {"requirements.txt": HASHED, **files}.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(content, newline="")
        commit(path)
        given = {"subdirectory": "", "build": "", "config_digest": "00000000", "version": "HEAD"}
        one = checked(Settings("web", str(path), cache=tmp_path / "c", **{**given, **settings}))
        one.room.mkdir(parents=True, exist_ok=True)
        return asked(resolved(one)[0], one)

    return ask


@pytest.mark.parametrize(
    ("files", "versions", "said"),
    [
        ({}, "", ""),
        ({".python-version": "3.12\n"}, "==3.12.*", "3.12 (.python-version:1)"),
        ({".python-version": "# ours\r\n3.12.4\r\n"}, "==3.12.4", "3.12.4 (.python-version:2)"),
        ({".python-version": "cpython-3.13"}, "==3.13.*", "cpython-3.13 (.python-version:1)"),
        ({".python-version": ">=3.12,<3.14"}, "<3.14,>=3.12", ">=3.12,<3.14 (.python-version:1)"),
        (
            {".tool-versions": "nodejs 22.1\npython 3.12.4 3.11.1\n"},
            "==3.12.4",
            "3.12.4 (.tool-versions:2)",
        ),
        ({"runtime.txt": "python-3.12.4\n"}, "==3.12.4", "python-3.12.4 (runtime.txt:1)"),
        (
            {"Pipfile": '[packages]\n[requires]\npython_version = "3.12"\n'},
            "==3.12.*",
            "3.12 (Pipfile:3)",
        ),
        ({"pyproject.toml": PROJECT.format(">=3.12")}, ">=3.12", ">=3.12 (pyproject.toml:4)"),
        ({"pyproject.toml": POETRY.format("^3.12")}, "<4,>=3.12", "^3.12 (pyproject.toml:4)"),
        ({"pyproject.toml": POETRY.format("~3.12.1")}, "<3.13,>=3.12.1", "~3.12.1"),
        ({"pyproject.toml": POETRY.format("3.12.*")}, "==3.12.*", "3.12.* (pyproject.toml:4)"),
        ({"pyproject.toml": POETRY.format("*")}, "", ""),
        ({"pyproject.toml": POETRY.format(">=3.11 <3.14")}, "<3.14,>=3.11", ">=3.11 <3.14"),
        ({"pyproject.toml": POETRY.format("~3.11 || ^3.13")}, "!=3.12.*,>=3.11", "~3.11 || ^3.13"),
        ({"pyproject.toml": POETRY.format("~2.7 | 3.12.*")}, "<3.13,>=3.12", "~2.7 | 3.12.*"),
        (
            {".python-version": "3.12", "pyproject.toml": PROJECT.format(">=3.12.2")},
            "==3.12.*,>=3.12.2",
            "3.12 (.python-version:1) with >=3.12.2 (pyproject.toml:4)",
        ),
    ],
)
def test_each_file_that_names_a_version_is_read_with_its_line(asks, files, versions, said):
    found, warnings = asks(files)
    assert found.versions == versions
    assert found.said.startswith(said)
    assert not warnings


def test_a_setting_comes_first_and_files_above_the_application_count(asks):
    files = {"app/requirements.txt": HASHED, ".python-version": "3.13"}
    found, _ = asks(files, subdirectory="app")
    assert found.said == "3.13 (../.python-version:1)"


def test_a_setting_beats_the_files(asks):
    found, warnings = asks({".python-version": "3.13"}, python="3.14")
    assert (found.versions, found.said, warnings) == ("==3.14.*", "3.14 (app_python)", [])


def test_files_that_differ_are_told_and_the_first_is_taken(asks):
    found, (warning,) = asks({".python-version": "3.13", "runtime.txt": "python-3.12.4"})
    assert found.versions == "==3.13.*"
    assert "3.13 (.python-version:1) is taken, not python-3.12.4 (runtime.txt:1)" in warning


def test_a_whole_version_and_its_minor_one_do_not_differ(asks):
    _, warnings = asks(
        {".python-version": "3.13.2", "Pipfile": '[requires]\npython_version="3.13"'}
    )
    assert not warnings


@pytest.mark.parametrize("python", ["", "3.12"])
def test_a_version_that_the_project_does_not_allow_is_refused(asks, python):
    with pytest.raises(RefusalError) as refused:
        asks({".python-version": "3.12", "pyproject.toml": PROJECT.format(">=3.13")}, python=python)
    assert "pyproject.toml:4 allows only >=3.13" in str(refused.value)
    assert "\n  Setting: app_python\n" in str(refused.value)


@pytest.mark.parametrize("text", ["pypy3.10-7.3.16", "my-virtualenv", "system"])
def test_what_is_no_version_of_cpython_is_told(asks, text):
    found, (warning,) = asks({".python-version": text})
    assert found.versions == ""
    assert f".python-version:1 says '{text}'" in warning


@pytest.mark.parametrize(
    ("allowed", "of_all"),
    [(">=3.11", True), (">=3.9,<4", True), (">=3.12", False), (">=3.11,<3.14", False)],
)
def test_a_lower_bound_that_each_server_meets_needs_no_look_at_it(asks, allowed, of_all):
    assert asks({"pyproject.toml": PROJECT.format(allowed)})[0].of_all is of_all


# -- what a server has -----------------------------------------------------------------------------


def server(*own, brought=(), machine="x86_64"):
    paths = ("/usr/bin/python3", "/usr/bin/python3.12")
    return Server("web1", machine, dict(zip(paths, own, strict=False)), brought)


def test_the_systems_own_is_taken_if_it_fits():
    assert chosen("==3.11.*", "3.11", server("3.11.2"), "", None).interpreter == ""
    other = chosen("==3.12.*", "3.12", server("3.13.5", "3.12.3"), "", None)
    assert (other.version, other.interpreter, other.key) == ("3.12", "/usr/bin/python3.12", "")


@pytest.mark.parametrize(
    ("versions", "own", "minor"),
    [
        ("==3.14.*", "3.11.2", "3.14"),
        (">=3.12", "3.11.2", "3.12"),
        ("<3.11,>=3.8", "3.13.5", "3.10"),
        (">=3.11,<3.13", "3.13.5", "3.12"),
    ],
)
def test_of_uvs_the_newest_of_the_nearest_minor_version_is_taken(versions, own, minor):
    found = chosen(versions, "", server(own), "", None)
    assert found.version.startswith(f"{minor}.")
    assert found.interpreter == f"{PLACE}/{found.key}/bin/python{minor}"
    assert found.key.endswith("-linux-x86_64-gnu")
    newer = found.version.rpartition(".")
    every = [one["version"] for one in uv.pythons("", None) if one["arch"] == "x86_64"]
    assert f"{newer[0]}.{int(newer[2]) + 1}" not in every
    assert len(found.urls) == 2  # where uv looks next


def test_it_is_built_for_the_servers_processor_and_fetched_from_the_mirror():
    found = chosen("==3.12.4", "", server("3.13.5", machine="aarch64"), "http://m.test/x", None)
    assert found.key == "cpython-3.12.4-linux-aarch64-gnu"
    assert [url.rpartition("/")[0] for url in found.urls] == ["http://m.test/x/20240726"]


def test_what_is_there_already_is_not_fetched():
    key = "cpython-3.12.4-linux-x86_64-gnu"
    found = chosen("==3.12.4", "", server("3.13.5", brought=[key]), "", None)
    assert (found.key, found.interpreter) == ("", f"{PLACE}/{key}/bin/python3.12")


def test_a_version_that_nobody_has_is_refused_with_those_there_are():
    with pytest.raises(RefusalError) as refused:
        chosen("==3.12.99", "3.12.99 (.python-version:1)", server("3.13.5"), "", None)
    said = str(refused.value)
    assert "web1 has no Python that fits 3.12.99 (.python-version:1)" in said
    assert "3.13.5 (/usr/bin/python3)" in said
    assert "3.14." in said
    assert "\n  Setting: app_python\n" in said


def test_a_version_that_cannot_be_fetched_is_refused_with_what_the_server_has():
    own = server("3.13.5")
    found = chosen("==3.12.4", "3.12.4", own, "", None)
    said = str(unreachable("3.12.4", own, found, "timed out"))
    assert "3.12.4 would be fetched, but the server does not reach it: timed out" in said
    assert "\n  Setting: app_python_mirror\n" in said
    assert 'app_python: "3.13"' in said


def build(key, **more):
    entry = {
        "name": "cpython",
        "arch": {"family": "x86_64", "variant": None},
        "os": "linux",
        "libc": "gnu",
        "major": 3,
        "minor": 15,
        "patch": 99,
        "prerelease": "",
        "url": "https://builds.test/python.tar.gz",
        "sha256": 64 * "0",
        "variant": None,
        "build": "1",
        **more,
    }
    return {key: entry}


def test_a_list_of_ones_own_takes_the_place_of_uvs(tmp_path):
    path, key = tmp_path / "builds.json", "cpython-3.15.99-linux-x86_64-gnu"
    path.write_text(json.dumps(build(key)))
    found = chosen(">=3.14", "", server("3.13.5"), "", path)
    assert (found.version, found.key, found.urls) == (
        "3.15.99",
        key,
        ("https://builds.test/python.tar.gz",),
    )
    assert list(found.builds) == [key]
    with pytest.raises(RefusalError, match=r"builds.json has no such version"):
        chosen("==3.14.*", "", server("3.13.5"), "", path)


@pytest.mark.parametrize("content", ["{", "[]", json.dumps(build("a", sha256=None))])
def test_a_list_without_checksums_is_refused(tmp_path, content):
    path = tmp_path / "builds.json"
    path.write_text(content)
    with pytest.raises(RefusalError, match="app_python_mirror"):
        chosen("==3.15.*", "", server("3.13.5"), "", path)


def test_both_houses_mean_the_same_place():
    there = (ROOT / "host/pergola/release/pythons.py").read_text()
    assert f'PLACE = Path("{PLACE}")' in there
