import pytest

from testhosts import cli, shell
from testhosts.shell import HostsError


@pytest.mark.parametrize(
    ("text", "name", "codename", "aliases"),
    [
        ("app", "app", "trixie", ()),
        ("app=12", "app", "bookworm", ()),
        ("app=noble,app.example.test,www", "app", "noble", ("app.example.test", "www")),
        ("app,www", "app", "trixie", ("www",)),
    ],
)
def test_spec_of_a_host(text, name, codename, aliases):
    spec = cli.parse_spec(text, "trixie")
    assert (spec.name, spec.suite.codename, spec.aliases) == (name, codename, aliases)


@pytest.mark.parametrize("text", ["", "App", "a_b", "-a", "a,", "a,b c", "a" * 64, "a=12=13"])
def test_wrong_specs_are_refused(text):
    with pytest.raises(HostsError):
        cli.parse_spec(text, "trixie")


def test_a_name_belongs_to_one_host():
    with pytest.raises(HostsError, match="names used twice: www"):
        cli.parse_specs(["a,www", "b,www"], "trixie")


def test_missing_programs_name_their_packages(monkeypatch):
    monkeypatch.setattr(
        shell.shutil, "which", lambda name: None if name in ("nft", "mmdebstrap") else name
    )
    with pytest.raises(HostsError, match=r"apt-get install mmdebstrap nftables$"):
        shell.require_programs()


def test_without_root_and_sudo(monkeypatch, capsys):
    monkeypatch.setattr(cli.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(cli.shutil, "which", lambda _: None)
    assert cli.main(["list"]) == 1
    assert "needs root" in capsys.readouterr().err


def test_sudo_hands_on_the_settings_only(monkeypatch):
    started = []
    monkeypatch.setattr(cli.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(cli.shutil, "which", lambda _: "/usr/bin/sudo")
    monkeypatch.setattr(cli.os, "execvp", lambda _, argv: started.append(argv))
    environment = {"TESTHOSTS_STATE": "/x", "HTTP_PROXY": "p", "SECRET": "s"}
    monkeypatch.setattr(cli.os, "environ", environment)
    cli.become_root(["list", "--json"])
    assert started[0][:2] == ["sudo", "--preserve-env=TESTHOSTS_STATE,HTTP_PROXY"]
    assert started[0][-2:] == ["list", "--json"]


def test_failed_program_shows_what_it_said(tmp_path):
    lacking = tmp_path / "lacking"
    with pytest.raises(HostsError, match=rf"(?s)`ls {lacking}` failed \(2\):.*cannot access"):
        shell.run("ls", lacking)


def test_lock_is_exclusive(tmp_path):
    path = tmp_path / "locks" / "x"
    with shell.lock(path), pytest.raises(BlockingIOError), shell.lock(path, wait=False):
        pass
    with shell.lock(path, wait=False):
        pass
