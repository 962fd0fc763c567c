"""What playbooks/restore.yml asks the program on the server for, and what it is confirmed with."""

import pytest
from test_systems import PROJECT, SYSTEMS, Host, load, trusted


def asked(**given):
    """The variables of role restore, with these on the command line."""
    host = Host(SYSTEMS["noble"])
    for kind in ("defaults", "vars"):
        host.variables |= load(PROJECT / f"roles/restore/{kind}/main.yml")
    host.variables |= load(PROJECT / "group_vars/all/wiring.yml")
    host.variables |= {"__restore_moment": {}, **trusted(given)}
    return host


@pytest.mark.parametrize(
    ("given", "plan", "verb", "confirm"),
    [
        ({}, ["plan"], ["restore"], "notes"),
        ({"undo": True}, ["plan", "--undo"], ["undo"], "notes"),
        ({"what": "files"}, ["plan", "--files=notes"], ["restore", "--files=notes"], "notes"),
        (
            {"what": "files", "app": "wiki", "to": "2026-11-24T10:00:00Z"},
            ["plan", "--files=wiki", "--to=2026-11-24T10:00:00Z"],
            ["restore", "--files=wiki", "--to=2026-11-24T10:00:00Z"],
            "wiki",
        ),
        (
            {"what": "files", "into": "scratch"},
            ["plan", "--files=notes"],
            ["scratch", "--files=notes"],
            "notes",
        ),
        (
            {"what": "files", "undo": True},
            ["plan", "--undo", "--files=notes"],
            ["undo", "--files=notes"],
            "notes",
        ),
    ],
)
def test_files_are_asked_for_by_their_application(given, plan, verb, confirm):
    host = asked(**given)
    assert (host("__restore_plan"), host("__restore_verb")) == (plan, verb)
    assert host("__restore_confirm") == confirm
    assert host("__restore_foreign") == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"what": "files", "xid": "5", "repo": 2}, ["xid=5", "repo=2"]),
        ({"what": "files", "point": "before-a"}, ["point=before-a"]),
        ({"app": "wiki"}, ["app=wiki"]),
        ({"xid": "5", "repo": 2, "timeline": 3}, []),
    ],
)
def test_what_is_not_of_the_thing_is_refused(given, told):
    assert asked(**given)("__restore_foreign") == told


def test_restic_is_where_applications_are_backed_up_and_their_copies_are_fetched():
    host = asked()
    assert host("__backup_packages") == ["pgbackrest", "restic"]
    assert host("__backup_timers")["files"] == "*-*-* 04:45"
    host.variables["group_names"] = ["servers", "backup"]
    assert host("__backup_packages") == ["pgbackrest"]
    assert "files" not in host("__backup_timers")
    assert host("__backup_timers")["files-copy"] == "*:15"
