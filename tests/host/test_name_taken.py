"""An application's name must not be used on the host already: found by looking."""

import importlib.util
import pwd
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[2] / "library/name_taken.py"
spec = importlib.util.spec_from_file_location("name_taken", PATH)
name_taken = importlib.util.module_from_spec(spec)
spec.loader.exec_module(name_taken)


def test_an_account_that_is_there_is_found_whatever_it_is_called():
    for account in pwd.getpwall()[:8]:
        assert any(
            f"the account {account.pw_name} " in found
            for found in name_taken.accounts(account.pw_name, ours=False)
        )
    assert list(name_taken.accounts("no-such-account", ours=False)) == []


def test_an_account_of_people_is_not_the_application_s_even_if_it_runs_already(monkeypatch):
    def entry(name):
        if name != "deploy":
            raise KeyError(name)
        return pwd.struct_passwd((name, "x", 1000, 1000, "", home, "/bin/bash"))

    monkeypatch.setattr(name_taken.pwd, "getpwnam", entry)
    home = "/home/deploy"
    assert "home /home/deploy" in next(name_taken.accounts("deploy", ours=True))
    home = "/var/lib/deploy"
    assert list(name_taken.accounts("deploy", ours=True)) == []


@pytest.mark.parametrize(
    "path",
    ["etc/sysusers.d/x.conf", "usr/lib/tmpfiles.d/x.conf", "etc/init.d/x", "etc/caddy/x.caddy"],
)
def test_a_file_that_would_be_overwritten_or_hidden_is_found(tmp_path, path):
    assert list(name_taken.files("x", tmp_path)) == []
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).touch()
    assert list(name_taken.files("x", tmp_path)) == [f"/{path}"]


def test_a_directory_counts_when_something_is_in_it(tmp_path):
    (tmp_path / "var/lib/x/lost+found").mkdir(parents=True)
    (tmp_path / "srv/x").mkdir(parents=True)
    assert list(name_taken.files("x", tmp_path)) == []
    (tmp_path / "var/lib/x/file").touch()
    assert list(name_taken.files("x", tmp_path)) == ["/var/lib/x, which has files"]
    (tmp_path / "run/x").mkdir(parents=True)
    assert "/run/x" in list(name_taken.files("x", tmp_path))


def test_units_that_would_be_taken_for_its_own_are_found():
    listed = ["notes.service enabled enabled", "notes-more.service static", "notes@.socket", ""]
    assert name_taken.units(listed, "notes") == ["the unit notes.service", "the unit notes@.socket"]
    assert name_taken.units(["user.slice loaded active"], "user") == ["the unit user.slice"]


def test_what_pergola_made_for_the_application_is_no_hindrance(tmp_path):
    assert not name_taken.is_ours("x", tmp_path)
    (tmp_path / "etc/sysusers.d").mkdir(parents=True)
    (tmp_path / "etc/sysusers.d/x.conf").write_text("u x - -\n")
    assert not name_taken.is_ours("x", tmp_path)
    (tmp_path / "etc/sysusers.d/x.conf").write_text(f"{name_taken.MANAGED}: the account\n")
    assert name_taken.is_ours("x", tmp_path)
    template = PATH.parent.parent / "roles/app/templates/sysusers.conf.j2"
    assert template.read_text().startswith(name_taken.MANAGED)


@pytest.mark.parametrize(("restored", "lines"), [(["1"], []), ([], ["PostgreSQL's database wiki"])])
def test_databases_that_a_rebuild_has_brought_back_are_the_applications(
    monkeypatch, restored, lines
):
    """Before any deploy to the rebuilt server there is nothing else of it."""

    def said_by(*argv):
        if argv[0] != "runuser":
            return []
        return (
            restored
            if "wiki_read" in argv[-1] and "pg_database d" in argv[-1]
            else ["database wiki"]
        )

    monkeypatch.setattr(name_taken, "said_by", said_by)
    assert name_taken.taken("wiki") == lines
