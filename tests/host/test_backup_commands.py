"""What is called by people, roles and units, and what that calls: commands, units, files."""

import contextlib
import os
import pwd
import sys
from subprocess import CompletedProcess
from types import SimpleNamespace

import pytest
from pergola import postgres, system
from pergola.backup import (
    cli,
    everywhere,
    follow,
    options,
    own,
    peers,
    repository,
    scratch,
    timers,
    unit,
)
from pergola.backup import settings as settings_file
from pergola.backup.repository import Repositories
from pergola.backup.scratch import Scratch
from pergola.backup.settings import Repository, Settings
from pergola.errors import PergolaError

COPY = Repository(2, "/srv/copies", local=True, path="/srv/copies")
SETTINGS = Settings("web1", 17, (COPY,))
VERBS = """certificate close drill files files-copy follow forget full incr keep listen moment
open plan point prepare protect rebuild recover resolve restore scratch setup
snapshots stanza-upgrade starting status undo verify wake"""


@pytest.fixture
def ran(monkeypatch):
    """The programs that are run, whatever module runs them; `says`: their output by a word."""
    done, says = [], {}

    def attempt(*words, **_):
        words = tuple(map(str, words))
        done.append(words)
        out = next((text for word, text in says.items() if word in words), "")
        return CompletedProcess(words, 0, out, "")

    for module in (repository, scratch, system, unit):
        monkeypatch.setattr(module, "attempt", attempt)
    return done, says


def test_every_verb_is_there_and_does_something():
    assert sorted([*everywhere.VERBS, *own.VERBS]) == VERBS.split()


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ("restore --to=2026-11-24T10:00:00Z --repo 2", ("2026-11-24T10:00:00Z", "", "", 2, None)),
        ("plan --xid 5 --timeline 3", ("", "5", "", None, 3)),
        ("scratch --point before-a", ("", "", "before-a", None, None)),
    ],
)
def test_a_target_is_what_was_asked_for(line, target):
    found = own.wanted(options.parser().parse_args(line.split()))
    assert (found.to, found.xid, found.point, found.repository, found.timeline) == target


def test_pgbackrest_gets_what_a_command_is_about_behind_the_command(ran):
    """Its first word that is no option is the command."""
    done, says = ran
    says["archive/web1/archive.info"] = "db-system-id=71\n"
    says["backup/web1/backup.info"] = "db-system-id=70\n"
    assert peers.is_behind(Repositories(SETTINGS))
    assert done[0] == (
        "pgbackrest", "--stanza=web1", "repo-get", "--repo=2", "archive/web1/archive.info"
    )  # fmt: skip


def test_backups_follow_another_version_in_files_that_stay_as_the_role_wrote_them(
    tmp_path, monkeypatch, ran
):
    files = {
        "pgbackrest.conf": "[web1]\npg1-path=/var/lib/postgresql/{}/main\npg1-port=5432\n",
        "backup.json": '{{\n    "format": 1,\n    "repositories": [],\n    "stanza": "web1",\n'
        '    "version": {}\n}}\n',
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text.format(15))
    monkeypatch.setattr(follow, "CONFIGURATION", tmp_path / "pgbackrest.conf")
    monkeypatch.setattr(settings_file, "FILE", tmp_path / "backup.json")
    write = lambda path, text, *_, **__: path.write_text(text)  # noqa: E731
    monkeypatch.setattr(follow, "write", write)
    made = []
    monkeypatch.setattr(follow.jobs, "back_up", lambda *call: made.append(call))
    follow.follow(17)
    for name, text in files.items():
        assert (tmp_path / name).read_text() == text.format(17)
    assert made == [(Settings("web1", 17, ()), "full")]
    assert ran[0] == [("pgbackrest", "--stanza=web1", "stanza-upgrade")]


def test_a_copy_elsewhere_that_is_read_only_keeps_no_upgrade_from_going_on(monkeypatch):
    refused = CompletedProcess([], 41, "", "unable to open: [30] Read-only file system")
    monkeypatch.setattr(Repositories, "run", lambda *_: refused)
    elsewhere = Settings("web1", 17, (Repository(2, "vault1", local=False),))
    follow.upgrade_stanza(elsewhere)
    with pytest.raises(PergolaError, match="stanza-upgrade"):
        follow.upgrade_stanza(SETTINGS)


@pytest.mark.parametrize(("code", "said"), [(0, "restored"), (1, "web1: it failed\nwhy")])
def test_a_restore_runs_in_a_unit_of_its_own(ran, tmp_path, monkeypatch, code, said):
    done, says = ran
    says["--property=LoadState,ActiveState"] = "LoadState=not-found\nActiveState=inactive\n"
    log = tmp_path / "log"

    def attempt(*words):
        done.append(words)
        log.write_text(said + "\n")
        return CompletedProcess(words, code, "", "")

    monkeypatch.setattr(unit, "attempt", attempt)
    monkeypatch.setattr(unit, "LOG", log)
    monkeypatch.setattr(unit.socket, "gethostname", lambda: "web1")
    if code:
        with pytest.raises(PergolaError) as failed:
            unit.said_in_own_unit(["restore", "--to=x"])
        assert str(failed.value) == "it failed\nwhy"
    else:
        assert unit.said_in_own_unit(["restore", "--to=x"]) == said
    assert done[-1][-4:] == ("/usr/local/sbin/pergola-backup", "--here", "restore", "--to=x")
    assert "--property=ExecStopPost=/usr/local/sbin/pergola-backup resolve" in done[-1]


def test_one_that_runs_already_is_told(ran):
    ran[1]["--property=LoadState,ActiveState"] = "LoadState=loaded\nActiveState=active\n"
    with pytest.raises(PergolaError, match="a restore is at work"):
        unit.said_in_own_unit(["restore"])


def test_timers_are_started_once(ran, monkeypatch):
    done, says = ran
    says["--property=LoadState"] = "loaded"
    says["--property=UnitFileState"] = "enabled"
    assert not timers.start(timers.OWN)
    says["--property=UnitFileState"] = "disabled"
    assert timers.start(timers.OWN)
    assert done[-1][-2:] == ("pergola-backup-verify.timer", "pergola-backup-drill.timer")
    assert {"enable", "--now"} <= set(done[-1])


def test_a_copy_beside_the_server_has_all_in_a_directory_of_its_own(ran, tmp_path, monkeypatch):
    _, says = ran
    monkeypatch.setattr(scratch, "HOME", tmp_path)
    written = {}
    monkeypatch.setattr(scratch, "write", lambda path, text, **_: written.update({path.name: text}))
    label = "max_connections setting"
    known = dict.fromkeys(scratch.AT_LEAST.values(), "7") | {label: "100"}
    monkeypatch.setattr(Scratch, "control_data", lambda _: known)
    says["shared_preload_libraries"] = "pg_stat_statements\n"
    copy = Scratch.of(SETTINGS, "scratch")
    copy.configure()
    assert list(written) == ["postgresql.conf", "pg_hba.conf", scratch.LAST_FILE]
    text = written["postgresql.conf"]
    assert f"data_directory = '{tmp_path}/pergola-scratch/data'" in text
    assert "shared_preload_libraries = 'pg_stat_statements'" in text
    assert "max_connections = 100\n" in text
    assert (copy.unit, copy.port) == ("pergola-scratch.service", 5432)


def test_a_check_is_asked_with_the_rights_of_its_role_only(monkeypatch):
    asked = []

    def attempt(*words, **more):
        asked.append((words, more))
        return CompletedProcess(words, 0, "t\n", "")

    monkeypatch.setattr("pergola.postgres.attempt", attempt)
    assert Scratch.of(SETTINGS, "drill").ask("select true", "notes", "notes") == "t"
    ((words, more),) = asked
    assert "/var/lib/postgresql/pergola-drill/sockets" in words
    assert more["environment"] == {"PGOPTIONS": "-c role=notes"}
    assert more["timeout"] == 30
    assert more["account"] == "postgres"


def test_a_host_without_copies_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(settings_file, "KEPT", tmp_path)
    monkeypatch.setattr(settings_file, "FILE", tmp_path / "backup.json")
    with pytest.raises(PergolaError, match="keeps no copies"):
        everywhere.VERBS["protect"](SimpleNamespace())
    settings_file.FORM.write(tmp_path / "web1.json", SETTINGS)
    assert settings_file.of_others() == settings_file.of_every_server() == [SETTINGS]
    assert settings_file.of_server("web1").local == [COPY]


@pytest.mark.parametrize(
    ("noted", "setting", "is_made"),
    [
        (False, "", False),
        (True, "", False),
        (True, "archive_mode = off\n", False),
        (True, "archive_mode = on\n", True),
    ],
)
def test_a_point_is_set_only_where_backups_are_made(
    tmp_path, monkeypatch, capsys, noted, setting, is_made
):
    points = []
    monkeypatch.setattr(settings_file, "FILE", tmp_path / "backup.json")
    monkeypatch.setattr(postgres, "CONFIGURATIONS", tmp_path / "etc")
    monkeypatch.setitem(own.VERBS, "point", lambda found, _: points.append(found.stanza))
    monkeypatch.setattr(sys, "argv", ["pergola-backup", "point", "--if-made", "before-a"])
    if noted:
        settings_file.FORM.write(settings_file.FILE, SETTINGS)
    conf_d = postgres.Cluster(17).conf_d
    conf_d.mkdir(parents=True)
    if setting:
        (conf_d / "pergola-backup.conf").write_text(setting)
    assert cli.main() == 0
    assert points == (["web1"] if is_made else [])
    assert ("this server makes no backups" in capsys.readouterr().out) is not is_made


def test_a_point_that_is_asked_for_without_a_condition_is_refused_without_backups(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(settings_file, "FILE", tmp_path / "backup.json")
    monkeypatch.setattr(sys, "argv", ["pergola-backup", "point", "before-a"])
    assert cli.main() == 1
    assert "backup.json is missing" in capsys.readouterr().err


def test_a_hosts_key_is_never_there_half_nor_written_through_a_link(tmp_path, monkeypatch):
    for name in ("KEY", "CERTIFICATE"):
        monkeypatch.setattr(peers, name, tmp_path / "backup-tls" / name)
    monkeypatch.setattr(peers, "ACCOUNT", pwd.getpwuid(os.getuid()).pw_name)
    (tmp_path / "backup-tls").mkdir()
    (tmp_path / "elsewhere").write_text("as it was")
    peers.KEY.symlink_to(tmp_path / "elsewhere")
    peers.make_certificate(["web1.example.org", "192.0.2.1"])
    assert (tmp_path / "elsewhere").read_text() == "as it was"
    assert peers.KEY.read_text().startswith("-----BEGIN PRIVATE KEY-----")
    modes = [path.lstat().st_mode & 0o7777 for path in (peers.KEY, peers.CERTIFICATE)]
    assert modes == [0o600, 0o644]
    assert {"web1.example.org", "192.0.2.1"} <= set(peers.names())
    assert {path.name for path in peers.KEY.parent.iterdir()} == {"KEY", "CERTIFICATE"}


@pytest.mark.parametrize(
    ("line", "called"),
    [
        ("plan --files=wiki --to=-5m", ("make_plan", "wiki", "-5m")),
        ("plan --undo --files=wiki", ("told_undo", "wiki")),
        ("--here restore --files=wiki --to=-5m", ("restore", "wiki", "-5m")),
        ("--here undo --files=wiki", ("undo", "wiki")),
        ("scratch --files=wiki", ("beside", "wiki", "")),
        ("files", ("make",)),
    ],
)
def test_files_have_verbs_of_their_own(monkeypatch, line, called):
    done = []

    def note(name):
        return lambda *words: done.append((name, *words))

    for name in ("make_plan", "told_undo", "restore", "undo", "beside"):
        monkeypatch.setattr(own.back, name, note(name))
    monkeypatch.setattr(own.back, "told", lambda _: "")
    monkeypatch.setattr(own, "make", note("make"))
    monkeypatch.setattr(own.resolve, "resolve", lambda *_: pytest.fail("of the databases"))
    asked = options.parser().parse_args(line.split())
    own.VERBS[asked.verb](SETTINGS, asked)
    assert done == [called]


@pytest.mark.parametrize("fails", [False, True])
def test_files_are_drilled_whatever_the_databases_drill_found(monkeypatch, fails):
    done = []

    def drill(*_):
        if fails:
            raise PergolaError("amcheck found damage")

    monkeypatch.setattr(own, "drill", drill)
    monkeypatch.setattr(own.files_drill, "drill", lambda: done.append("files"))
    expected = pytest.raises(PergolaError, match="amcheck") if fails else contextlib.nullcontext()
    with expected:
        own.VERBS["drill"](SETTINGS, options.parser().parse_args(["drill"]))
    assert done == ["files"]
