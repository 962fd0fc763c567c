"""The backup program's judgement, without a server: what it picks, refuses, records and says."""

import fcntl
import json
from dataclasses import replace
from subprocess import CompletedProcess
from types import SimpleNamespace

import pytest
from pergola import results
from pergola.backup import drill, jobs, points, rebuild, repository, resolve, scratch, timers
from pergola.backup.repository import Backup, Repositories
from pergola.backup.settings import of_this_host
from pergola.errors import PergolaError
from pergola.people import size

INFO = {
    "archive": {"start": "000000010000000000000002", "stop": "000000010000000000000003"},
    "database": {"id": 1, "repo-key": 1},
    "error": False,
    "info": {"delta": 31009709, "size": 31009709, "repository": {"delta": 3747488}},
    "label": "20261124-190036F",
    "lsn": {"start": "0/2000028", "stop": "0/30001A8"},
    "timestamp": {"start": 1795546836, "stop": 1795546837},
    "type": "full",
}


def backup(repo=1, label="A", ended=1000):
    found = {**INFO, "label": label, "database": {"id": 1, "repo-key": repo}}
    return Backup.of({**found, "timestamp": {"start": ended - 1, "stop": ended}})


@pytest.fixture
def state(tmp_path, monkeypatch):
    """Results and points go to a directory of the test's own."""
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(points, "FILE", tmp_path / "points.jsonl")
    return tmp_path


@pytest.fixture
def settings(tmp_path):
    file = tmp_path / "backup.json"
    where = [
        {"number": 1, "name": "/var/lib/pgbackrest", "local": True},
        {"number": 2, "name": "vault1", "local": True},
        {"number": 3, "name": "fetched by its own host", "local": False},
    ]
    file.write_text(json.dumps({"stanza": "web1", "version": 17, "repositories": where}))
    return of_this_host(file)


def result(state, job):
    return json.loads((state / f"results/{job}.json").read_text())


def test_a_backup_is_read_from_pgbackrests_answer():
    found = Backup.of(INFO)
    assert (found.timeline, found.kind, found.bytes_in_repository) == (1, "full", 3747488)


def test_without_the_roles_file_the_next_step_is_named(tmp_path):
    with pytest.raises(PergolaError, match=r"site\.yml"):
        of_this_host(tmp_path / "none.json")


def test_wal_that_is_not_written_to_its_end_is_in_no_repository(settings, monkeypatch):
    """In a repository without room pgBackRest leaves a file with another end to its name."""
    segment, there = "000000010000000000000004", []
    listed = lambda *_: CompletedProcess(_, 0, "\n".join(there))  # noqa: E731
    monkeypatch.setattr(repository, "pgbackrest", listed)
    file = f"17-1/{segment[:16]}/{segment}-{'0a' * 20}"
    for ends in ("", ".gz", ".zst"):
        there[:] = [file + ends]
        assert points.holder_of(settings, segment) == "/var/lib/pgbackrest"
        there[:] = [file + ends + ".pgbackrest.tmp"]
        assert points.holder_of(settings, segment) == ""


def test_a_repository_that_fails_does_not_keep_the_others_from_their_backup(
    state, settings, monkeypatch
):
    asked = []

    def make(_, repo, kind):
        asked.append(repo.number)
        if repo.number == 1:
            raise PergolaError("no space left")
        return f"{kind} in {repo.name}"

    monkeypatch.setattr(jobs, "back_up_to", make)
    with pytest.raises(PergolaError, match="could be made in /var/lib/pgbackrest") as raised:
        jobs.back_up(settings, "full")
    assert asked == [1, 2]  # the third is fetched by its own host
    assert "no space left" in str(raised.value)
    assert "full in vault1" in raised.value.reason
    assert result(state, "backup")["ok"] is False


def test_what_nobody_thought_of_is_recorded_as_a_failure(state):
    with pytest.raises(KeyboardInterrupt), results.recorded("verify"):
        raise KeyboardInterrupt
    assert result(state, "verify")["ok"] is False


def test_a_good_job_is_recorded_with_its_time(state):
    with results.recorded("verify", type="x") as found:
        found.says = "all in order"
    kept = result(state, "verify")
    assert kept["ok"] is True
    assert kept["says"] == "all in order"
    assert kept["type"] == "x"
    assert kept["ended"] > 0
    assert results.FORM.json(results.every()["verify"]) == kept


@pytest.mark.parametrize("name", ["a'b", "x" * 64, "two words", "ä"])
def test_a_point_has_a_plain_name(name, settings):
    with pytest.raises(PergolaError, match="is not a point's name"):
        points.make_point(settings, name)


def test_a_point_is_named_after_the_release_that_is_about_to_migrate(state, settings, monkeypatch):
    monkeypatch.setenv("PERGOLA_RELEASE", "c0ffee-1")
    monkeypatch.setattr(points, "archived", lambda *_: "0/1")
    assert points.make_point(settings, "") == "before-c0ffee-1"
    assert points.every()[0].position == "0/1"


def test_another_clusters_repository_is_told_with_what_to_do(settings, monkeypatch):
    done = CompletedProcess([], repository.MISMATCH, "", "ERROR: [028]: do not match")
    monkeypatch.setattr(Repositories, "run", lambda *_: done)
    with pytest.raises(PergolaError) as raised:
        Repositories(settings).do("stanza-create")
    assert "-e rebuild=true" in str(raised.value)
    assert "backup_stanza" in str(raised.value)


def other_cluster(monkeypatch, here, numbers=(1, 2)):
    """These repositories hold the cluster 71; the cluster here has another number."""
    db = [{"id": 1, "repo-key": number, "system-id": 71, "version": "17"} for number in numbers]
    monkeypatch.setattr(Repositories, "away", lambda _: {})
    monkeypatch.setattr(Repositories, "info", lambda _: {"db": db})
    monkeypatch.setattr(jobs.Server, "system_id", lambda *_: here)


def test_nothing_is_begun_beside_another_clusters_backups(settings, monkeypatch):
    """pgBackRest would make the stanza in those repositories that have none."""
    other_cluster(monkeypatch, 99)
    with pytest.raises(PergolaError, match="vault1 holds the backups of another cluster") as raised:
        jobs.holders_of(Repositories(settings))
    assert "-e rebuild=true" in str(raised.value)
    other_cluster(monkeypatch, 71)
    assert jobs.holders_of(Repositories(settings)) == {1, 2}


@pytest.mark.parametrize(
    ("numbers", "away", "asked"),
    [
        ((1, 2), {}, ["check"]),
        ((1,), {}, ["stanza-create", "check"]),
        ((1,), {2: "no route to vault1"}, ["check"]),
    ],
)
def test_a_stanza_is_created_only_where_one_is_lacking(settings, monkeypatch, numbers, away, asked):
    """It takes the lock of what sends WAL, which then waits for a minute."""
    called = []
    settings = replace(settings, repositories=settings.repositories[:2])
    other_cluster(monkeypatch, 71, numbers)
    monkeypatch.setattr(Repositories, "still_away", lambda _: away)
    monkeypatch.setattr(Repositories, "do", lambda _, command, *__, **___: called.append(command))
    monkeypatch.setattr(Repositories, "backups", lambda *_: [])
    for name in ("make_room", "send_histories", "have_first", "go_on_after_gap"):
        monkeypatch.setattr(jobs, name, lambda *_: False)
    jobs.set_up(settings)
    assert called == asked


def test_nothing_is_begun_beside_backups_with_another_key(settings, monkeypatch):
    """pgBackRest says so by a file that it cannot parse."""
    message = "[FormatError] unable to load info file '/r/backup/web1/backup.info'"
    monkeypatch.setattr(Repositories, "away", lambda _: {2: message})
    monkeypatch.setattr(Repositories, "info", lambda _: {"db": []})
    monkeypatch.setattr(jobs.Server, "system_id", lambda *_: 71)
    with pytest.raises(PergolaError, match="vault1 cannot be read with this key"):
        jobs.holders_of(Repositories(settings))


def test_only_a_server_with_another_cluster_is_rebuilt(settings, monkeypatch):
    asked = []
    monkeypatch.setattr(rebuild, "make_plan", lambda *_: None)
    monkeypatch.setattr(rebuild, "told", lambda *_: "the plan")
    say = lambda words: asked.append(words) or "restored"  # noqa: E731
    monkeypatch.setattr(rebuild, "said_in_own_unit", say)
    monkeypatch.setattr(Repositories, "away", lambda _: {})
    other_cluster(monkeypatch, 71)
    assert rebuild.rebuild(settings).changed is False
    assert asked == []
    other_cluster(monkeypatch, 99)
    assert rebuild.rebuild(settings) == rebuild.Rebuilt(True, "the plan\nrestored")
    assert asked == [["restore"]]


def test_a_timer_that_would_never_start_is_told_by_its_setting(monkeypatch):
    def show(unit, _):
        return "bad-setting" if unit == "pergola-backup-drill.timer" else "loaded"

    monkeypatch.setattr(timers, "reread", lambda *_: False)
    monkeypatch.setattr(timers, "show", show)
    with pytest.raises(PergolaError, match="backup_drill_on_calendar is not a time"):
        timers.start(timers.OWN)


def test_what_holds_the_lock_is_waited_for(settings, monkeypatch):
    codes = iter([repository.LOCKED, repository.LOCKED, 0])
    monkeypatch.setattr(
        Repositories, "run", lambda *_: CompletedProcess([], next(codes), "done", "")
    )
    monkeypatch.setattr(repository, "LOOK_EVERY", 0)
    assert Repositories(settings).do("stanza-create") == "done"


def test_a_lock_that_stays_is_told(settings, monkeypatch):
    done = CompletedProcess([], repository.LOCKED, "", "ERROR: [050]: unable to acquire lock")
    monkeypatch.setattr(Repositories, "run", lambda *_: done)
    monkeypatch.setattr(repository, "SECONDS_FOR_OTHERS", 0)
    monkeypatch.setattr(repository, "LOOK_EVERY", 0)
    with pytest.raises(PergolaError) as raised:
        Repositories(settings).do("backup")
    assert "unable to acquire lock" in str(raised.value)


def test_the_drill_takes_the_newest_backup_of_each_repository_in_turn(state, settings, monkeypatch):
    old, new, other = backup(1, "old", 1000), backup(1, "new", 2000), backup(2, "other", 1500)
    left = replace(backup(1, "given up by a restore", 3000), last_position="0/9000000")
    monkeypatch.setattr(drill, "backups_for", lambda *_: ([old, other, new, left], False))
    monkeypatch.setattr(
        drill, "history", lambda *_: "1\t0/5000000\tbefore 2026-11-24 10:00:00+00\n"
    )
    monkeypatch.setattr(drill.Server, "timeline", lambda _: 2)
    assert drill.choose(settings, None)[1].label == "new"
    (state / "results").mkdir()
    for last, turn in ((1, "other"), (2, "new")):
        entry = {"job": "drill", "repository": last}
        (state / "results/drill.json").write_text(json.dumps(entry))
        assert drill.choose(settings, None)[1].label == turn


def test_a_drill_of_another_clusters_backups_is_refused(settings, monkeypatch):
    monkeypatch.setattr(drill, "backups_for", lambda *_: ([backup()], True))
    monkeypatch.setattr(drill.Server, "timeline", lambda _: 1)
    with pytest.raises(PergolaError, match="no backup of this cluster"):
        drill.choose(settings, None)


def test_the_drill_goes_to_no_moment_before_the_applications_checks_were_changed(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(drill, "CHECKS", tmp_path)
    assert drill.since(backup(ended=1000)) == 1001
    (tmp_path / "app.json").write_text("{}")
    assert drill.since(backup(ended=1000)) > 1_700_000_000


def test_a_scratch_restore_without_room_is_refused_before_it_writes(
    settings, monkeypatch, tmp_path
):
    (tmp_path / "locks").mkdir()
    monkeypatch.setattr(scratch, "HOME", tmp_path)
    monkeypatch.setattr(scratch, "LOCKS", tmp_path / "locks")
    monkeypatch.setattr(scratch, "systemctl", lambda *_: "")
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    large = SimpleNamespace(backup=SimpleNamespace(bytes_in_database=1_500_000_000))
    with pytest.raises(PergolaError, match=r"no room .*1\.5 GB .*1\.0 GB are free"):
        scratch.Scratch.of(settings, "drill").restore(large)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.json", "locks"]


def test_after_a_boot_half_made_copies_go_and_whole_ones_stay(settings, monkeypatch, tmp_path):
    monkeypatch.setattr(scratch, "HOME", tmp_path)
    monkeypatch.setattr(scratch, "LOCKS", tmp_path)
    monkeypatch.setattr(scratch, "systemctl", lambda *_: "")
    drilled, looked_at = tmp_path / "pergola-drill", tmp_path / "pergola-scratch"

    def left():
        resolve.clear_scratch(settings)
        return [path.name for path in (drilled, looked_at) if path.exists()]

    drilled.mkdir()
    looked_at.mkdir()
    with (tmp_path / "pergola-scratch.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # somebody makes it just now
        assert left() == ["pergola-scratch"]
    assert left() == []
    looked_at.mkdir()
    (looked_at / scratch.LAST_FILE).touch()
    assert left() == ["pergola-scratch"]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (30_300, "30.3 kB"), (31_009_709, "31.0 MB"), (2e12, "2.0 TB")]
)
def test_sizes_are_for_people(count, text):
    assert size(count) == text
