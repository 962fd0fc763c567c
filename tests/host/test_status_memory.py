"""What a status remembers: an earlier Pergola's file is read on, and nothing is forgotten."""

import json

import pytest
from pergola.status import config, notify, report, store
from pergola.status.memory import FORM, Memory, Notice, Waiting
from pergola.status.seen import Seen

# As the first Pergolas wrote it: all that it can have.
NOTICE = {
    "event": "alert", "host": "web1", "check": "disk /", "state": "critical", "before": "ok",
    "time": "2026-11-24T19:07:42Z", "text": "web1: CRITICAL disk /: 96 % used",
}  # fmt: skip
BACKUP = {"label": "20261124-193409F", "ended": 1795547000, "damaged": False, "at": 3500.25}
TREE = {
    "key": "r2 1795547262000000000",
    "firsts": {"r2 1795547262000000000": {"code": "aa", "venv": "bb"}},
    "large": "bb",
    "large_at": 900.5,
    "changed": ["code/main.py"],
}
WRITTEN = {
    "format": 1,
    "clock": {"boot": "one", "boottime": 1000.5, "wall": 1795547262.25, "time": 3600.0},
    "step": 0.0,
    "reserve": {"bytes": 134217728, "there": True, "given_up": False, "place": "/var/lib/pergola"},
    "jobs": {
        "backup": {
            "stamp": 1795547200.5, "ended": 3540.0, "began": 3530.0, "ok": True, "full": True
        }
    },
    "watched": {"backup": 0.0, "drill": 60.0},
    "archive": {"archived": 40, "since": 3600.0},
    "logs": {"/var/log/postgresql/postgresql-17-main.log": [403223, 7]},
    "access": {"/var/log/caddy/probe.log": [403224, 1234]},
    "largest": {"/": {"at": 900.5, "sizes": [["/var/lib/probe", 5000]], "too_many": None}},
    "trees": {"probe": TREE},
    "restarts": {"caddy.service": {"count": 2, "active": True, "recent": [0, 1, 1]}},
    "archives": {
        "/var/lib/pgbackrest": {
            "archived": "000000010000000000000007", "away": None, "backup": BACKUP, "full": "0"
        },
        "vault1": {"archived": "", "away": 3480.0, "backup": None, "full": ""},
    },
    "damage": {"counts": {"app": 2}, "databases": ["app"], "time": 100.0},
    "gap": {"wal": "0000000100000000000000A2", "count": 2, "wall": 1795547000.0},
    "reported": {
        "disk /": {"state": "critical", "says": "96 % used", "since": 1795547262.0, "looks": 0},
        "clock": {"state": "ok", "says": "synchronised", "since": 1795540000.0, "looks": 4},
    },
    "told": {"disk /": 3600.0},
    "outbox": [{"to": "url-0f1e2d3c4b5a", "notice": NOTICE}],
    "unsent": {"url-0f1e2d3c4b5a": "chat.example.org: HTTPError: HTTP Error 500"},
    "unbeaten": {"beat-0f1e2d3c4b5a": "beat.example.org: TimeoutError: timed out"},
    "unwritten": "",
    "summary": 3000.0,
    "written": 812,
}  # fmt: skip


def test_what_an_earlier_pergola_remembered_is_read_on_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "HOME", tmp_path)
    monkeypatch.setattr(store, "RUN", tmp_path / "run")
    (tmp_path / store.MEMORY).write_text(json.dumps(WRITTEN))
    known = store.remembered()
    assert json.loads(FORM.text(known)) == WRITTEN
    assert (known.now, known.outbox[0].notice) == (3600.0, Notice(**NOTICE))
    assert store.remember(known) == ""
    assert store.remembered().written == 813
    assert (tmp_path / store.MEMORY).stat().st_mode & 0o777 == 0o600


def test_the_first_memory_of_all_is_read_too():
    assert FORM.parse('{"clock": null, "step": 0}', "it") == Memory()


def test_of_two_memories_the_one_that_was_written_more_often_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "HOME", tmp_path / "disk")
    monkeypatch.setattr(store, "RUN", tmp_path)
    (tmp_path / "disk").mkdir()
    for folder, written in ((store.HOME, 7), (store.RUN, 8)):
        (folder / store.MEMORY).write_text(json.dumps({**WRITTEN, "written": written}))
    assert store.remembered().written == 8


def test_a_newer_pergolas_memory_is_left_alone_and_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(store, "HOME", tmp_path)
    monkeypatch.setattr(store, "RUN", tmp_path / "run")
    (tmp_path / store.MEMORY).write_text('{"format": 2}')
    assert store.remembered() == Memory()
    assert "was made by a newer Pergola" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (config.Config(urls=["https://told.example.org/a"]), "url-1fa94589a80e"),
        (
            config.Config(
                mails=[{"to": ["ops@example.org"], "port": 25, "host": "mail.example.org"}]
            ),
            "mail-a6a36a7e37dc",
        ),
    ],
)
def test_messages_that_wait_go_to_whom_they_were_for(settings, key):
    """By keys that the first Pergolas made of the settings."""
    people = notify.recipients(settings)
    assert list(people) == [key]
    waits = [Waiting(key, Notice(**NOTICE))]
    people[key] = people[key]._replace(send=lambda told: sent.append(told.check))
    sent = []
    assert notify.sent(waits, people) == ([], {})
    assert sent == ["disk /"]


def test_the_status_is_a_document_with_a_number():
    status = report.of_reported(Seen("web1", 0.0, 0.0, "b", results={}), {})
    assert json.loads(report.STATUS.text(status)) == {
        "format": 1, "host": "web1", "wall": 0.0, "time": "1970-01-01T00:00:00Z", "state": "ok",
        "checks": [], "jobs": {},
    }  # fmt: skip
