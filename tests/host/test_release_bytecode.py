"""Byte-code: compiled once for each content, shared by releases, never what a build wrote."""

import importlib.util
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from pergola.release import bytecode, workshop
from release_made import having

SITE = "lib/python3/site-packages"


@pytest.fixture
def build(releases, monkeypatch):
    """Make the environment of a release of some modules; it tells what was compiled for it."""
    me = SimpleNamespace(pw_uid=os.getuid(), pw_gid=os.getgid())
    monkeypatch.setattr(bytecode, "account_of", lambda _: me)
    having(releases, python=sys.executable)
    told = []

    def run(self, command, directory, environment, *, more, stdin):
        text = stdin.read().decode()
        told.extend(line.rpartition("/")[2] for line in text.splitlines())
        # Another umask than root's, as for a build.
        done = subprocess.run(
            list(map(str, command)), cwd=directory, env=environment, input=text, text=True,
            capture_output=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    monkeypatch.setattr(workshop.Sandbox, "run", run)

    def build(release, **modules):
        told.clear()
        shop = workshop.Workshop(releases, releases.path(release))
        place = shop.venv / SITE
        place.mkdir(parents=True)
        for name, text in modules.items():
            (place / f"{name}.py").write_text(text)
        made = bytecode.Bytecode(shop, releases.home)
        made.give()
        made.keep()
        return place, made, told

    return build


def compiled(place, name):
    return place / "__pycache__" / f"{name}.{sys.implementation.cache_tag}.pyc"


def said(place, name):
    """What a module there says; Python has taken its byte-code."""
    source = f"import {name}, sys; print({name}.SAYS, {name}.__cached__)"
    done = subprocess.run(
        [sys.executable, "-v", "-c", source], cwd=place, env={"PYTHONPATH": str(place)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"{compiled(place, name)} matches" in done.stderr
    return done.stdout.split()[0]


def test_python_takes_what_was_compiled_for_a_release(build):
    place, _, told = build("a", hello="SAYS = 'ada'\n")
    assert told == ["hello.py"]
    assert said(place, "hello") == "ada"


def test_a_release_with_the_same_module_gets_the_same_bytecode_and_compiles_the_rest(build):
    first, *_ = build("a", same="SAYS = 1\n", other="SAYS = 2\n")
    second, _, told = build("b", same="SAYS = 1\n", other="SAYS = 3\n")
    assert told == ["other.py"]
    assert compiled(first, "same").stat().st_ino == compiled(second, "same").stat().st_ino
    assert [said(second, name) for name in ("same", "other")] == ["1", "3"]


def test_a_build_cannot_put_its_own_in_the_place_of_bytecode(build, releases):
    place, made, _ = build("a", hello="SAYS = 'ada'\n")
    evil = compiled(place, "evil")
    evil.write_bytes(compiled(place, "hello").read_bytes())
    compiled(place, "hello").unlink()
    compiled(place, "hello").write_bytes(b"of a build")
    made.clear()
    assert not list(place.rglob("*.pyc"))
    made.give()
    assert [path.name for path in place.rglob("*.pyc")] == [compiled(place, "hello").name]
    second, _, told = build("b", hello="SAYS = 'ada'\n")
    assert (told, said(second, "hello")) == ([], "ada")


def test_a_link_in_the_place_of_the_directory_is_replaced_and_not_followed(build, tmp_path):
    place, made, _ = build("a", hello="SAYS = 'ada'\n")
    made.clear()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    (place / "__pycache__").symlink_to(outside)
    made.give()
    assert [path.name for path in outside.iterdir()] == ["precious"]
    assert said(place, "hello") == "ada"


def test_what_is_no_python_of_this_version_has_none_and_hinders_nothing(build):
    place, _, told = build("a", template="print 'no'\n", hello="SAYS = 'ada'\n")
    assert sorted(told) == ["hello.py", "template.py"]
    assert not compiled(place, "template").exists()
    assert said(place, "hello") == "ada"


def test_what_was_edited_by_hand_is_what_runs(build):
    place, *_ = build("a", hello="SAYS = 'ada'\n")
    dates = (place / "hello.py").stat()
    (place / "hello.py").write_text("SAYS = 'eve'\n")
    os.utime(place / "hello.py", ns=(dates.st_atime_ns, dates.st_mtime_ns))
    source = "import hello; print(hello.SAYS)"
    argv = [sys.executable, "-c", source]
    done = subprocess.run(argv, cwd=place, capture_output=True, check=True)
    assert done.stdout == b"eve\n"


def test_only_what_a_release_has_stays_in_the_store(build, releases):
    build("a", same="SAYS = 1\n", gone="SAYS = 2\n")
    second, *_ = build("b", same="SAYS = 1\n")
    bytecode.tree.remove(releases.path("a"))
    bytecode.prune(releases.home)
    (kept,) = (path for path in (releases.home / "bytecode").rglob("*") if path.is_file())
    assert kept.samefile(compiled(second, "same"))


def test_nothing_that_a_power_loss_may_have_cut_is_in_the_store(build, releases):
    _, made, _ = build("a", hello="SAYS = 'ada'\n")
    place = made.top / "python3/site-packages"
    (place / "more.py").write_text("SAYS = 'more'\n")
    made.give()  # and the power is lost before `keep`
    bytecode.Bytecode(made.shop, releases.home)
    digests = [path.name for path in (releases.home / "bytecode").rglob("*") if path.is_file()]
    assert len(digests) == 1
    assert (releases.home / "bytecode" / sys.implementation.cache_tag / digests[0]).exists()


def test_it_is_of_the_python_that_reads_it(build, monkeypatch):
    tag, begins = bytecode.abi(sys.executable)
    assert (tag, begins[:4]) == (sys.implementation.cache_tag, importlib.util.MAGIC_NUMBER)
    monkeypatch.setattr(bytecode, "abi", lambda python: (tag, b"of another"))
    place, *_ = build("a", hello="SAYS = 'ada'\n")
    assert not list(place.rglob("*.pyc"))
