"""`pergola-upgrade`: what it makes of what apt, dpkg and /proc say, without a server."""

import io
import json
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml
from pergola import apps, lock, postgres, results
from pergola.errors import PergolaError
from pergola.lock import Place
from pergola.postgres import Cluster
from pergola.upgrade import (
    atwork,
    automatic,
    checks,
    cli,
    closing,
    convert,
    copies,
    major,
    packages,
    plan,
    replaced,
    stale,
    updates,
)
from pergola.upgrade.order import ORDER, File

PROJECT = Path(__file__).parents[2]
SIMULATED = """Reading package lists...
The following packages have been kept back:
  linux-image-amd64
  libheld1
The following packages will be upgraded:
  postgresql-15
Inst libssl3 [3.0.1-1] (3.0.2-1 Debian-Security:12/oldstable-security [amd64]) []
Inst postgresql-15 [15.1-0] (15.2-0 Debian:12.5/oldstable [amd64])
Inst linux-image-6.1.0-40-amd64 (6.1.1 Debian-Security:12/oldstable-security [amd64])
Conf libssl3 (3.0.2-1 Debian-Security:12/oldstable-security [amd64])
"""
POLICY = """Package files:
 100 /var/lib/dpkg/status
     release a=now
 500 http://archive.test/debian-security {0}-security/main amd64 Packages
     release v=13,o=Debian,a=stable-security,n={0}-security,l=Debian-Security,c=main,b=amd64
 500 http://archive.test/debian {1}/main amd64 Packages
     release v=12.15,o=Debian,a=oldstable,n={1},l=Debian,c=main,b=amd64
 500 http://another.test/repository any/main amd64 Packages
     release o=another,a=any,n=whatever,l=another,c=main,b=amd64
"""


def test_the_playbook_has_all_roles_that_provision_has():
    playbooks = PROJECT / "playbooks"

    def roles(name):
        play = yaml.safe_load((playbooks / name).read_text())[0]
        return list(dict.fromkeys(role["role"] for role in play["roles"]))

    # The wiring names what is in them, so that a role left out here would end an upgrade.
    after = [role for role in roles("provision.yml")[1:] if role != "upgrade"]
    assert roles("upgrade.yml") == ["preflight", "upgrade", *after]


@pytest.fixture
def says(monkeypatch):
    """Have a program say something."""

    def answer(text, module=packages):
        monkeypatch.setattr(module, "run", lambda *_, **__: text)

    return answer


def test_updates_are_read_from_what_apt_would_do(says):
    says(SIMULATED)
    updates = packages.pending()
    assert [str(update) for update in updates] == [
        "libssl3 3.0.1-1 -> 3.0.2-1",
        "postgresql-15 15.1-0 -> 15.2-0",
        "linux-image-6.1.0-40-amd64 (new) -> 6.1.1",
    ]
    assert packages.servers(updates) == ["postgresql-15"]
    assert packages.kept_back() == ["linux-image-amd64", "libheld1"]


LOCK = (
    "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 8509 (apt-get)\n"
    "E: Unable to lock directory /var/lib/apt/lists/"
)


def updates_that_end_with(monkeypatch, *ends):
    ends, said = list(ends), []

    def apt(*arguments):
        assert arguments == ("update",)
        if end := ends.pop(0):
            raise PergolaError("`apt-get update` ended with 100", end)

    monkeypatch.setattr(packages, "apt", apt)
    monkeypatch.setattr(packages, "say", said.append)
    monkeypatch.setattr(packages, "LOCK_PAUSE_SECONDS", 0)
    return ends, said


def test_the_lock_of_apts_lists_is_waited_for(monkeypatch):
    left, said = updates_that_end_with(monkeypatch, LOCK, LOCK, "")
    packages.refresh()
    assert left == []
    assert len(said) == 2


def test_another_failure_of_apt_is_not_waited_for(monkeypatch):
    left, _ = updates_that_end_with(monkeypatch, "E: Failed to fetch", "")
    with pytest.raises(PergolaError, match="ended with 100"):
        packages.refresh()
    assert left == [""]


def test_a_lock_that_stays_is_told(monkeypatch):
    updates_that_end_with(monkeypatch, LOCK, "")
    monkeypatch.setattr(packages, "LOCK_SECONDS", -1)
    with pytest.raises(PergolaError):
        packages.refresh()


def test_a_new_server_package_restarts_nothing():
    updates = [
        packages.Update("postgresql-17", "", "17.1"),
        packages.Update("postgresql", "1", "2"),
    ]
    assert packages.servers(updates) == []


@pytest.mark.parametrize(
    ("security", "main", "foreign"),
    [
        ("trixie", "trixie", []),
        ("trixie", "bookworm", ["bookworm"]),
        ("forky", "sid", ["forky", "sid"]),
    ],
)
def test_sources_of_another_release_are_found(says, monkeypatch, security, main, foreign):
    says(POLICY.format(security, main))
    read = Path.read_text
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda path: (
            "ID=debian\nVERSION_CODENAME=trixie\n" if str(path) == "/etc/os-release" else read(path)
        ),
    )
    assert packages.foreign_releases() == foreign


def test_packages_of_the_old_version_name_those_of_the_new_one(says):
    says(
        "ii  postgresql-15\nii  postgresql-client-15\nii  postgresql-15-cron\n"
        "rc  postgresql-15-old\nii  postgresql-common\nii  postgresql-150\n"
    )
    assert packages.of_version(15) == [
        "postgresql-15",
        "postgresql-client-15",
        "postgresql-15-cron",
    ]
    assert packages.for_version(15, 17) == [
        "postgresql-17",
        "postgresql-client-17",
        "postgresql-17-cron",
    ]


@pytest.fixture
def proc(tmp_path, monkeypatch):
    """Processes: pid -> (program, what it has mapped, its unit)."""

    def make(**processes):
        for pid, (program, maps, unit) in processes.items():
            path = tmp_path / pid.removeprefix("p")
            path.mkdir()
            (path / "exe").symlink_to(program)
            (path / "maps").write_text(maps)
            (path / "cgroup").write_text(f"1:name=systemd:/\n0::/system.slice/{unit}\n")
        monkeypatch.setattr(replaced, "PROC", tmp_path)
        monkeypatch.setattr(
            replaced, "show", lambda unit, _: "oneshot" if unit == "job.service" else "simple"
        )
        return stale.units()

    return make


def test_services_are_restarted_for_replaced_programs_and_libraries_only(proc):
    library = "7f00-7f01 r-xp 0000 00:01 1 /usr/lib/libssl.so.3 (deleted)\n"
    assert proc(
        p1=("/usr/lib/systemd/systemd", library, "init.scope"),
        p10=("/usr/sbin/web (deleted)", "", "web.service"),
        p11=("/usr/sbin/web", "7f00 rw-s 0 0 0 /dev/zero (deleted)\n", "memory.service"),
        p12=("/usr/bin/python3", library, "notes.slice/notes@blue.service"),
        p13=("/usr/bin/dbus-daemon", library, "dbus.service"),
        p14=("/usr/sbin/agetty", library, "getty@tty1.service"),
        p15=("/usr/bin/pgbackrest", library, "job.service"),
    ) == ["dbus.service", "init", "notes@blue.service", "web.service"]
    assert "dbus.service" not in stale.restartable()


def test_kernels_are_compared_by_their_numbers():
    assert stale.parts("6.1.0-40-amd64") > stale.parts("6.1.0-9-amd64")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server with clusters: version_name -> postgresql.conf."""

    def make(**clusters):
        for name, text in clusters.items():
            version, cluster = name.removeprefix("v").split("_")
            file = tmp_path / version / cluster / "postgresql.conf"
            file.parent.mkdir(parents=True)
            file.write_text(text)

    monkeypatch.setattr(postgres, "CONFIGURATIONS", tmp_path)
    return make


def test_a_server_without_a_cluster_has_nothing_to_upgrade(server):
    assert "no cluster" in checks.refusals(None, 17, rehearsal=True)[0]


def test_an_older_version_is_no_upgrade():
    assert "only be upgraded to a newer one" in checks.refusals(Cluster(17), 17, True)[0]


def test_files_of_the_new_cluster_lie_elsewhere_in_a_rehearsal():
    file = File("/etc/postgresql/17/main/conf.d/pergola.conf", "text", "0640")
    assert file.is_of(Cluster(17))
    assert not file.is_of(Cluster(15))
    there = "/etc/postgresql/17/rehearsal/conf.d/pergola.conf"
    assert convert.moved(file, 17) == File(there, "text", "0640")


def test_nothing_is_written_that_is_as_it_should_be(tmp_path):
    (tmp_path / "same").write_text("a")
    (tmp_path / "other").write_text("a")
    before = (tmp_path / "same").stat()
    for name, content in {"same": "a", "other": "b", "new": "c"}.items():
        File(str(tmp_path / name), content, owner="").write()
    assert (tmp_path / "same").stat() == before
    assert [(tmp_path / name).read_text() for name in ("other", "new")] == ["b", "c"]


def test_an_order_is_read_as_role_upgrade_sends_it():
    files = [{"path": "/x", "content": "", "validate": "true", "mode": "0640", "owner": None}]
    sent = {"files": files, "backup": "make one", "after": "", "rehearsal": False}
    order = ORDER.parse(json.dumps(sent), "the order")
    assert order.files == [File("/x", "", "0640")]
    assert (order.backup, order.after, order.rehearsal) == ("make one", "", False)
    assert ORDER.parse("{}", "the order").rehearsal


# -- the copy that an upgrade is rehearsed on ------------------------------------------------------


@pytest.fixture
def live(server, tmp_path, monkeypatch):
    """A live cluster with settings of its own."""
    data = "data_directory = '/var/lib/postgresql/15/main'"
    server(v15_main=f"port = 5432\n{data}\ninclude_dir = 'conf.d'\n")
    (tmp_path / "15/main/conf.d").mkdir()
    (tmp_path / "15/main/conf.d/pergola.conf").write_text("jit = off\n")
    (tmp_path / "15/main/pg_hba.conf").touch()
    monkeypatch.setattr(copies, "run", lambda *_, **__: "")
    return Cluster(15)


def test_a_copy_has_the_settings_and_places_of_its_own(live):
    copy = Cluster(15, copies.NAME)
    copies.configure(live, copy)
    assert (copy.port, str(copy.data)) == (5433, "/var/lib/postgresql/15/rehearsal")
    assert copy.setting("hba_file") == str(copy.configuration / "pg_hba.conf")
    assert (copy.conf_d / "pergola.conf").read_text() == "jit = off\n"
    assert "archive_mode = off" in (copy.conf_d / "zz-rehearsal.conf").read_text()
    assert (live.port, str(live.data)) == (5432, "/var/lib/postgresql/15/main")


def test_a_copy_that_is_cut_off_while_it_is_made_never_names_the_live_data(live, monkeypatch):
    """Debian's programs remove the data that a cluster's settings name."""
    copy, seen, write = Cluster(15, copies.NAME), [], copies.write

    def watched(path, *rest):
        seen.append(copy.exists())
        write(path, *rest)
        seen.append(not copy.exists() or copy.data != live.data)

    monkeypatch.setattr(copies, "write", watched)
    copies.configure(live, copy)
    assert seen == [False, True, False, True]


# -- closing, and what is put back -----------------------------------------------------------------


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """An application that is live, and what was done to the host meanwhile, in its order."""
    done = []
    home = tmp_path / "srv/notes"
    for name in ("bin", "live", "slots", "releases/r1"):
        (home / name).mkdir(parents=True)
    (home / "releases/r1/release.json").write_text("{}")
    (home / "slots/blue").symlink_to(home / "releases/r1")
    (home / "bin/release").write_text("#!/bin/sh\necho {}\n")
    (home / "bin/release").chmod(0o755)
    monkeypatch.setattr(apps, "HOMES", tmp_path / "srv")
    monkeypatch.setattr(apps, "RUN", tmp_path / "run")
    monkeypatch.setattr(closing, "MARK", tmp_path / "upgrade.json")
    units = ["notes@blue.socket", "notes.work.timer", "notes@blue.service"]
    monkeypatch.setattr(apps.App, "units", lambda self: units)
    monkeypatch.setattr(apps.App, "ready", lambda self: done.append("ready"))
    monkeypatch.setattr(
        apps.App, "call", lambda self, *words, who: done.append(" ".join(words[:2])) or {}
    )
    monkeypatch.setattr(closing, "systemctl", lambda *words: done.append(" ".join(words)))
    monkeypatch.setattr(closing, "start", lambda unit: done.append(f"start {unit}"))
    monkeypatch.setattr(closing, "say", done.append)
    monkeypatch.setattr(closing, "serving", lambda: None)
    monkeypatch.setattr(
        closing, "put_back", lambda serves, other, drop: done.append(f"{serves} {other} {drop}")
    )
    return home, done


STARTS = ["start notes@blue.socket", "start notes@blue.service", "start notes.work.timer"]


def test_what_is_closed_is_noted_before_and_put_back_by_whoever_comes_next(notes):
    _, done = notes
    closing.close(Cluster(15), Cluster(17), drop=True)
    assert done == [
        "maintenance on",
        "stop notes@blue.socket notes.work.timer notes@blue.service",
    ]
    assert json.loads(closing.MARK.read_text())["apps"]["notes"]["page"]
    done.clear()
    assert closing.undo()
    assert done == [
        "15/main 17/main True", *STARTS, "ready", "maintenance off", "everything is as before"
    ]  # fmt: skip
    assert not closing.MARK.exists()
    assert not closing.undo()


def test_a_page_that_somebody_else_has_put_there_stays(notes):
    home, done = notes
    (home / "live/maintenance.html").touch()
    closing.close(Cluster(15), Cluster(17), drop=False)
    closing.undo()
    assert not [one for one in done if one.startswith("maintenance")]


def test_what_is_proven_is_finished_and_not_put_back(notes):
    _, done = notes
    closing.close(Cluster(15), Cluster(17), drop=True)
    closing.mark_done()
    done.clear()
    assert closing.undo()
    assert done == [*STARTS, "ready", "maintenance off", "finished what was begun"]


def test_what_an_earlier_pergola_has_begun_is_put_back(notes):
    _, done = notes
    closing.MARK.write_text(
        json.dumps(
            {"format": 1, "serves": 15, "other": 17, "drop": False,
             "apps": {"notes": {"units": ["notes@blue.service"], "page": True}}}
        )
    )  # fmt: skip
    assert closing.undo()
    assert done[0] == "15/main 17/main False"
    assert "maintenance off" in done


def test_what_a_newer_pergola_has_begun_is_left_to_it(notes):
    closing.MARK.write_text('{"format": 2}')
    with pytest.raises(PergolaError, match=r"upgrade.json was made by a newer Pergola"):
        closing.undo()


# -- the command line ------------------------------------------------------------------------------


@pytest.fixture
def said(notes, tmp_path, monkeypatch, capfd):
    """What the program answers and says, for a command line; and the exit code."""
    monkeypatch.setattr(cli.os, "geteuid", lambda: 0)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    monkeypatch.setattr(apps, "SERVER", Place("this server", tmp_path / "run/pergola"))
    monkeypatch.setattr(lock, "SERVER", apps.SERVER)
    monkeypatch.setattr(updates, "PATIENCE", lock.AT_ONCE)
    monkeypatch.setattr(cli, "say", lambda text: None)
    umask = cli.os.umask(0o022)

    def run(*words, stdin="{}"):
        monkeypatch.setattr(sys, "argv", ["pergola-upgrade", *words])
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        code = cli.main()
        out, err = capfd.readouterr()
        return code, out, err

    yield run
    cli.os.umask(umask)


def test_an_answer_is_the_last_line(said):
    code, out, _ = said("ready")
    assert code == 0
    assert json.loads(out.splitlines()[-1]) == {
        "changed": False, "closed_seconds": None, "reboot": []
    }  # fmt: skip
    assert said("undo") == (0, "", "")


def test_a_failure_is_told_once_everything_is_put_back(said, notes, monkeypatch):
    def upgrade(to, order):
        closing.close(Cluster(15), Cluster(to), drop=True)
        raise PergolaError("it broke", "a line", hint="look there")

    monkeypatch.setattr(major, "upgrade", upgrade)
    code, out, err = said("postgresql", "17")
    assert (code, out) == (1, "")
    assert err == "it broke\na line\nnext: look there\n"
    assert notes[1][-1] == "everything is as before"


def test_a_failure_to_put_it_back_is_told_as_well(said, notes, monkeypatch):
    def upgrade(to, order):
        closing.close(Cluster(15), Cluster(to), drop=True)
        raise FileNotFoundError(2, "No such file", "/gone")

    def put_back(*_):
        raise PergolaError("it does not start")

    monkeypatch.setattr(major, "upgrade", upgrade)
    monkeypatch.setattr(closing, "put_back", put_back)
    code, _, err = said("postgresql", "17")
    assert code == 1
    assert err.startswith("/gone: No such file\nAND IT COULD NOT BE PUT BACK: it does not start\n")
    assert "sudo pergola-upgrade undo" in err


def test_no_version_is_begun_while_a_deploy_is_at_work(said, notes, monkeypatch):
    monkeypatch.setattr(major, "upgrade", lambda *_: pytest.fail("it was begun"))
    with lock.locked([apps.App(notes[0]).place], "deploy of r2"):
        code, _, err = said("postgresql", "17")
    assert code == 1
    assert "is at work on notes" in err
    assert "deploy of r2" in err


def test_a_plan_is_answered_as_role_upgrade_reads_it(said, monkeypatch):
    monkeypatch.setattr(plan, "show", lambda *_: "active")
    code, out, _ = said("plan")
    answer = json.loads(out)
    assert code == 0
    assert set(answer) == {"verb", "says", "refused", "changed", "version"}
    assert "an upgrade is at work" in answer["refused"][0]


# -- the night's automatic updates -----------------------------------------------------------------

DRY_RUN = """Starting unattended upgrades script
Allowed origins are: origin=Debian,codename=trixie,label=Debian
Option --dry-run given, *not* performing real actions
Packages that will be upgraded: caddy libssl3t64 postgresql-17
Writing dpkg log to /var/log/unattended-upgrades/unattended-upgrades-dpkg.log
"""


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """apt's configuration, of which one file holds packages back."""
    (tmp_path / "52pergola-updates").touch()
    monkeypatch.setattr(automatic, "PARTS", tmp_path)
    monkeypatch.setattr(automatic, "HELD", tmp_path / "53pergola-held")
    return tmp_path


def test_of_the_held_packages_those_are_installed_that_the_distribution_allows(parts, monkeypatch):
    (parts / "53pergola-held").touch()
    seen = []

    def attempt(*_, environment):
        config = Path(environment["APT_CONFIG"])
        seen.extend(sorted(path.name for path in config.parent.iterdir()))
        return CompletedProcess([], 0, DRY_RUN, "")

    monkeypatch.setattr(automatic, "attempt", attempt)
    assert automatic.allowed(["caddy", "postgresql-17", "postgresql-common"]) == [
        "caddy",
        "postgresql-17",
    ]
    assert seen == ["52pergola-updates", "only.conf"]


def test_the_distributions_run_is_told_once_what_it_leaves_out(parts, monkeypatch):
    monkeypatch.setattr(automatic, "systemctl", lambda *_: CompletedProcess([], 0, "", ""))
    monkeypatch.setattr(automatic, "vital_packages", lambda: ["caddy", "libc++1"])
    assert automatic.hold()
    assert not automatic.hold()
    text = (parts / "53pergola-held").read_text()
    assert 'Unattended-Upgrade::Package-Blacklist {\n  "^caddy$";\n  "^libc\\+\\+1$";\n};' in text
    # A server that is stopped at the moment is not forgotten.
    monkeypatch.setattr(automatic, "vital_packages", list)
    assert not automatic.hold()
    assert (parts / "53pergola-held").read_text() == text


def test_how_a_night_ended_is_noted(notes, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(automatic, "hold", lambda: False)
    monkeypatch.setattr(automatic, "is_wanted", lambda: False)
    assert not automatic.automatic().changed
    assert results.every()["updates"].says == "automatic updates are turned off"

    def at_work(seconds):
        raise PergolaError("a backup is at work", hint="the next night will do")

    monkeypatch.setattr(automatic, "is_wanted", lambda: True)
    monkeypatch.setattr(automatic, "vital_packages", list)
    monkeypatch.setattr(automatic, "allowed", lambda names: names)
    monkeypatch.setattr(automatic.stale, "restartable", lambda: ["notes@blue.service"])
    monkeypatch.setattr(automatic.atwork, "wait_for_backups", at_work)
    with pytest.raises(PergolaError):
        automatic.automatic()
    noted = results.every()["updates"]
    assert (noted.ok, noted.says) == (False, "a backup is at work")


@pytest.mark.parametrize(
    ("said", "package"),
    [
        ("postgresql-17: /usr/lib/postgresql/17/bin/postgres\n", "postgresql-17"),
        ("libssl3t64:amd64: /usr/lib/x86_64-linux-gnu/libssl.so.3\n", "libssl3t64"),
        ("", ""),
    ],
)
def test_the_owner_of_a_file_is_asked_for(said, package, monkeypatch):
    monkeypatch.setattr(packages, "attempt", lambda *_: CompletedProcess([], 0, said, ""))
    assert packages.owner(Path("/usr/lib/file")) == package


def test_a_backup_at_work_is_waited_for_whoever_started_it(tmp_path, monkeypatch):
    monkeypatch.setattr(atwork, "PROC", tmp_path)
    for pid, words in {
        "7": ["pgbackrest", "--stanza=main", "backup"],
        "8": ["sleep", "backup"],
    }.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cmdline").write_bytes("\0".join(words).encode() + b"\0")
    with pytest.raises(PergolaError, match=r"a backup is at work \(process 7\)"):
        atwork.wait_for_backups(0)
    (tmp_path / "7/cmdline").write_bytes(b"pgbackrest\0archive-push\0")
    atwork.wait_for_backups(0)
