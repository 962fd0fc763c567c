"""What is in force beside what is set: named by monitoring, put right by the roles."""

import json
import os
import pwd

import pytest
from looks import BACKUP, SERVER, Host
from pergola import apps
from pergola.database import drift as database_drift
from pergola.documents import plain
from pergola.status import places, trees
from pergola.status.seen import Application

ME, GROUP = places.account(os.geteuid()), places.group_name(os.getegid())


@pytest.fixture
def host():
    host = Host()
    host.seen["results"] = {"backup": dict(BACKUP), "drill": {**BACKUP, "type": ""}}
    host.look()
    assert host.state("drift") == "ok"
    return host


def five(host, **seen):
    """Five looks that see the same: what they changed."""
    told = [host.look(**seen) for _ in range(5)]
    assert told[:4] == [{}] * 4, "a run of site.yml may be on its way"
    return {name: change.state for name, change in told[4].items()}


STRAY = {"name": "work_mem", "value": "5MB", "ours": "24MB"}
AUTO, CONF = "/var/lib/postgresql/17/main/postgresql.auto.conf", "/etc/postgresql/17/main/conf.d/z"


@pytest.mark.parametrize(
    ("seen", "name", "state", "says"),
    [
        (
            {"stray": [{**STRAY, "file": f"{AUTO}"}]},
            "work_mem",
            "warning",
            "ALTER SYSTEM sets work_mem = 5MB over 24MB, which is set; run site.yml",
        ),
        (
            {"stray": [{**STRAY, "file": CONF}]},
            "work_mem",
            "warning",
            f"{CONF} sets work_mem = 5MB over 24MB, which is set; remove it there",
        ),
        (
            {"stray": [{"name": "deadlock_timeout", "value": "2s", "ours": None, "file": AUTO}]},
            "deadlock_timeout",
            "warning",
            "`alter system reset deadlock_timeout`",
        ),
        (
            {
                "stray": [{"name": "fsync", "value": "off", "ours": "on", "file": AUTO}],
                "unsafe": ["fsync"],
            },
            "fsync",
            "critical",
            "A power loss can destroy the databases",
        ),
        ({"command_line": ["fsync"]}, "fsync", "warning", "the command line"),
        (
            {"role_settings": [{"role": "a", "database": None, "setting": "jit=on"}]},
            "a jit",
            "warning",
            "role a has jit = on",
        ),
        (
            {"role_settings": [{"role": None, "database": "d", "setting": "jit=on"}]},
            "database d jit",
            "warning",
            "`alter database d reset jit`",
        ),
        (
            {"role_settings": [{"role": "a", "database": "d", "setting": "jit=on"}]},
            "a jit",
            "warning",
            "`alter role a in database d reset jit`",
        ),
    ],
)
def test_what_decides_a_setting_of_postgresql_and_is_not_ours_is_named(
    host, seen, name, state, says
):
    name = f"drift postgresql {name}"
    assert five(host, postgresql={**SERVER, **seen}) == {name: state}
    assert says in host.says(name)
    assert five(host, postgresql=SERVER) == {name: "ok"}


def test_a_server_that_is_down_takes_nothing_back(host):
    five(host, postgresql={**SERVER, "stray": [{**STRAY, "file": AUTO}]})
    for _ in range(6):
        host.look(postgresql={"unit": "postgresql@17-main", "down": "refused"})
    assert host.state("drift postgresql work_mem") == "warning"


def test_the_limits_of_a_migration_at_work_are_not_drift(host):
    role = {"role": "probe", "database": "probe", "setting": "lock_timeout=5s"}
    seen = {"postgresql": {**SERVER, "role_settings": [role]}}
    app = {
        "migrates": True,
        "app": "p",
        "domain": "p.test",
        "page": None,
        "killed": None,
        "at_work": "",
    }
    app |= {"release": None, "paused": False, "certificates": "internal"}
    assert five(host, **seen, apps=[app]) == {}
    assert five(host, **seen, apps=[]) == {"drift postgresql probe lock_timeout": "warning"}


def test_a_strangers_file_on_a_unit_is_named_by_its_path(host):
    path = "/etc/systemd/system/caddy.service.d/99.conf"
    seen = {"strange": {path: ["caddy.service"]}, "unread": ["probe@blue.service"]}
    told = five(host, unit_files=seen)
    assert told == {f"drift {path}": "warning", "drift daemon-reload": "warning"}
    assert "it changes caddy.service and is not Pergola's" in host.says(f"drift {path}")


def test_ours_are_known_by_their_first_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "MADE_HERE", (f"{tmp_path}/",))
    (tmp_path / "ours").write_text("# Managed by Ansible (role caddy).\n[Unit]\n")
    (tmp_path / "release").write_text("# Made by Pergola for the live release; do not edit.\n")
    (tmp_path / "strange").write_text("[Service]\nLimitNOFILE=99\n")
    strange = [name for name in ("ours", "release", "strange", "gone")
               if places.is_strange(f"{tmp_path}/{name}")]  # fmt: skip
    assert strange == ["strange"]
    monkeypatch.undo()
    assert not places.is_strange("/usr/lib/systemd/system/caddy.service")
    assert not places.is_strange("/run/systemd/system/service.d/zzz-container.conf")


def test_directories_are_compared_with_what_declares_them(tmp_path, monkeypatch):
    (tmp_path / "etc").mkdir()
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.mkdir(0o755)
    wrong.mkdir(0o700)
    (tmp_path / "etc/probe.conf").write_text(
        f"# ours\nd {right} 0755 {ME} {GROUP}\nd {wrong} 0755 {ME} {GROUP}\n"
        f"d {tmp_path}/gone 0700 {ME} {GROUP}\n"
    )
    monkeypatch.setattr(places, "TMPFILES", tmp_path / "etc")
    monkeypatch.setattr(apps, "HOMES", right)
    told = {one.path: one for one in places.places([Application("probe")], None)}
    assert told.pop(str(right), None) is None or ME != "root"
    assert told[str(wrong)].now == f"0700 {ME}:{GROUP}"
    assert told[str(wrong)].should == f"0755 {ME}:{GROUP}"
    assert told[f"{tmp_path}/gone"].now == "No such file or directory"


def test_a_directory_that_is_not_as_it_is_set_is_named(host):
    one = {"path": "/srv/probe", "now": "0700 root:root", "should": "0755 root:root"}
    assert five(host, places=[one]) == {"drift /srv/probe": "warning"}
    assert "it is 0700 root:root and should be 0755 root:root" in host.says("drift /srv/probe")


@pytest.fixture
def release(tmp_path, monkeypatch):
    """A release of an application, live."""
    monkeypatch.setattr(apps, "HOMES", tmp_path)
    path = tmp_path / "probe/releases/r1"
    for name in ("code/main.py", "venv/lib/x.py", "environment", "release.json", "ready"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(name)
    return path


APP = Application("probe", release="r1")
OTHER = Application("probe", release="r2")


def test_an_edited_live_release_is_named_until_it_is_as_before(host, release):
    def look(now=0.0):
        found = trees.trees([APP], host.known.trees, now)
        host.seen["trees"] = {name: plain(tree) for name, tree in found.items()}
        return {name: change.state for name, change in host.look().items()}

    look()
    there = (release / "code/main.py").stat()
    (release / "code/main.py").write_text("edited")
    (release / "code/__pycache__").mkdir()
    (release / "code/__pycache__/main.pyc").write_text("compiled")
    assert [look() for _ in range(5)][-1] == {"drift release probe": "warning"}
    assert "(code/main.py)" in host.says("drift release probe")
    (release / "code/main.py").write_text("code/main.py")
    os.utime(release / "code/main.py", ns=(there.st_atime_ns, there.st_mtime_ns))
    assert [look() for _ in range(5)][-1] == {"drift release probe": "ok"}


def test_the_large_part_is_looked_through_more_rarely(release):
    known = trees.trees([APP], {}, 1000.0)
    (release / "venv/lib/new.py").write_text("")
    assert trees.trees([APP], known, 1500.0)["probe"].changed == []
    assert trees.trees([APP], known, 1600.0)["probe"].changed == ["venv/lib/new.py"]
    assert trees.trees([APP], known, 5.0)["probe"].changed, "after a boot"


def test_a_release_that_was_edited_is_known_after_a_rollback_to_it(release):
    known = trees.trees([APP], {}, 0.0)
    (release.parent / "r2").mkdir()
    (release.parent / "r2/ready").write_text("")
    known = trees.trees([OTHER], known, 60.0)
    assert known["probe"].changed == []
    (release / "environment").write_text("A=another")
    assert trees.trees([APP], known, 120.0)["probe"].changed == ["environment"]


# What site.yml puts right


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setattr(database_drift, "BASE", tmp_path)
    path = tmp_path / "postgresql/17/main"
    path.mkdir(parents=True, mode=0o755)
    path.chmod(0o777)
    return path


def test_the_modes_of_the_data_are_put_right_and_only_looked_at_in_check_mode(data):
    me = pwd.getpwuid(os.geteuid())
    said = list(database_drift.modes(data, me, only_look=True))
    assert said == [
        f"{data} had mode 0777 and owner {me.pw_uid}:{me.pw_gid}; set is 0700 {me.pw_name}"
    ]
    assert data.stat().st_mode & 0o7777 == 0o777
    assert list(database_drift.modes(data, me, only_look=False)) == said
    assert data.stat().st_mode & 0o7777 == 0o700
    assert list(database_drift.modes(data, me, only_look=False)) == []
    data.chmod(0o750)
    assert list(database_drift.modes(data, me, only_look=False)) == []


def test_a_link_on_the_way_to_the_data_is_not_followed(data, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir(0o755)
    data.rmdir()
    data.symlink_to(victim)
    me = pwd.getpwuid(os.geteuid())
    assert list(database_drift.modes(data, me, only_look=False)) == []
    assert victim.stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("only_look", [True, False])
def test_what_alter_system_set_over_ours_is_taken_back_by_name(only_look):
    ran = []

    class Server:
        def sql(self, script):
            ran.append(script)
            return json.dumps([{"name": "fsync", "value": "off", "ours": "on"}])

    said = database_drift.take_back(Server(), only_look)
    assert said[0].startswith("ALTER SYSTEM had set fsync = off over on; to keep it, set")
    assert ran[1:] == ([] if only_look else ['alter system reset "fsync";'])
