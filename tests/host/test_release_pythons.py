"""A Python that the system has not is brought by uv, used by releases, and removed with them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pergola.errors import PergolaError
from pergola.release import bytecode, pythons
from pergola.release.build import Ordered
from python_made import made, served
from release_made import having, manifest

UV = Path(sys.executable).with_name("uv")
pytestmark = pytest.mark.skipif(not UV.exists(), reason="no uv beside this Python")


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A build of the machine's own Python, and the address of the mirror that has it."""
    folder = tmp_path_factory.mktemp("mirror")
    with served(folder) as address:
        yield made(folder, address), address


@pytest.fixture
def place(tmp_path, monkeypatch):
    found = tmp_path / "opt/python"
    monkeypatch.setattr(pythons, "PLACE", found)
    monkeypatch.setattr(pythons, "LOCK", tmp_path / "run/lock")
    monkeypatch.setattr(pythons, "host_environment", dict)
    return found


@pytest.fixture
def bring(built, place, releases):
    """Have uv bring the build; its interpreter."""

    def brought(**entry):
        build, _ = built
        interpreter = place / build.key / f"bin/python{build.minor}"
        settings = having(releases, uv=str(UV)).settings
        pythons.bring(str(interpreter), settings, "", {build.key: {**build.entry, **entry}})
        return interpreter

    return brought


def test_uv_brings_it_to_one_place_for_all(bring, built, place):
    interpreter = bring()
    assert pythons.asked(str(interpreter), "import sys; print(sys.prefix)") == str(
        place / built[0].key
    )
    assert [path.name for path in place.iterdir()] == [built[0].key]
    for path in place.rglob("*"):
        assert path.is_symlink() or path.stat().st_mode & 0o022 == 0, path
        assert path.is_symlink() or path.stat().st_mode & 0o044 == 0o044, path


def test_an_environment_that_uv_makes_of_it_leads_to_that_very_version(bring, place, tmp_path):
    interpreter = bring()
    environment = {"UV_PYTHON": str(interpreter), "UV_PYTHON_DOWNLOADS": "never", "HOME": "/"}
    venv = tmp_path / "venv"
    command = [UV, "venv", "--quiet", "--no-cache", "--python", interpreter, venv]
    subprocess.run(command, env=environment, check=True)
    assert (venv / "bin/python").readlink() == interpreter
    assert f"home = {interpreter.parent}" in (venv / "pyvenv.cfg").read_text()


def test_it_is_brought_once(bring, place):
    interpreter = bring()
    before = interpreter.stat().st_ino
    assert bring(url="http://127.0.0.1:9/none").stat().st_ino == before


def test_another_file_than_its_checksum_says_is_refused(bring, place):
    with pytest.raises(PergolaError, match="Hash mismatch") as refused:
        bring(sha256=64 * "0")
    assert "app_python_mirror" in str(refused.value)
    assert not list(place.iterdir())


def test_what_was_refused_is_not_there_for_the_next_one(bring, place, monkeypatch):
    """uv may find out, or be ended, when a build is in its place already."""
    interpreter = bring()
    assert interpreter.exists()
    real = pythons.subprocess.run
    pythons.shutil.rmtree(place)

    def run(*words, **more):
        done = real(*words, **more)
        done.returncode = 124
        return done

    monkeypatch.setattr(pythons.subprocess, "run", run)
    with pytest.raises(PergolaError, match="uv could not bring"):
        bring()
    assert not interpreter.exists()


def test_a_home_made_build_in_a_mirror_is_no_match_for_uvs_own_checksum(built, place, releases):
    build, address = built
    own = next(build.folder.rglob("*.tar.gz"))
    copy = build.folder / f"20240726/cpython-3.12.4+20240726{own.name.partition('+20990101')[2]}"
    copy.parent.mkdir()
    shutil.copy(own, copy)
    key = build.key.replace(build.version, "3.12.4")
    settings = having(releases, uv=str(UV)).settings
    with pytest.raises(PergolaError, match="Hash mismatch"):
        pythons.bring(str(place / key / "bin/python3.12"), settings, address, {})
    assert not list(place.iterdir())


def test_a_mirror_without_it_is_told(place, releases, built):
    settings = having(releases, uv=str(UV)).settings
    key = built[0].key.replace(built[0].version, "3.13.1")
    with pytest.raises(PergolaError, match=r"uv could not bring cpython-3\.13\.1") as refused:
        pythons.bring(str(place / key / "bin/python3.13"), settings, f"{built[1]}/none", {})
    assert "404" in str(refused.value)


def test_the_systems_own_needs_nothing(place, releases):
    pythons.bring("", releases.settings, "", {})
    pythons.bring("/usr/bin/python3", releases.settings, "", {})
    assert not place.exists()


def test_what_no_release_has_is_removed_and_what_one_has_stays(place, releases):
    for name in ("cpython-3.12.4-x", "cpython-3.13.1-x", "cpython-3.14.0-x"):
        (place / name / "bin").mkdir(parents=True)
    manifest(releases, "a", interpreter=str(place / "cpython-3.12.4-x/bin/python3.12"))
    manifest(releases, "b", interpreter="")
    # One that is being made: its mark is not there yet.
    manifest(releases, "c", interpreter=str(place / "cpython-3.13.1-x/bin/python3.13"))
    (releases.path("c") / "ready").unlink()
    assert pythons.prune() == ["cpython-3.14.0-x"]
    shutil.rmtree(releases.path("a"))
    assert pythons.prune() == ["cpython-3.12.4-x"]


def test_all_stay_while_a_release_cannot_be_read(place, releases):
    (place / "cpython-3.12.4-x").mkdir(parents=True)
    manifest(releases, "a")
    (releases.path("a") / "release.json").write_text("{")
    assert pythons.prune() == []
    assert (place / "cpython-3.12.4-x").exists()


def test_byte_code_is_that_of_the_interpreter_that_reads_it(tmp_path):
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho cpython-999 0a0b0d0a\n")
    other.chmod(0o755)
    assert bytecode.abi(str(other)) == ("cpython-999", b"\x0a\x0b\x0d\x0a\x03\0\0\0")


def test_where_it_comes_from_is_not_part_of_what_is_kept():
    ordered = Ordered(python_mirror="https://m.test", python_builds={"a": {}}, interpreter="/x")
    assert ordered.public.interpreter == "/x"
    assert not hasattr(ordered.public, "python_mirror")
