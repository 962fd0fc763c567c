"""Damaged pages, and repositories that do not answer: what pgBackRest says of them is not lost."""

import json
from subprocess import CompletedProcess

import pytest
from pergola import results
from pergola.backup import jobs, pages, plan, rebuild, repository
from pergola.backup.pages import FILE, DamagedError
from pergola.backup.repository import Repositories
from pergola.backup.settings import Repository, Settings
from pergola.errors import PergolaError

SETTINGS = Settings(
    "web1", 17, (Repository(1, "/var/lib/pgbackrest", True), Repository(2, "vault1", False))
)


def found(number, *, damaged=False, status=0):
    backup = {
        "archive": {"start": "000000010000000000000002", "stop": "000000010000000000000003"},
        "database": {"id": 1, "repo-key": number},
        "error": damaged,
        "error-list": ["base/16386/16458"] if damaged else None,
        "info": {"delta": 1, "size": 31009709, "repository": {"delta": 3747488}},
        "label": "20261124-190036F",
        "lsn": {"start": "0/2000028", "stop": "0/30001A8"},
        "timestamp": {"start": 1795546836, "stop": 1795546837 + number},
        "type": "full",
    }
    repo = {"key": number, "status": {"code": status, "message": "timeout connecting"}}
    known = [] if status else [backup]
    return {"backup": known, "db": [{"id": 1, "repo-key": number}], "repo": [repo]}


@pytest.fixture
def pgbackrest(monkeypatch):
    """What each repository answers, and the commands that were run."""
    answers, called = {1: found(1), 2: found(2)}, []

    def run(_, command, *options):
        called.append((command, *options))
        number = int(next(o for o in options if o.startswith("--repo=")).partition("=")[2])
        # pgBackRest writes control characters as they are.
        text = json.dumps([answers[number]]).replace("\\u001f", "\x1f")
        return CompletedProcess([], 0, text, "")

    monkeypatch.setattr(Repositories, "run", run)
    repository.unreachable.cache_clear()
    yield answers, called
    repository.unreachable.cache_clear()


def commands(called):
    return [command for command, *_ in called if command != "info"]


def test_a_repository_that_does_not_answer_is_left_out(pgbackrest):
    answers, called = pgbackrest
    answers[2] = found(2, status=99)
    repositories = Repositories(SETTINGS)
    assert [one.repository for one in repositories.backups()] == [1]
    assert repositories.away() == {2: "timeout connecting"}
    with pytest.raises(PergolaError, match="repository 2 does not answer"):
        repositories.newest(2)
    remark = plan.away(SETTINGS)[0]
    assert "vault1, does not answer" in remark
    # It is waited for once.
    assert sum("--repo=2" in call for call in called) == 1


@pytest.fixture
def new_server(pgbackrest, monkeypatch):
    """One without backups in its own repository; vault1 may have some."""
    answers, _ = pgbackrest
    answers[1] |= {"backup": [], "db": []}
    answers[2]["db"][0]["system-id"] = 99
    restored = []
    monkeypatch.setattr(rebuild.Server, "system_id", lambda *_: 71)
    monkeypatch.setattr(rebuild, "make_plan", lambda *_: None)
    monkeypatch.setattr(rebuild, "told", lambda *_: "")
    monkeypatch.setattr(rebuild, "said_in_own_unit", lambda words: restored.append(words) or "")
    monkeypatch.setattr(repository, "LOOK_EVERY", 0)
    return answers, restored


def test_a_copy_that_answers_late_is_waited_for_before_a_rebuild(new_server, monkeypatch):
    """Its daemon may not know the new machine's certificate at once."""
    answers, restored = new_server
    late = answers[2]
    answers[2] = found(2, status=99)
    monkeypatch.setattr(repository.time, "sleep", lambda _: answers.update({2: late}))
    rebuild.rebuild(SETTINGS)
    assert restored == [["restore"]]


def test_a_copy_that_does_not_answer_is_not_taken_for_an_empty_one(new_server, monkeypatch):
    answers, restored = new_server
    answers[2] = found(2, status=99)
    monkeypatch.setattr(repository, "SECONDS_TO_ANSWER", 0)
    with pytest.raises(PergolaError, match="vault1 does not answer, and may have the backups"):
        rebuild.rebuild(SETTINGS)
    assert restored == []


def test_when_none_answers_that_is_said(pgbackrest):
    answers, _ = pgbackrest
    answers |= {1: found(1, status=99), 2: found(2, status=99)}
    with pytest.raises(PergolaError, match="no repository answers"):
        Repositories(SETTINGS).backups()


INFO = "unable to load info file 'backup.info' or 'backup.info.copy':\n"


@pytest.mark.parametrize(
    ("message", "unreadable", "says"),
    [
        (f"[CryptoError] {INFO}CryptoError: cipher header invalid", [2], "cannot be read"),
        (f"[FormatError] {INFO}FormatError: key/value found: \f\x1f", [2], "cannot be read"),
        (f"[FileMissingError] {INFO}FileMissingError: unable to open", [], "cannot be read"),
        ("[CryptoError] unable to verify certificate presented by 'x'", [], "does not answer"),
        ("[HostConnectError] unable to connect to 'x'", [], "does not answer"),
    ],
)
def test_another_key_is_told_from_a_host_that_is_away(pgbackrest, message, unreadable, says):
    answers, _ = pgbackrest
    answers[2] = found(2, status=99)
    answers[2]["repo"][0]["status"]["message"] = message
    assert Repositories(SETTINGS).unreadable() == unreadable
    with pytest.raises(PergolaError, match=f"repository 2 {says}"):
        Repositories(SETTINGS).newest(2)
    assert f"vault1, {says}" in plan.away(SETTINGS)[0]


def test_a_repository_that_is_not_configured_does_not_answer(pgbackrest, monkeypatch):
    answered = Repositories.run

    def run(self, command, *options):
        if "--repo=2" in options:
            return CompletedProcess([], 32, "", "ERROR: [032]: no such key")
        return answered(self, command, *options)

    monkeypatch.setattr(Repositories, "run", run)
    assert Repositories(SETTINGS).answering() == [1]


def test_the_backups_of_all_repositories_stand_in_their_order(pgbackrest):
    assert [one.repository for one in Repositories(SETTINGS).backups()] == [1, 2]


@pytest.fixture
def no_server(monkeypatch, tmp_path):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(jobs, "annotate", lambda *_: None)
    monkeypatch.setattr(pages, "content", lambda *_: " (table rotten of the database probe)")


def test_after_a_good_backup_the_old_ones_may_go(pgbackrest, no_server):
    jobs.back_up(SETTINGS, "full")
    assert commands(pgbackrest[1]) == ["backup", "expire"]


def test_a_damaged_backup_fails_by_the_files_name_and_keeps_the_old_ones(pgbackrest, no_server):
    answers, called = pgbackrest
    answers[1] = found(1, damaged=True)
    with pytest.raises(PergolaError) as raised:
        jobs.back_up(SETTINGS, "incr")
    assert "base/16386/16458 (table rotten of the database probe)" in raised.value.reason
    assert "older backups are kept" in raised.value.live
    assert commands(called) == ["backup"]


def test_a_damage_does_not_hide_a_failure(pgbackrest, no_server, monkeypatch):
    answers = iter([DamagedError("the backup A has damaged pages"), PergolaError("no space")])

    def make(*_):
        raise next(answers)

    monkeypatch.setattr(jobs, "back_up_to", make)
    with pytest.raises(PergolaError) as raised:
        jobs.back_up_all([SETTINGS, SETTINGS], "incr")
    assert "damaged pages; no incr backup could be made in /var/lib/pgbackrest" in str(raised.value)
    assert "no space" in str(raised.value)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("base/16386/16458", ("16386", None, "16458")),
        ("base/5/2619_fsm", ("5", None, "2619")),
        ("base/5/16458.12", ("5", None, "16458")),
        ("global/1260", (None, None, "1260")),
        ("pg_tblspc/16400/PG_17_202406281/16386/16458_vm.1", (None, "16400", "16458")),
    ],
)
def test_a_files_name_says_which_relation_it_holds(file, expected):
    match = FILE.match(file)
    assert (match["database"], match["space"], match["node"]) == expected


@pytest.mark.parametrize("file", ["base/16386/PG_VERSION", "global/pg_control", "pg_xact/0000"])
def test_other_files_hold_none(file):
    assert FILE.match(file) is None
