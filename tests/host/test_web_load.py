"""Caddy has what its files say, or what it had before."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pergola.errors import PergolaError
from pergola.system import TookTooLongError
from pergola.web import cli, load

STAMP = 1_000_000.0


class Caddy:
    """A Caddy that has loaded all of its files; what systemd is told, in its order."""

    def __init__(self, top):
        self.top, self.done, self.kernel, self.fails = top, [], [], {}
        self.properties = {"NeedDaemonReload": "no", "ActiveState": "active"}
        for path in ("etc/shop.caddy", "etc/notes.caddy", "unit.d/50-pergola.conf"):
            self.put(path, "before", STAMP - 60)
        for path in ("unit.d/60-pergola-leaving.conf", "ca.crt"):
            self.put(path, "", STAMP - 60)
        for path in ("run/started", "run/loaded"):
            self.put(path, "", STAMP)
        os.utime(top / "etc", (STAMP - 60, STAMP - 60))

    def put(self, path, text, when=STAMP + 1):
        (self.top / path).parent.mkdir(exist_ok=True)
        (self.top / path).write_text(text)
        os.utime(self.top / path, (when, when))

    def systemctl(self, *words, timeout=None):
        verb = words[0]
        self.done.append(verb if timeout is None else f"{verb} within {timeout} s")
        fails = self.fails.pop(verb, "")
        if fails == "hangs":
            self.properties["ActiveState"] = "reloading"
            raise TookTooLongError("`systemctl reload caddy.service` did not end within 60 s")
        return subprocess.CompletedProcess(words, bool(fails), "", fails)

    def attempt(self, program, *words, timeout=None):
        if program == load.SYSCTL:
            self.kernel.append((str(words[0]), len(self.done)))
            return subprocess.CompletedProcess(words, 0, "", "")
        if program == "journalctl":
            return subprocess.CompletedProcess(words, 0, "Caddy's own words", "")
        return self.systemctl(*words, timeout=timeout)

    def keep(self):
        """Where a run has left what it replaced: notes.caddy, and that new.caddy was not there."""
        kept = self.top / "kept"
        kept.mkdir()
        (kept / "0").write_text("before")
        (kept / "0").chmod(0o640)
        paths = [self.top / "etc/notes.caddy", self.top / "etc/new.caddy"]
        index = [{"path": str(path), "there": path == paths[0]} for path in paths]
        (kept / "index.json").write_text(json.dumps(index))
        for path in paths:
            path.write_text("after")
        return kept

    def files(self):
        return {path.name: path.read_text() for path in (self.top / "etc").iterdir()}


BEFORE = {"notes.caddy": "before", "shop.caddy": "before"}


@pytest.fixture
def caddy(tmp_path, monkeypatch):
    found = Caddy(tmp_path)
    for name, path in {
        "FOLDER": "etc",
        "DROP_INS": "unit.d",
        "AUTHORITIES": "ca.crt",
        "STARTED": "run/started",
        "LOADED": "run/loaded",
    }.items():
        monkeypatch.setattr(load, name, tmp_path / path)
    monkeypatch.setattr(load, "show", lambda _, name: found.properties[name])
    monkeypatch.setattr(load, "systemctl", found.systemctl)
    monkeypatch.setattr(load, "attempt", found.attempt)
    return found


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ([], ""),
        (["etc/notes.caddy"], "reload"),
        (["etc/new.caddy"], "reload"),
        (["unit.d/50-pergola.conf"], "restart"),
        (["unit.d/50-pergola.conf", "etc/notes.caddy"], "restart"),
        (["ca.crt"], "restart"),  # trust is read at the start only
        (["unit.d/60-pergola-leaving.conf"], ""),  # it is about the next restart
    ],
)
def test_what_caddy_has_not_loaded_is_told_by_its_stamps(caddy, changes, needed):
    for path in changes:
        caddy.put(path, "after")
    assert load.stale() == needed


def test_a_site_that_was_taken_away_is_not_loaded_any_more(caddy):
    (caddy.top / "etc/notes.caddy").unlink()
    assert load.stale() == "reload"


@pytest.mark.parametrize(("stamp", "needed"), [("started", "restart"), ("loaded", "reload")])
def test_a_stamp_that_is_not_there_is_older_than_all(caddy, stamp, needed):
    (caddy.top / "run" / stamp).unlink()
    assert load.stale() == needed


def test_a_unit_that_systemd_has_not_reread_is_reread(caddy):
    caddy.properties["NeedDaemonReload"] = "yes"
    assert load.load() == "reread"
    assert caddy.done == ["daemon-reload"]


def test_nothing_is_done_where_nothing_is_new(caddy):
    assert load.load(caddy.top / "kept") == ""
    assert caddy.done == []


def test_a_new_site_takes_a_reload_that_has_an_end_and_another_unit_a_restart(caddy):
    caddy.put("etc/notes.caddy", "after")
    assert load.load() == "reload"
    assert caddy.done == ["daemon-reload", "reload within 60 s"]
    caddy.done.clear()
    caddy.put("unit.d/50-pergola.conf", "after")
    assert load.load() == "restart"
    assert caddy.done == ["daemon-reload", "enable", "restart"]


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        (["unit.d/50-pergola.conf"], ""),
        (["ca.crt"], ""),
        (["unit.d/50-pergola.conf", "etc/notes.caddy"], "reload"),
    ],
)
def test_a_site_is_no_reason_to_restart_a_caddy_that_runs(caddy, changes, needed):
    for path in changes:
        caddy.put(path, "after")
    assert load.load(for_site=True) == needed
    assert caddy.done == (["daemon-reload", "reload within 60 s"] if needed else [])
    assert load.load() == "restart", "what waits is not lost"


@pytest.mark.parametrize("how", ["never started", "failed"])
def test_a_caddy_that_does_not_run_is_started_for_a_site(caddy, how):
    if how == "failed":
        caddy.properties["ActiveState"] = "failed"
        caddy.put("unit.d/50-pergola.conf", "after")
    else:
        (caddy.top / "run/started").unlink()
    assert load.load(for_site=True) == "restart"
    assert caddy.done == ["daemon-reload", "enable", "restart"]


def test_what_caddy_does_not_load_is_taken_back(caddy):
    kept = caddy.keep()
    caddy.fails["reload"] = "Job for caddy.service failed"
    with pytest.raises(PergolaError) as failed:
        load.load(kept)
    assert caddy.files() == BEFORE
    assert (caddy.top / "etc/notes.caddy").stat().st_mode & 0o777 == 0o640
    assert not kept.exists()
    assert "restart" not in caddy.done, "it goes on with what it had"
    assert "Job for caddy.service failed" in failed.value.evidence
    said = str(failed.value)
    assert "does not load the configuration" in said
    assert "its files are as they were before, and it serves what it did" in said
    assert "journalctl -u caddy -n 50" in said


def test_a_reload_that_hangs_is_ended_with_what_it_had(caddy):
    kept = caddy.keep()
    caddy.fails["reload"] = "hangs"
    systemctl = caddy.systemctl

    def restarted(*words, timeout=None):
        if words[0] == "restart":
            assert caddy.files() == BEFORE, "it would start with what it refuses"
        return systemctl(*words, timeout=timeout)

    caddy.systemctl = restarted
    load.systemctl = restarted
    with pytest.raises(PergolaError, match="does not load") as failed:
        load.load(kept)
    assert caddy.done[1:] == ["reload within 60 s", "daemon-reload", "enable", "restart"]
    assert "did not end within 60 s" in failed.value.evidence


def test_without_what_was_before_nothing_is_promised(caddy):
    caddy.put("etc/notes.caddy", "after")
    caddy.fails["reload"] = "no"
    with pytest.raises(PergolaError) as failed:
        load.load()
    assert "as they were" not in str(failed.value)
    assert caddy.files()["notes.caddy"] == "after"


# -- the check -------------------------------------------------------------------------------------


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """What Caddy is asked, by which account; one verb of it may be refused."""
    seen = []
    mkstemp = load.tempfile.mkstemp

    def run(*words, account="", **_):
        file = Path(words[-1])
        seen.append((words[1], account, oct(file.stat().st_mode)[-3:], file.read_text()))
        if words[1] == refused.get("verb"):
            raise PergolaError(f"caddy {words[1]} ended with 1")
        return "the configuration"

    refused = {}
    monkeypatch.setattr(load, "run", run)
    monkeypatch.setattr(load.shutil, "chown", lambda name, group: seen.append(("group", group)))
    monkeypatch.setattr(
        load.tempfile, "mkstemp", lambda **names: mkstemp(**{**names, "dir": tmp_path})
    )
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/Caddyfile").write_text("a site\n")
    (tmp_path / "etc/Caddyfile").chmod(0o644)
    return seen, refused


def test_files_are_tried_with_caddys_rights_and_nobody_else_reads_them(asked, tmp_path):
    seen, _ = asked
    load.check(tmp_path / "etc")
    assert seen == [
        ("adapt", "", "644", "a site\n"),
        ("group", "caddy"),
        ("validate", "caddy", "640", "the configuration"),
    ]
    assert not list(tmp_path.glob("pergola-caddy.*"))


@pytest.mark.parametrize("verb", ["adapt", "validate"])
def test_what_caddy_refuses_is_told_and_leaves_nothing_behind(asked, tmp_path, verb):
    _, refused = asked
    refused["verb"] = verb
    with pytest.raises(PergolaError, match=f"caddy {verb} ended with 1"):
        load.check(tmp_path / "etc")
    assert not list(tmp_path.glob("pergola-caddy.*"))


# -- the command line ------------------------------------------------------------------------------


@pytest.fixture
def typed(monkeypatch, capfd):
    monkeypatch.setattr(cli.os, "umask", lambda _: 0)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["pergola-web", *map(str, words)])
        return cli.main(), capfd.readouterr()

    return call


def test_to_look_changes_nothing_and_to_load_says_what_it_took(caddy, typed):
    caddy.put("etc/notes.caddy", "after")
    answer = {"changed": True, "needed": "reload"}
    code, said = typed("load", "--only-look")
    assert (code, json.loads(said.out), caddy.done) == (0, answer, [])
    code, said = typed("load")
    assert (code, json.loads(said.out)) == (0, answer)
    assert caddy.done == ["daemon-reload", "reload within 60 s"]
    assert caddy.kernel == [("/etc/sysctl.d/60-pergola-caddy.conf", 0)]  # before it


def test_a_failure_names_the_host_and_takes_back_what_lies_where_it_is_told(caddy, typed):
    kept = caddy.keep()
    caddy.fails["reload"] = "no"
    code, said = typed("load", "--kept", kept)
    assert code == 1
    assert said.err.startswith(f"{cli.socket.gethostname()}: Caddy does not load")
    assert caddy.files() == BEFORE
