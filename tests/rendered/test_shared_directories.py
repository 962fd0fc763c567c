"""Directories that stay: what is refused of the setting, and what the application's files make."""

import json
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from test_systems import SYSTEMS, Host

from pergola.app import directories  # isort: skip - test_systems finds it
from pergola.app.directories import Directory  # isort: skip
from pergola.app.order import ORDER  # isort: skip

SHARED = ["data", {"path": "media/", "public": "/media"}]
# Accounts that each system has, for those of an application, of Caddy and of a neighbour.
APP, CADDY, OTHER = "daemon", "bin", "nobody"


RULE = "app_shared_directories | shared_wrong(app_static_url)"


def host(*shared, **settings):
    return Host(SYSTEMS["noble"], app_shared_directories=list(shared), **settings)


@pytest.mark.parametrize(
    "shared",
    [
        [],
        SHARED,
        ["media/photos", ".cache", "a.b/c-d_e"],
        ["./media", "mediax"],
        [{"path": "a", "public": "/static/uploads"}, {"path": "b", "public": "/b/~c"}],
    ],
)
def test_directories_of_the_application_are_taken(shared):
    assert host(*shared, app_static_url="/static")(RULE) == []


@pytest.mark.parametrize(
    ("shared", "says"),
    [
        (["/srv/media"], "'/srv/media' must be a path from the application's directory"),
        (["../media"], "'../media' leads out of the application's directory"),
        (["a/../../b"], "'../b' leads out"),
        (["."], "one is empty, or the application's own directory"),
        (["a/.."], "one is empty, or the application's own directory"),
        ([""], "one is empty"),
        ([None], "one is empty"),
        (["my media"], "'my media': letters, digits"),
        (["media\n}"], "letters, digits"),
        (["%h"], "letters, digits"),
        (["media", "./media/"], "media is there twice"),
        (["data/media", "data"], "data/media is inside data; leave one"),
        ([{"public": "/media"}], "this has public"),
        ([{"path": "a", "url": "/a"}], "this has path, url"),
        ([{"path": "a", "public": "a"}], "public 'a' must begin with /"),
        ([{"path": "a", "public": "/a/"}], "public '/a/' must begin with / and not end with it"),
        ([{"path": "a", "public": "/"}], "public '/' must begin"),
        ([{"path": "a", "public": True}], "public 'True' must begin"),
        ([{"path": "a", "public": "/a/../b"}], "public '/a/../b' must begin"),
        ([{"path": "a", "public": "/a*"}], "public '/a*' must begin"),
        ([{"path": "a", "public": "/m"}, {"path": "b", "public": "/m"}], "two are public at /m"),
        ([{"path": "a", "public": "/static"}], "/static is app_static_url already"),
    ],
)
def test_what_cannot_stay_is_refused_by_the_settings_name(shared, says):
    told = host(*shared, app_static_url="/static")(RULE)
    assert all(one.startswith("app_shared_directories: ") for one in told)
    assert any(says in one for one in told)


def test_it_is_refused_with_all_other_settings_that_are_wrong():
    assert host("/srv/media").broken().startswith("app_shared_directories: '/srv/media' must be")
    assert host(*SHARED).broken() == ""


def test_the_release_has_the_paths_and_the_program_on_the_server_what_is_public():
    one = host(*SHARED)
    one.variables["ansible_play_hosts_all"] = []
    assert one("__release_config")["shared_directories"] == ["data", "media"]
    order = ORDER.parse(json.dumps(one("__app_order")), "the order")
    assert order.shared == [Directory("data"), Directory("media", "/media")]


def lines(unit, name):
    return [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{name}=")]


@pytest.mark.parametrize("shared", [[], SHARED])
def test_all_of_them_can_be_written_and_not_executed(shared):
    """Also those that were taken from the list: a release before still links to them."""
    unit = host(*shared, app_writable_paths=["/mnt/x"]).file("app", "@.service.j2")
    assert lines(unit, "ReadWritePaths") == ["-/srv/notes/shared /mnt/x"]
    (denied,) = lines(unit, "NoExecPaths")
    assert {"-/srv/notes/shared", "/mnt/x", "/var/tmp", "/var/lib/notes"} <= set(denied.split())


def test_no_fifo_is_made_where_caddy_would_wait_in_it():
    denied = "SystemCallFilter=~mknod mknodat\n"
    assert denied in host(*SHARED).file("app", "@.service.j2")
    assert denied not in host("media").file("app", "@.service.j2")


def test_what_is_uploaded_waits_on_the_disk_in_a_directory_of_its_own():
    unit = host().file("app", "@.service.j2")
    assert "TMPDIR=/var/tmp" in lines(unit, "Environment")[0].split()
    assert lines(unit, "PrivateTmp") == ["yes"], "so that systemd empties it"


def test_several_servers_are_told_that_each_has_its_own():
    one = host(*SHARED, app_certificates="internal")
    one.variables["groups"] = {"app": ["web1", "web2"]}
    assert "what is uploaded to one server is not on the others" in one("__app_reports_of_look[0]")
    one.variables["groups"] = {"app": ["web1"]}
    assert not one("__app_reports_of_look | select | map('trim') | select")


def test_what_was_taken_from_the_list_is_told():
    one = host()
    one.variables["__app_applied"] = {"answer": {"left": ["/srv/notes/shared/old"]}}
    (told,) = one("__app_reports_of_apply | select")
    assert "/srv/notes/shared/old on web1: no longer in app_shared_directories" in told


@pytest.fixture
def made():
    """The directories, as the application's file has systemd-tmpfiles make them."""
    if os.getuid() or not shutil.which("systemd-tmpfiles"):
        pytest.skip("needs root and systemd-tmpfiles")
    with tempfile.TemporaryDirectory(prefix="shared-") as folder:
        top = Path(folder)
        top.chmod(0o755)

        def create(*shared):
            text = host(*shared).file("app", "tmpfiles.conf.j2")
            wanted = [line for line in text.splitlines() if "/shared" in line]
            text = "\n".join(wanted).replace("/srv/notes/", f"{top}/")
            text = text.replace(" notes notes", f" {APP} {APP}").replace(":caddy:", f":{CADDY}:")
            (top / "notes.conf").write_text(text + "\n")
            subprocess.run(["systemd-tmpfiles", "--create", top / "notes.conf"], check=True)
            return top / "shared"

        yield create


def done(user, *command):
    account = pwd.getpwnam(user)
    return not subprocess.run(
        command,
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
        umask=0o077,
        capture_output=True,
        check=False,
    ).returncode


def test_only_the_application_writes_and_caddy_reads_what_is_public(made):
    top = made(*SHARED)
    assert done(APP, "mkdir", "-p", str(top / "media/2026"), str(top / "data"))
    for _ in range(2):
        for place in ("media/2026", "data"):
            assert done(APP, "sh", "-c", f"echo one >{top / place / 'a'}")
        assert done(CADDY, "cat", str(top / "media/2026/a")), "the umask does not hide it"
        assert not done(CADDY, "touch", str(top / "media/2026/a"))
        assert not done(CADDY, "cat", str(top / "data/a"))
        for place in ("media/2026/a", "data/a"):
            assert not done(OTHER, "cat", str(top / place))
        assert not done(APP, "touch", str(top / "new")), "what is above them is root's"
        made(*SHARED)  # the next deploy takes nothing away
    moved = top / "media/moved"
    for folder in ("data", "media"):
        script = f"umask 077; mktemp -p {top / folder} made.XXXX | xargs -I% mv % {moved}"
        assert done(APP, "sh", "-c", script)
        assert not done(CADDY, "cat", str(moved))
        assert done(APP, "chmod", "644", str(moved))
        assert done(CADDY, "cat", str(moved))
        assert not done(OTHER, "cat", str(moved))
    made("data", "media")
    assert not done(CADDY, "cat", str(top / "media/2026/a")), "not public any more"
    assert done(APP, "cat", str(top / "media/2026/a"))


def test_caddy_may_read_what_was_there_before_it_was_public(made, monkeypatch):
    top = made("media")
    assert done(APP, "sh", "-c", f"mkdir {top}/media/a && echo one >{top}/media/a/b")
    (top / "secret").write_text("secret")
    (top / "secret").chmod(0o600)
    (top / "media/link").symlink_to(top / "secret")
    made(*SHARED)
    assert not done(CADDY, "cat", str(top / "media/a/b"))
    monkeypatch.setattr(directories, "CADDY", CADDY)
    directories.let_in(top / "media")
    assert done(CADDY, "cat", str(top / "media/a/b"))
    assert done(APP, "sh", "-c", f"echo two >{top}/media/a/c")
    assert done(CADDY, "cat", str(top / "media/a/c"))
    for path in ("secret", "media/link"):
        assert not done(CADDY, "cat", str(top / path))
    assert not done(OTHER, "cat", str(top / "media/a/b"))
