"""Releases on a host: which are live, good, kept; what was done with them, and how that is told."""

import json
import os
import shutil
from types import SimpleNamespace

from pergola.errors import PergolaError
from pergola.release import releases as of_releases
from pergola.release import tables
from pergola.release.report import report
from release_made import kept, live, record, schema


def test_the_most_recent_good_release_comes_first(releases):
    for name in "abc":
        live(releases, name)
    live(releases, "a")
    assert releases.good() == ["a", "c", "b"]


def test_a_refused_release_is_not_good(releases):
    live(releases, "a")
    kept(releases, "b")
    record(releases, "deploy", "b", "refused", reason="500")
    assert releases.good() == ["a"]


def test_a_release_that_was_rolled_back_from_is_not_good_until_it_is_deployed_again(releases):
    live(releases, "a")
    live(releases, "b", from_="a")
    live(releases, "a", "rollback", from_="b")
    assert releases.good() == ["a"]
    live(releases, "b", from_="a")
    assert releases.good() == ["b", "a"]


def test_going_forward_again_by_name_takes_nothing_from_the_release_in_between(releases):
    live(releases, "a")
    live(releases, "b", from_="a")
    live(releases, "a", "rollback", from_="b")
    live(releases, "b", "rollback", from_="a")
    assert releases.good() == ["b", "a"]


def test_a_release_that_is_not_complete_on_disk_is_not_good(releases):
    live(releases, "a")
    (releases.path("a") / "ready").unlink()
    assert releases.good() == []


def test_a_ledger_line_cut_off_by_a_power_loss_hides_no_other(releases):
    live(releases, "a")
    with (releases.home / "ledger.jsonl").open("a") as ledger:
        ledger.write('{"time": "2026-01-01T00:00:00+00:00", "act')
    live(releases, "b")
    assert [line.to for line in releases.ledger()] == ["a", "b"]
    assert releases.ledger()[0].who == "ada@example.org"


def test_what_was_cut_off_in_the_middle_of_the_ledger_is_left_out(releases):
    file = releases.home / "ledger.jsonl"
    whole = b'{"format": 1, "action": "deploy", "outcome": "live", "to": "r1"}\n'
    for rest in (
        b'{"format": 1, "outcome": "li',
        b'{"seconds": {"gate": 1}',
        b"\x00\x00",
        b"{\xc3",
    ):
        file.write_bytes(whole + rest)
        assert [line.to for line in releases.ledger()] == ["r1"]
        record(releases, "deploy", "r2", "live")
        assert [line.to for line in releases.ledger()] == ["r1", "r2"]


def test_prune_keeps_the_last_good_ones_and_what_is_in_a_slot(releases):
    for name in "abcd":
        live(releases, name)
    kept(releases, "refused")
    (releases.home / "slots/blue").symlink_to(releases.path("a"))
    for name in ("a", "b", "refused", "next"):
        (releases.home / "incoming" / f"{name}.tar.gz").touch()
        os.utime(releases.home / "incoming" / f"{name}.tar.gz", (1000, 1000))
    os.utime(releases.home / "incoming/next.tar.gz", (2000, 2000))
    assert sorted(releases.prune(1500)) == ["b", "refused"]
    assert sorted(path.name for path in (releases.home / "releases").iterdir()) == ["a", "c", "d"]
    assert {p.name for p in (releases.home / "incoming").iterdir()} == {"a.tar.gz", "next.tar.gz"}


def test_the_flag_file_says_which_slot_is_live(releases):
    assert (releases.app.colour, releases.live()) == ("blue", None)
    kept(releases, "a")
    (releases.home / "slots/green").symlink_to(releases.path("a"))
    (releases.home / "live/green").touch()
    assert (releases.app.colour, releases.live()) == ("green", "a")


def test_a_host_has_the_name_that_its_inventory_gives_it(releases, monkeypatch):
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(nodename="vps-1234.provider.test"))
    assert releases.host == "vps-1234.provider.test"  # nothing was deployed yet
    path = releases.home / "settings.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"host": "web1"}))
    releases.__dict__.pop("settings", None)
    assert releases.host == "web1"
    text = report(releases, PergolaError("it did not become ready"), "gate")
    assert text.startswith("notes on web1: it did not become ready\n")
    path.write_text("no JSON")
    releases.__dict__.pop("settings", None)
    assert releases.host == "vps-1234.provider.test"


def test_a_report_always_says_what_to_do_next(releases):
    told = report(releases, PergolaError("it broke"), "prepare")
    assert f"next: fix that and run again; sudo {releases.home}/bin/release releases" in told


def test_a_report_answers_the_questions_in_their_order(releases, monkeypatch):
    monkeypatch.setattr(of_releases, "show", lambda unit, name: "active")
    kept(releases, "a")
    (releases.path("a") / "release.json").write_text('{"describe": "Add search"}')
    (releases.home / "slots/blue").symlink_to(releases.path("a"))
    error = PergolaError("b did not become ready", "evidence", hint="fix it")
    lines = report(releases, error, "gate", "b").splitlines()
    assert lines[0].startswith("notes on ")
    assert lines[1:] == [
        "phase: gate of release b",
        "evidence",
        "live now: a (Add search) in slot blue, active",
        "next: fix it",
    ]


def test_a_long_reason_stays_in_its_line_of_the_table(releases, monkeypatch):
    monkeypatch.setattr(of_releases, "show", lambda unit, name: "active")
    reason = "the migration `python -c 'a\nb'` failed " + "word " * 50
    record(releases, "deploy", "a", "refused", reason=reason)
    _, line, *_ = tables.releases(releases).splitlines()
    assert "python -c 'a b'` failed word" in line
    assert line.endswith("word …")


def test_the_table_shows_schema_outcome_and_reason(releases, monkeypatch):
    monkeypatch.setattr(of_releases, "show", lambda unit, name: "active")
    live(releases, "a", **schema(None, "1"), seconds={"gate": 1.25})
    record(releases, "deploy", "b", "refused", **schema("1", "1"), phase="gate", reason="500")
    rows = tables.releases(releases).splitlines()
    assert rows[0].split()[:2] == ["when", "(UTC)"]
    assert " - > 1 " in rows[1]
    assert rows[1].endswith("live")
    assert rows[2].endswith("refused in gate: 500")


def test_files_in_the_shared_directory_go_with_the_last_release_that_uses_them(releases):
    for name, files in {"a": ["x.1.css", "y.css"], "b": ["x.1.css", "y.css", "z.2.css"]}.items():
        kept(releases, name)
        (releases.path(name) / "assets").mkdir()
        for file in files:
            (releases.path(name) / "assets" / file).write_text("same" if "x" in file else name)
    releases.publish_assets("a")
    releases.publish_assets("b")
    shared = releases.home / "assets"
    assert (shared / "y.css").read_text() == "b"
    releases.publish_assets("a")  # back again
    assert (shared / "y.css").read_text() == "a"
    shutil.rmtree(releases.path("b"))
    releases.prune_assets()
    assert sorted(path.name for path in shared.iterdir()) == ["x.1.css", "y.css"]
    shutil.rmtree(releases.path("a"))
    releases.prune_assets()
    assert list(shared.iterdir()) == []
