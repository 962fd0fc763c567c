"""Where a restore goes to: the backup, the timeline and the moment, without a server."""

import json
import math
from pathlib import Path

import pytest
from pergola import apps
from pergola.apps import App
from pergola.backup.changes import Change
from pergola.backup.fence import applications_here
from pergola.backup.points import Point
from pergola.backup.repository import Backup
from pergola.backup.targets import (
    Choice,
    Target,
    Wanted,
    ancestry,
    choose,
    is_on,
    live_at,
    position,
    target_of,
)
from pergola.errors import PergolaError
from pergola.people import moment_of

NOW = 1_795_550_000.0  # 2026-11-24 19:53:20 UTC
LATEST = Target("default", "", "the latest state")
# Timeline 3 left 1 at 0/9000000; timeline 2 is another branch.
HISTORY_OF_3 = "1\t0/9000000\tbefore 2026-11-24 19:00:00+00\n"
POINTS = [
    Point("before-a", "2026-11-24 10:00:00+00", "0/4000000"),
    Point("before-b", "2026-11-24 11:00:00+00", "0/5000000"),
    Point("before-a", "2026-11-24 12:00:00+00", "0/6000000"),
]


def backup(label="A", ended=1000, at="0/3000000", timeline=1, repo=1, xid=None, damaged=False):
    return Backup.of(
        {
            "archive": {
                "start": f"{timeline:08X}" + "0" * 16,
                "stop": f"{timeline:08X}" + "0" * 16,
            },
            "database": {"id": 1, "repo-key": repo},
            "error": damaged,
            "info": {"size": 1, "repository": {"delta": 1}},
            "label": label,
            "lsn": {"start": at, "stop": at},
            "timestamp": {"start": ended - 1, "stop": ended},
            "type": "full",
            **({"annotation": {"next-xid": str(xid)}} if xid else {}),
        }
    )


def at(moment):
    return Target("time", "", "that moment", moment)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2026-11-24", "whole day"),
        ("2026-11-24T10:00:00", "time zone"),
        ("2026-11-24T23:00:00Z", "future"),
        ("ten o'clock", "is not a time"),
        ("-5", "is not a time"),
        ("5m", "is not a time"),
    ],
)
def test_a_time_that_is_not_one_moment_of_the_past_is_refused(text, says):
    with pytest.raises(PergolaError, match=says):
        moment_of(text, NOW)


@pytest.mark.parametrize(
    "text",
    ["2026-11-24T10:00:00Z", "2026-11-24 10:00:00+00", "2026-11-24T11:00:00+01:00"],
)
def test_a_moment_may_be_written_in_any_zone(text):
    assert moment_of(text, NOW) == 1_795_514_400


@pytest.mark.parametrize(
    ("text", "seconds"), [("-90s", 90), ("-15m", 900), ("-3h", 10800), ("-2d", 172_800)]
)
def test_a_moment_may_count_from_now(text, seconds):
    assert moment_of(text, NOW) == NOW - seconds


def test_a_target_is_one_thing():
    with pytest.raises(PergolaError, match="one target"):
        Wanted(to="2026-11-24T10:00:00Z", xid="5")


def test_a_point_is_its_newest_position_for_its_name_may_be_there_twice():
    target = target_of(Wanted(point="before-a"), POINTS, NOW)
    assert (target.kind, target.value) == ("lsn", "0/6000000")
    assert "--target-exclusive" in Choice(target, backup(), 1).options()


def test_an_unknown_point_is_refused_with_the_known_ones():
    with pytest.raises(PergolaError) as refusal:
        target_of(Wanted(point="nothing"), POINTS, NOW)
    assert "before-b" in str(refusal.value)


def test_a_server_that_knows_no_points_leaves_a_name_to_the_archive():
    target = target_of(Wanted(point="before-a"), [], NOW)
    backups = [backup("A", 1000), backup("B", 2000)]
    assert target.kind == "name"
    # Whatever leads to it comes after the oldest.
    assert choose(target, backups, None, NOW).label == "A"


def test_positions_and_ways():
    assert position("1/0000000A") == 2**32 + 10
    assert ancestry(3, HISTORY_OF_3) == {1: 0x9000000, 3: math.inf}
    assert ancestry(1, "") == {1: math.inf}
    way = ancestry(3, HISTORY_OF_3)
    assert is_on(backup(at="0/8000000"), way)
    assert not is_on(backup(at="0/A000000"), way), "after the way had left that timeline"
    assert not is_on(backup(timeline=2), way)


def test_the_newest_backup_on_the_way_that_had_ended_before():
    backups = [
        backup("A", 1000),
        backup("B", 2000, "0/8000000"),
        backup("C", 3000, "0/A000000"),  # on timeline 1, after 3 had left it
        backup("D", 4000, "0/A000000", timeline=3),
    ]
    way = ancestry(3, HISTORY_OF_3)
    assert choose(LATEST, backups, way, NOW).label == "D"
    assert choose(at(3500), backups, way, NOW).label == "B"
    assert choose(at(3500), backups, ancestry(1, ""), NOW).label == "C"
    # pgBackRest notes whole seconds: at 2000.5 it may not have ended.
    assert choose(at(2000.5), backups, way, NOW).label == "A"


def test_a_damaged_backup_is_passed_over():
    backups = [backup("A", 1000), backup("B", 2000, damaged=True)]
    assert choose(LATEST, backups, None, NOW).label == "A"
    with pytest.raises(PergolaError, match="no backup that could be restored"):
        choose(LATEST, backups[1:], None, NOW)


def test_what_is_too_old_is_refused_with_what_can_be_reached():
    with pytest.raises(PergolaError) as refusal:
        choose(at(900), [backup("A", 1000)], None, NOW)
    assert "1970-01-01 00:16:41+00 to 2026-11-24 19:53:20+00" in str(refusal.value)


def test_a_transaction_comes_after_a_backup_that_says_so():
    backups = [backup("A", 1000, xid=100), backup("B", 2000, xid=200)]
    target = Target("xid", "150", "transaction 150")
    assert choose(target, backups, None, NOW).label == "A"
    with pytest.raises(PergolaError, match="older than the oldest"):
        choose(Target("xid", "50", "transaction 50"), backups, None, NOW)
    # Those of another host say nothing: the oldest of them is right if any is.
    silent = [backup("A", 1000, repo=2), backup("B", 2000, repo=2)]
    assert choose(target, silent, None, NOW).label == "A"


def test_of_two_repositories_the_nearer_one():
    backups = [backup("A", 1000, repo=2), backup("A", 1000, repo=1)]
    assert choose(LATEST, backups, None, NOW).repository == 1


# 1 was live until 1000, restored to 2 (stopped 990), undone at 2000 (stopped 1990).
CHANGES = [
    Change(Path("main.before-1"), stopped=990.0, at=1000.0, from_timeline=1, to_timeline=2),
    Change(Path("main.before-2"), stopped=1990.0, at=2000.0, from_timeline=2, to_timeline=1),
]


@pytest.mark.parametrize(
    ("moment", "timeline", "in_between"),
    [(500, 1, False), (995, 1, True), (1500, 2, False), (1995, 2, True), (2500, 1, False)],
)
def test_the_timeline_that_was_live_at_a_moment(moment, timeline, in_between):
    found, change = live_at(moment, CHANGES, 1)
    assert (found, change is not None) == (timeline, in_between)


def test_what_was_live_before_a_new_server_is_unknown_and_taken_for_the_live_one():
    changes = [Change(Path("main.before-1"), stopped=990.0, at=1000.0, to_timeline=4)]
    assert live_at(500, changes, 4) == (4, None)


def test_pgbackrest_is_told_the_timeline_and_to_end_recovery():
    options = Choice(at(5), backup("A"), 3).options()
    assert {"--set=A", "--repo=1", "--target-timeline=3", "--target-action=promote"} <= set(options)
    # pgBackRest refuses an action for the end of the archive.
    assert "--target-action=promote" not in Choice(LATEST, backup("A"), 3).options()


@pytest.mark.parametrize(
    ("conninfo", "local"),
    [
        ("dbname=a", True),
        ("host=/run/postgresql dbname=a", True),
        ("host=db.example.org dbname=a", False),
        ("", False),
    ],
)
def test_an_application_is_of_this_host_if_its_database_is(conninfo, local, tmp_path):
    (tmp_path / "settings.json").write_text(json.dumps({"database": conninfo}))
    assert App(tmp_path).has_local_database() == local


def test_applications_are_found_by_their_settings(tmp_path, monkeypatch):
    for name, text in {"a": '{"database": "dbname=a"}', "b": '{"database": ""}', "c": "{"}.items():
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin/release").touch()
        (tmp_path / name / "settings.json").write_text(text)
    monkeypatch.setattr(apps, "HOMES", tmp_path)
    assert [one.name for one in applications_here()] == ["a"]
