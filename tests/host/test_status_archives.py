"""What each repository has, by looks of each minute, and damage that PostgreSQL has read."""

import dataclasses
import json
import os
import pwd
import subprocess

import pytest
from looks import SERVER
from pergola.documents import converted
from pergola.errors import PergolaError
from pergola.notes import BackupRepository
from pergola.postgres import Cluster
from pergola.status import archives, backups, config, look, memory, wal
from pergola.status.memory import FORM, Clock, Damage, Job, Memory
from pergola.status.seen import Backup, Kept, Repository, Seen
from pergola.status.server import Down, Server

WALL = 1_795_547_262.0
SERVER = converted(SERVER, Server, "SERVER")
LOCAL, VAULT = "/var/lib/pgbackrest", "vault1"


def segment(number, timeline=1):
    return f"{timeline:08X}{0:08X}{number:08X}"


class Host:
    """A server that is looked at each minute; its own clock runs whatever the wall's does."""

    def __init__(self):
        self.now, self.wall, self.known = 0.0, WALL, Memory()
        self.server = SERVER
        backup = {"label": "F", "ended": WALL - 60, "damaged": False}
        self.answers = {
            name: {
                "name": name, "why": "", "backup": backup, "archived": "A", "lacks_since": None,
                "full": "A",
            }
            for name in (LOCAL, VAULT)
        }  # fmt: skip

    def look(self, minutes=1):
        self.now, self.wall = self.now + 60 * minutes, self.wall + 60 * minutes
        seen = Seen("", self.wall, 0, "", postgresql=self.server)
        seen.archives = converted(list(self.answers.values()), list[Repository], "answers")
        known = FORM.parse(FORM.text(self.known), "memory")
        known.archives = archives.advanced(known.archives, seen.archives, self.now, self.wall)
        known.clock = Clock("", 0, self.wall, self.now)
        self.known = known
        found = look.Look(seen, dict(config.LIMITS), {"backup": 30.0}, known, {})
        return {one.name: one for one in backups.repositories(found)}


@pytest.fixture
def host():
    host = Host()
    host.look()
    return host


def test_a_repository_that_has_everything_is_told_so(host):
    found = host.look()[f"repository {VAULT}"]
    assert found.state == "ok"
    assert "has all changes; the newest backup, F, is 3 minutes old" in found.says


@pytest.mark.parametrize(
    ("minutes", "state"), [(1, "ok"), (4, "ok"), (6, "warning"), (31, "critical")]
)
def test_one_that_lacks_changes_is_told_by_their_age(host, minutes, state):
    """No switch of WAL: nothing waits, and nothing that was written is safe."""
    host.answers[LOCAL]["lacks_since"] = host.wall + 60 - minutes * 60
    found = host.look()
    assert found[f"repository {LOCAL}"].state == state
    words = "60 seconds" if minutes == 1 else f"{minutes} minutes"
    assert f"lacks the changes of the last {words}" in found[f"repository {LOCAL}"].says
    assert found[f"repository {VAULT}"].state == "ok"


def test_a_clock_that_was_stepped_back_makes_none_late(host):
    host.answers[LOCAL]["lacks_since"] = host.wall + 86400
    assert host.look()[f"repository {LOCAL}"].state == "ok"


def test_a_copy_that_is_away_is_told_with_what_it_lacks(host):
    host.answers[VAULT] |= {"why": "timeout connecting", "backup": None}
    host.answers[VAULT]["lacks_since"] = host.wall + 60
    host.look()
    found = host.look(31)[f"repository {VAULT}"]
    assert found.state == "critical"
    assert "does not answer for 31 minutes (timeout connecting)" in found.says
    assert "lacks the changes of the last 31 minutes" in found.says
    # What is known of its backups stays known.
    assert "the newest backup, F, is 34 minutes old" in found.says
    backup = host.answers[LOCAL]["backup"]
    host.answers[VAULT] |= {"why": "", "lacks_since": None, "backup": backup}
    assert host.look()[f"repository {VAULT}"].state == "ok"


def test_a_silent_copy_is_told_though_nothing_is_written(host):
    host.answers[VAULT]["why"] = "timeout connecting"
    states = [host.look(4)[f"repository {VAULT}"].state for _ in range(3)]
    assert states == ["ok", "ok", "warning"]


@pytest.mark.parametrize(
    ("backup", "state", "says"),
    [
        ({"ended": WALL - 20 * 3600}, "ok", "the newest backup, X, is 20 hours old"),
        ({"ended": WALL - 31 * 3600}, "warning", "is 31 hours old"),
        ({"ended": WALL - 70 * 3600}, "critical", "is 3 days old"),
        ({"ended": WALL, "damaged": True}, "critical", "pages of PostgreSQL are damaged"),
    ],
)
def test_the_newest_backup_of_each_is_judged(host, backup, state, says):
    host.answers[VAULT]["backup"] = {"label": "X", "damaged": False, **backup}
    found = host.look()[f"repository {VAULT}"]
    assert found.state == state
    assert says in found.says


def test_one_without_a_backup_is_told(host):
    host.answers[VAULT]["backup"] = None
    assert host.look()[f"repository {VAULT}"].state == "warning"


def test_without_an_answer_of_postgresql_nothing_is_known(host):
    host.server = Down("x", "no answer")
    assert {one.state for one in host.look().values()} == {"unknown"}


def pages(known):
    seen = Seen("", WALL, 0, "", postgresql=SERVER)
    one = look.Look(seen, {}, {}, Memory(damage=known), {})
    return next(backups.pages(one))


def damage(known, counts, backup, now, ago=None):
    server = dataclasses.replace(SERVER, checksum_failures=counts, checksum_failed_ago=ago)
    return backups.damage(known, server if counts is not None else None, backup, now)


def full(began, is_full=True):
    return Job(stamp=began, ended=began, began=began, ok=True, full=is_full)


def test_a_damaged_page_is_told_until_a_full_backup_has_read_all():
    known = damage(None, {}, full(0.0), 100.0)
    assert pages(known).state == "ok"
    known = damage(known, {"app": 2}, full(0.0), 200.0)
    assert pages(known).state == "critical"
    assert "damaged pages in app" in pages(known).says
    # Neither a crash, which resets the counters, nor an incremental backup ends it.
    known = damage(known, {}, full(10.0), 300.0)
    known = damage(known, None, full(0.0), 300.0)
    known = damage(known, {}, full(400.0, is_full=False), 500.0)
    assert pages(known).state == "critical"
    known = damage(known, {"app": 1}, None, 600.0)
    assert known.time == 600.0
    known = damage(known, {"app": 1}, full(700.0), 800.0)
    assert pages(known).state == "ok"


def test_a_damaged_page_that_was_met_before_the_full_backup_is_over_with_it():
    """Autovacuum may meet it as well, between a look and the backup."""
    known = Damage(200.0, {"app": 1}, ["app"])
    assert pages(damage(known, {"app": 2}, full(220.0), 230.0, ago=15.0)).state == "ok"
    assert pages(damage(known, {"app": 2}, full(220.0), 230.0, ago=5.0)).state == "critical"


INFO = {
    "archive": [
        {"database": {"id": 2}, "id": "17-2", "max": segment(7)},
        {"database": {"id": 1}, "id": "16-1", "max": segment(9)},
    ],
    "backup": [
        {"label": "A", "timestamp": {"stop": 5}, "error": False},
        {"label": "B", "timestamp": {"stop": 9}, "error": True},
    ],
    "repo": [{"status": {"code": 0, "message": "ok"}}],
}


@pytest.fixture
def pgbackrest(monkeypatch):
    """What pgBackRest answers, by its command."""
    answers = {"info": [INFO]}

    def run(*arguments):
        found = answers.get(next(a for a in arguments if a in ("info", "repo-ls")))
        if isinstance(found, Exception):
            raise found
        return json.dumps(found)

    monkeypatch.setattr(archives, "pgbackrest", run)
    return answers


def asked():
    return archives.asked("web1", BackupRepository(2, VAULT, local=False), segment(8))


def test_the_newest_wal_and_backup_are_taken_from_the_answer(pgbackrest):
    found = asked()
    assert found.archived == segment(7)
    assert found.backup == Backup("B", 9, True)


def test_after_an_undo_the_live_timelines_wal_counts(pgbackrest):
    pgbackrest["info"] = [{**INFO, "archive": [{**INFO["archive"][0], "max": segment(3, 4)}]}]
    pgbackrest["repo-ls"] = {f"{segment(n)}-{'a' * 40}.zst": {} for n in (5, 6)}
    assert asked().archived == segment(6)


def test_of_those_that_do_not_answer_the_last_known_counts(monkeypatch, tmp_path):
    file = tmp_path / "backup.json"
    where = [{"name": name, "number": n, "local": n == 1} for n, name in ((1, LOCAL), (2, VAULT))]
    file.write_text(json.dumps({"stanza": "web1", "version": 17, "repositories": where}))
    monkeypatch.setattr(archives, "BACKUP_FILE", file)
    monkeypatch.setattr(
        archives, "asked", lambda _, one, __: Repository(one.name, archived=one.name[:1])
    )
    monkeypatch.setattr(wal, "oldest_after", lambda _, last: {"/": 1.0, "B": 2.0}.get(last))
    server = dataclasses.replace(SERVER, segment=segment(8))
    found = archives.gathered(server, {})
    assert [one.lacks_since for one in found] == [1.0, None]
    monkeypatch.setattr(archives, "asked", lambda _, one, __: Repository(one.name))
    known = {
        name: memory.Repository(archived, None, None)
        for name, archived in ((LOCAL, "/"), (VAULT, "B"))
    }
    found = archives.gathered(server, known)
    assert [one.lacks_since for one in found] == [1.0, 2.0]


WALDUMP = """\
rmgr: Transaction len (rec/tot): 34, tx: 7, desc: ABORT 2026-11-24 10:00:00.1 UTC
rmgr: Transaction len (rec/tot): 34, tx: 8, desc: {what} 2026-11-24 10:00:01.5 UTC
rmgr: Transaction len (rec/tot): 34, tx: 9, desc: COMMIT 2026-11-24 10:00:02.5 UTC
"""


@pytest.fixture
def waldump(monkeypatch, tmp_path):
    """A server with three WAL files, and what its pg_waldump was called with and says."""
    program, called = tmp_path / "pg_waldump", tmp_path / "called"
    text = WALDUMP.format(what="$WHAT")
    program.write_text(f'#!/bin/sh\necho "$@" >{called}\ncat <<E\n{text}E\n')
    program.chmod(0o755)
    (tmp_path / "pg_wal").mkdir()
    for number in (0x33, 0x34, 0x36):
        (tmp_path / "pg_wal" / segment(number, 2)).touch()
    opened = subprocess.Popen

    def popen(command, *, stdout, text, env, **_):
        assert env["TZ"] == "UTC"
        return opened(command, stdout=stdout, text=text)

    monkeypatch.setattr(wal.subprocess, "Popen", popen)
    monkeypatch.setattr(Cluster, "program", lambda _, name: str(tmp_path / name))
    me = pwd.getpwuid(os.geteuid()).pw_name
    monkeypatch.setattr(wal, "ACCOUNT", me)
    server = dataclasses.replace(
        SERVER,
        data_directory=str(tmp_path),
        segment=segment(0x36, 2),
        segment_bytes=1 << 24,
    )
    return server, called


@pytest.mark.parametrize(
    ("archived", "start"),
    [(segment(0x35, 2), "0/36000000"), (segment(0x35, 1), "0/33000000"), ("", "0/33000000")],
)
@pytest.mark.parametrize("what", ["COMMIT", "COMMIT_PREPARED 12:"])
def test_the_oldest_change_that_is_lacking_is_read_from_the_wal(
    archived, start, what, waldump, monkeypatch
):
    server, called = waldump
    monkeypatch.setenv("WHAT", what)
    assert wal.oldest_after(server, archived) == 1_795_514_401.5
    assert f"--start={start}" in called.read_text()
    assert "--timeline=2" in called.read_text()


def test_a_wal_file_that_is_not_begun_is_not_waited_for(waldump):
    server, called = waldump
    assert wal.oldest_after(server, segment(0x36, 2)) is None
    assert not called.exists()


@pytest.mark.parametrize(
    "answer",
    [
        PergolaError("pgBackRest failed", "ERROR: [032]: no such key"),
        [{"repo": [{"status": {"code": 99, "message": "ERROR: [032]: no such key"}}]}],
    ],
)
def test_one_that_does_not_answer_says_why(pgbackrest, answer):
    pgbackrest["info"] = answer
    assert asked().why == "ERROR: [032]: no such key"


def test_a_repository_without_anything_is_empty(pgbackrest):
    pgbackrest["info"] = [{"repo": [{"status": {"code": 3, "message": "missing"}}]}]
    found = asked()
    assert (found.why, found.archived, found.backup) == ("", "", None)


def test_a_copy_on_another_host_is_one_elsewhere(monkeypatch, tmp_path):
    """The configuration of each other host's repository is a file of its own."""
    (tmp_path / "pgbackrest.conf").write_text("[global]\nrepo1-path=/var/lib/pgbackrest\n")
    monkeypatch.setattr(archives, "CONFIGURATION", tmp_path / "pgbackrest.conf")
    assert archives.kept() == Kept(["/var/lib/pgbackrest"], [])
    (tmp_path / "conf.d").mkdir()
    other = "[web1]\nrepo2-host=192.0.2.1\nrepo2-path=/var/lib/pgbackrest/copies\n"
    (tmp_path / "conf.d/vault1.conf").write_text(other)
    assert archives.kept() == Kept(["/var/lib/pgbackrest"], ["2"])
