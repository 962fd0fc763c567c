"""What the packages of a lock need of the distribution's."""

import re
import tomllib

import pytest
from pergola_control.refusal import RefusalError
from pergola_control.source.cli import release_of
from pergola_control.source.forms import form_of
from pergola_control.source.needs import TABLE, Needs, needs
from pergola_control.source.packages import Packages
from pergola_control.source.settings import Settings, checked
from pergola_control.source.versions import resolved
from repositories import commit, git

HASH = f"--hash=sha256:{64 * '0'}\n"
PYPROJECT = """[project]
name = "web"
version = "1"
dependencies = ["pydub", "psycopg2"]
[dependency-groups]
dev = ["pdf2image"]
"""
LOCK = """version = 1
revision = 3
requires-python = ">=3.11"
[[package]]
name = "web"
version = "1"
source = { virtual = "." }
dependencies = [{ name = "pydub" }, { name = "psycopg2" }]
[package.dev-dependencies]
dev = [{ name = "pdf2image" }]
"""


def entry(name, *kinds, wheels=("-py3-none-any.whl",)):
    """A package of the lock with files of some kinds."""

    def file(end):
        return f'{{ url = "https://packages.test/{name}-1{end}", hash = "sha256:{64 * "0"}" }}'

    lines = {
        "sdist": f"sdist = {file('.tar.gz')}",
        "wheels": f"wheels = [{', '.join(map(file, wheels))}]",
    }
    more = "\n".join(lines[kind] for kind in kinds)
    source = '{ registry = "https://packages.test/simple" }'
    return f'[[package]]\nname = "{name}"\nversion = "1"\nsource = {source}\n{more}\n'


@pytest.fixture
def needed(tmp_path):
    def of(server="", **files):
        path = tmp_path / "app"
        path.mkdir()
        git(path, "init", "-q", "-b", "main")
        for name, content in files.items():
            (path / name.replace("_dot_", ".")).write_text(content)
        commit(path)
        one = checked(Settings("web", str(path), "HEAD", "", "", "00000000", tmp_path / "c"))
        one.room.mkdir(parents=True, exist_ok=True)
        release, _ = resolved(one)
        packages = Packages(release, form_of(release, one), one)
        return needs(packages), release_of(one, True, server)

    return of


def test_what_a_hashed_list_installs_gets_its_libraries(needed):
    listed = f"Psycopg2==2.9 {HASH}WeasyPrint[x]==60 {HASH}idna==3 {HASH}"
    found, printed = needed(requirements_dot_txt=listed)
    assert found.run["libpq5"] == "requirements.txt: psycopg2"
    assert found.run["libpango-1.0-0"] == "requirements.txt: weasyprint"
    assert found.build == {}  # a list does not say what has a wheel
    assert printed["system_packages"]["run"] == found.run


def test_a_list_without_such_packages_needs_nothing(needed):
    assert needed(requirements_dot_txt=f"idna==3 {HASH}")[0] == Needs()


def test_one_that_brings_it_itself_needs_nothing(needed):
    listed = f"psycopg==3 {HASH}psycopg-binary==3 {HASH}"
    assert needed(requirements_dot_txt=listed)[0] == Needs()


def test_of_a_uv_lock_what_is_for_development_does_not_count(needed):
    lock = (
        LOCK
        + entry("pydub", "wheels")
        + entry("pdf2image", "wheels")
        + entry("psycopg2", "sdist", "wheels")
    )
    found, _ = needed(pyproject_dot_toml=PYPROJECT, uv_dot_lock=lock)
    assert found == Needs({"ffmpeg": "uv.lock: pydub", "libpq5": "uv.lock: psycopg2"})


def test_what_has_no_wheel_has_to_be_compiled(needed):
    lock = (
        LOCK + entry("pydub", "wheels") + entry("pdf2image", "wheels") + entry("psycopg2", "sdist")
    )
    found, _ = needed(pyproject_dot_toml=PYPROJECT, uv_dot_lock=lock)
    assert found.build == {"uv.lock: psycopg2": ["gcc", "libpq-dev", "python3-dev"]}


@pytest.mark.parametrize(
    ("wheels", "is_compiled"),
    [
        (["-cp311-cp311-win_amd64.whl", "-cp315-cp315t-win_arm64.whl"], True),
        (
            ["-cp311-cp311-macosx_10_9_universal2.whl", "-cp311-cp311-musllinux_1_2_x86_64.whl"],
            True,
        ),
        (
            ["-cp39-abi3-win32.whl", "-cp311-cp311-manylinux2014_i686.manylinux_2_17_i686.whl"],
            False,
        ),
        (["-cp311-cp311-linux_x86_64.whl"], False),
        (["-py3-none-any.whl"], False),
    ],
)
def test_a_wheel_for_another_system_saves_no_compiler(needed, wheels, is_compiled):
    psycopg2 = entry("psycopg2", "sdist", "wheels", wheels=wheels)
    lock = LOCK + entry("pydub", "wheels") + entry("pdf2image", "wheels") + psycopg2
    found, _ = needed(pyproject_dot_toml=PYPROJECT, uv_dot_lock=lock)
    assert bool(found.build) == is_compiled


@pytest.mark.parametrize(
    ("server", "says"),
    [("hypercorn", "has hypercorn for development, or"), ("granian", "has no granian")],
)
def test_a_server_that_servers_do_not_install_is_refused(needed, server, says):
    project = PYPROJECT.replace('["pdf2image"]', '["hypercorn"]')
    lock = LOCK.replace("pdf2image", "hypercorn") + "".join(
        entry(name, "wheels") for name in ("pydub", "psycopg2", "hypercorn")
    )
    files = {"pyproject_dot_toml": project, "uv_dot_lock": lock}
    with pytest.raises(RefusalError, match=f"uv.lock {says}"):
        needed(server, **files)


def test_the_table_has_names_of_packages_only():
    table = tomllib.loads(TABLE.read_text())
    assert list(table) == sorted(table)
    for name, one in table.items():
        assert one.keys() <= {"run", "build", "unless"}
        assert re.fullmatch(r"[a-z0-9-]+", name)
        for package in (*one["run"], *one.get("build", ())):
            for word in package.split(" | "):
                assert re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", word), word
