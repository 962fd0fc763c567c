"""The distribution's packages that an application needs, as a system calls them."""

import io
import json
import sys

import pytest
from apt_made import Apt
from pergola import apt
from pergola.app import cli
from pergola.app.packages import WANTED, Wanted, look

KNOWN = ["libpq5", "ffmpeg", "libmagic1t64", "gcc", "libpq-dev", "python3-dev", "libldap-2.5-0"]
BUILD = {"uv.lock: psycopg2": ["gcc", "libpq-dev", "python3-dev"]}


@pytest.fixture
def system(monkeypatch, tmp_path):
    """A system that knows some packages, and has none of them."""
    found = Apt(KNOWN)
    monkeypatch.setattr(apt, "attempt", found.attempt)
    monkeypatch.setattr(apt, "LISTS", tmp_path)
    (tmp_path / "a.test_dists_x_main_binary-amd64_Packages").touch()
    return found


def test_what_is_asked_for_and_what_is_known_is_installed_once_and_said(system):
    found = look(Wanted(["ffmpeg", "libpq5"], {"libpq5": "uv.lock: psycopg2"}))
    assert found.install == ["ffmpeg", "libpq5"]
    assert found.notes == ["ffmpeg (app_system_packages)", "libpq5 (app_system_packages)"]
    assert look(Wanted([], {"libpq5": "uv.lock: psycopg2"})).notes == ["libpq5 (uv.lock: psycopg2)"]


def test_what_is_there_is_not_installed_again(system):
    system.installed |= {"libpq5", "libmagic1t64", "libldap-2.5-0"}
    known = {"libpq5": "a", "libmagic1": "b", "libldap2 | libldap-2.5-0": "c"}
    found = look(Wanted(["libpq5", "libmagic1"], known))
    assert (found.install, found.wrong, found.notes) == ([], [], [])


def test_a_library_that_the_system_calls_otherwise_is_found(system):
    assert look(Wanted(["libmagic1"])).install == ["libmagic1t64"]
    assert look(Wanted([], {"libldap2 | libldap-2.5-0": "x"})).install == ["libldap-2.5-0"]


def test_a_package_that_there_is_not_is_refused_with_names_that_are_near(system):
    (said,) = look(Wanted(["ffmpg"])).wrong
    assert said == "app_system_packages: this system has no package ffmpg; it has ffmpeg"
    (said,) = look(Wanted(["zzz"])).wrong
    assert said.endswith("no package zzz")


def test_one_that_only_the_table_wants_is_told(system):
    found = look(Wanted([], {"wkhtmltopdf": "uv.lock: pdfkit"}))
    assert (found.install, found.wrong) == ([], [])
    (note,) = found.notes
    assert note.startswith("none for uv.lock: pdfkit, which needs wkhtmltopdf")


@pytest.mark.parametrize("ubuntu", [False, True])
def test_a_server_whose_apt_has_not_looked_everywhere_yet_refuses_nothing(system, ubuntu):
    if ubuntu:
        text = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nOrigin: Ubuntu\nLabel: Ubuntu\n"
        (apt.LISTS / "a.test_dists_x_InRelease").write_text(text)
    else:
        next(apt.LISTS.iterdir()).unlink()
    found = look(Wanted(["ffmpg"], {"libldap2 | libldap-2.5-0": "x"}))
    assert (found.wrong, found.install) == ([], ["ffmpg", "libldap2"])
    if ubuntu:
        (apt.LISTS / "a.test_dists_x_universe_binary-amd64_Packages").touch()
        assert len(look(Wanted(["ffmpg"])).wrong) == 1


def test_what_has_to_be_compiled_is_refused_with_the_line_to_write(system):
    (said,) = look(Wanted(build=BUILD)).wrong
    assert "uv.lock: psycopg2 has no wheel" in said
    assert "Set app_system_packages: [gcc, libpq-dev, python3-dev]" in said
    assert look(Wanted(["gcc", "libpq-dev", "python3-dev"], build=BUILD)).wrong == []
    assert look(Wanted(coming=["gcc", "libpq-dev", "python3-dev"], build=BUILD)).wrong == []
    system.installed |= {"gcc", "libpq-dev"}
    (said,) = look(Wanted(build=BUILD)).wrong
    assert "takes python3-dev." in said


def test_what_comes_with_another_package_need_not_be_named(system):
    """As the README of mysqlclient has it, and everybody who compiles."""
    system.needs = {"build-essential": ["gcc", "make"], "default-libpq": ["libpq-dev"]}
    asked = ["python3-dev", "default-libpq", "build-essential"]
    system.known |= {*asked}
    assert look(Wanted(asked, build=BUILD)).wrong == []
    (said,) = look(Wanted(asked[:2], build=BUILD)).wrong
    assert "takes gcc." in said
    assert "psycopg2-binary" in said
    (said,) = look(Wanted(build={"uv.lock: mysqlclient": ["gcc"]})).wrong
    assert "psycopg2-binary" not in said


def test_it_is_read_as_the_role_writes_it():
    text = '{"asked": ["a"], "known": {"b": "c"}, "build": {"d": ["e"]}, "coming": []}'
    assert WANTED.parse(text, "here") == Wanted(["a"], {"b": "c"}, {"d": ["e"]})


def test_the_command_line_answers_before_an_application_is_there(system, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["app", "packages"])
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"asked": ["ffmpeg"]}'))
    assert cli.main() == 0
    assert json.loads(capsys.readouterr().out)["install"] == ["ffmpeg"]


def test_what_a_service_needs_is_the_first_that_the_system_knows_or_it_is_refused(system):
    wanted = Wanted(required={"valkey-tools | redis-tools": "app_services: valkey"})
    (said,) = look(wanted).wrong
    assert said == "app_services: valkey: this system has no package valkey-tools or redis-tools"
    system.known.add("redis-tools")
    assert look(wanted).notes == ["redis-tools (app_services: valkey)"]
    system.installed.add("redis-tools")
    assert look(wanted).install == []
    system.known.add("valkey-tools")
    assert look(wanted).install == ["valkey-tools"]
