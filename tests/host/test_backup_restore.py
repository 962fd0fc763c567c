"""A restore in place from its begin to its end, by what it does to a server that is none."""

import json
import shutil
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace

import pytest
from pergola import apps, lock, results
from pergola.apps import App
from pergola.backup import changes, fence, intent, own, points, resolve, restore
from pergola.backup.fence import Fence
from pergola.backup.plan import Plan
from pergola.backup.server import Server
from pergola.backup.settings import Settings
from pergola.backup.targets import Choice, Target, Wanted
from pergola.errors import PergolaError
from pergola.lock import HeldError, Place

SETTINGS = Settings("web1", 17, ())
BACKUP = SimpleNamespace(label="20261124-190036F", repository=1, bytes_in_database=31_000_000)
WORKS = {"notes@blue.service", "notes@blue.socket", "notes.mails.timer", "notes.mails.service"}
PAGE = "live/maintenance.html"


class Host:
    """An application, a server and its data; what is done to them, in order."""

    def __init__(self, top):
        self.top, self.home, self.done = top, top / "srv/notes", []
        self.data = top / "17/main"
        self.up, self.fails = set(WORKS), set()

    def note(self, what):
        self.done.append(what)
        if what in self.fails:
            raise PergolaError(f"{what} failed", "the log")

    def systemctl(self, *words):
        verb, *units = [word for word in words if not word.startswith("--")]
        if "notes@blue.service" in units:
            self.done.append(f"units {verb}")
        if verb == "stop":
            self.up -= set(units)
        elif verb == "start" and "units" not in self.fails:
            self.up |= set(units)
        return CompletedProcess(words, 0, "", "")

    def holders(self):
        places = [self.top / name / "deploy.json" for name in ("run/pergola", "run/notes")]
        return [json.loads(place.read_text())["what"] for place in places if place.exists()]

    def rows(self):
        return (self.data / "rows").read_text()


@pytest.fixture
def host(tmp_path, monkeypatch):
    found = Host(tmp_path)
    for name in ("bin", "live", "slots", "releases/r1"):
        (found.home / name).mkdir(parents=True)
    (found.home / "releases/r1/release.json").write_text("{}")
    (found.home / "slots/blue").symlink_to(found.home / "releases/r1")
    (found.home / "settings.json").write_text('{"database": "dbname=notes"}')
    (found.home / "bin/release").touch()
    program = tmp_path / "pergola"
    program.write_text(
        f'#!/bin/sh\necho "$*" >>{found.home}/called\ntouch {found.home}/{PAGE}\necho "{{}}"\n'
    )
    program.chmod(0o755)
    found.data.mkdir(parents=True)
    (found.data / "rows").write_text("of before")
    (tmp_path / "units").mkdir()
    (tmp_path / "units/notes.mails.timer").touch()
    for module, name, value in (
        (apps, "HOMES", tmp_path / "srv"),
        (apps, "PROGRAM", program),
        (apps, "RUN", tmp_path / "run"),
        (apps, "listed", lambda *_: sorted(found.up)),
        (fence, "UNITS", tmp_path / "units"),
        (fence, "SERVER", Place("this server", tmp_path / "run/pergola")),
        (fence, "systemctl", found.systemctl),
        (fence, "is_active", lambda unit: unit in found.up),
        (fence, "journal", lambda *_: "its last line"),
        (resolve, "systemctl", found.systemctl),
        (restore, "systemctl", found.systemctl),
        (restore, "make_plan", lambda *_: plan_to("a moment")),
        (restore.copying, "copy", lambda *given: copied(found, *given)),
        (restore, "send_rest", lambda *_: ""),
        (resolve, "send_rest", lambda *_: ""),
        (intent, "FILE", tmp_path / "state/restore.json"),
        (intent, "LOCK", tmp_path / "restore.lock"),
        (intent.places.shutil, "chown", lambda *_: None),
        (changes, "FILE", tmp_path / "state/restores.jsonl"),
        (results, "RESULTS", tmp_path / "state/results"),
        (points, "SPOOL", tmp_path / "spool"),
    ):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(lock, "SERVER", fence.SERVER)
    monkeypatch.setattr(Server, "data", property(lambda _: found.data))
    monkeypatch.setattr(Server, "drop_in", property(lambda _: tmp_path / "unit.d/restore.conf"))
    monkeypatch.setattr("pergola.backup.server.systemctl", found.systemctl)
    for name, answer in {"answers": True, "timeline": 2, "timeline_of": 1, "system_id": 71}.items():
        monkeypatch.setattr(Server, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(Server, "start", lambda _: found.note("server start"))
    monkeypatch.setattr(Server, "stop", lambda _: found.note("server stop"))
    monkeypatch.setattr(Server, "process", lambda _: 0)
    return found


def plan_to(words):
    choice = Choice(Target("time", "", words, 1000.0), BACKUP, 1)
    return Plan(choice, 1, foreign=False, runs=True, applications=[], remarks=[])


def copied(found, _, choice, copies):
    copies.data.mkdir()
    (copies.data / "rows").write_text("of the target")
    found.note(f"copy of {choice.backup.label}")
    found.held = found.holders()


def restored():
    restore.restore(SETTINGS, Wanted())


def test_a_restore_closes_changes_over_records_and_opens(host):
    restored()
    assert host.done == [
        "copy of 20261124-190036F",
        "units stop", "server stop", "server start", "units reset-failed", "units start",
    ]  # fmt: skip
    assert host.held == ["a restore of the databases"] * 2
    assert host.holders() == []
    assert host.rows() == "of the target"
    (change,) = changes.every()
    assert (change.kept / "rows").read_text() == "of before"
    assert (change.from_timeline, change.to_timeline, change.kept_timeline) == (1, 2, 1)
    assert (change.system_id, change.target, change.backup) == (71, "a moment", BACKUP.label)
    assert not (host.home / PAGE).exists()
    assert intent.read() is None
    said = json.loads((results.RESULTS / "restore.json").read_text())
    assert said["ok"]
    assert (said["bytes"], said["backup"], said["kept"]) == (
        31_000_000, BACKUP.label, str(change.kept)
    )  # fmt: skip
    assert set(said["parts"]) == {"fence", "stop", "recovery", "applications"}
    assert "interrupted, and not begun again: notes.mails.service" in said["says"]
    assert "notes.mails.service" not in host.up


def test_the_way_back_is_a_restore_without_a_copy(host):
    restored()
    host.done.clear()
    restore.undo(SETTINGS)
    assert host.rows() == "of before"
    assert [change.kind for change in changes.every()] == ["restore", "undo"]
    said = results.every()["restore"]
    assert (said.type, said.ok) == ("undo", True)
    assert said.says.startswith("back to the data as of ")


def test_what_fails_before_the_end_of_recovery_puts_everything_back(host):
    host.fails.add("server start")
    real = host.note

    def once(what):
        try:
            real(what)
        finally:
            host.fails.discard(what)

    host.note = once
    with pytest.raises(PergolaError) as failed:
        restored()
    assert str(failed.value) == (
        "not restored: server start failed\nthe log\n"
        "live now: Everything is as it was before, and runs again."
    )
    assert host.rows() == "of before"
    assert changes.every() == []
    assert sorted(path.name for path in host.data.parent.iterdir()) == ["main"]
    assert "notes@blue.service" in host.up
    assert not (host.home / PAGE).exists()
    assert intent.read() is None
    assert not results.every()["restore"].ok


def test_what_cannot_be_put_back_stays_closed_and_says_how_it_goes_on(host):
    host.fails.add("server start")
    with pytest.raises(PergolaError, match="DOES NOT RUN AGAIN") as failed:
        restored()
    assert failed.value.hint == resolve.AGAIN
    assert (host.home / PAGE).exists()
    assert "next: sudo pergola-backup resolve" in intent.read().says
    # By hand, once it starts again.
    host.fails.clear()
    assert "the previous data is in force" in resolve.resolve(SETTINGS)
    assert not (host.home / PAGE).exists()
    assert "notes@blue.service" in host.up
    assert intent.read() is None
    assert results.every()["restore"].cut
    resolve.acknowledge()
    assert not results.every()["restore"].cut


def test_files_that_cannot_be_restored_stop_nothing(host):
    host.fails.add("copy of 20261124-190036F")
    with pytest.raises(PergolaError, match="the files could not be restored") as failed:
        restored()
    assert failed.value.live == restore.NOTHING_CHANGED
    assert host.done == ["copy of 20261124-190036F"]
    assert intent.read() is None
    assert sorted(path.name for path in host.data.parent.iterdir()) == ["main"]


def test_a_deploy_at_work_is_not_disturbed(host):
    place = App(host.home).place
    place.directory.mkdir(parents=True)
    deploy = {"run": "elsewhere/1", "who": "ann", "what": "deploy of x", "until": 1e12}
    (place.directory / "deploy.json").write_text(json.dumps(deploy))
    with pytest.raises(HeldError, match="ann is at work on notes"):
        restored()
    assert host.done == []
    assert intent.read() is None


def test_an_application_that_does_not_come_up_keeps_its_page_until_it_does(host):
    host.fails.add("units")
    with pytest.raises(PergolaError, match="the data is restored, but notes does not") as failed:
        restored()
    assert "its last line" in failed.value.evidence
    assert "journalctl -u 'notes[.@]*'" in failed.value.hint
    assert host.rows() == "of the target"
    assert (host.home / PAGE).exists()
    assert intent.read().says.startswith("the data is restored, but notes does not come up")
    assert len(changes.every()) == 1
    host.fails.clear()
    assert "it is in force: the data is a moment" in resolve.resolve(SETTINGS)
    assert not (host.home / PAGE).exists()
    assert results.every()["restore"].ok
    assert len(changes.every()) == 1


def test_a_page_that_was_on_stays_and_one_for_a_time_does_not_end_too_soon(host, monkeypatch):
    (host.home / PAGE).write_text("somebody's")
    restored()
    assert (host.home / PAGE).read_text() == "somebody's"
    (host.home / PAGE).unlink()
    run = host.top / "run/notes"
    for name in apps.PAGES:
        (run / name).write_text("for a minute")
    for kept in host.data.parent.glob("main.before-*"):
        shutil.rmtree(kept)  # a restore takes more than a second
    seen = []
    look = lambda _: seen.append((host.home / PAGE).read_text())  # noqa: E731
    monkeypatch.setattr(Server, "stop", look)
    restored()
    assert seen == ["for a minute"]
    assert not (host.home / PAGE).exists()
    assert (run / apps.PAGES[-1]).exists()


def test_after_a_deploy_only_the_live_slot_is_started(host):
    closed = Fence([App(host.home)]).closed[0]
    closed.note_stopped(["notes@green.service", "notes@green.socket", "notes.mails.timer"])
    assert closed.stopped == ["notes.mails.timer", "notes@blue.service", "notes@blue.socket"]
    closed.note_stopped([])
    assert closed.stopped == []


def test_one_that_was_told_to_stop_has_changed_nothing():
    with pytest.raises(PergolaError, match="told to stop") as told, restore.told_to_stop():
        raise restore.ToldToStopError
    assert told.value.live == restore.NOTHING_CHANGED


def test_only_one_is_at_work(host, capsys):
    with intent.at_work():
        with pytest.raises(intent.AtWorkError):
            restored()
        # PostgreSQL's start within a restore waits for nothing.
        options = SimpleNamespace(acknowledge=False, before_postgresql=True, at_boot=False)
        own.finish_interrupted(SETTINGS, options)
    assert capsys.readouterr().out == ""
    assert Path(intent.LOCK).exists()
