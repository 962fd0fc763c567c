"""What is said of a deploy in which something failed, by what its servers answered."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "roles/release/filter_plugins"))

from release_outcome import release_lost, release_outcome

GONE = {"unreachable": True, "msg": "Failed to connect to the host via ssh: timed out"}
CUT = {"rc": 0, "stdout": "", "stderr": ""}
KILLED = {"rc": 137, "stdout": "", "stderr": ""}
DONE = {"rc": 0, "stdout": '{"changed": true, "live": "new"}', "stderr": ""}
REFUSED = {"rc": 1, "stdout": "", "stderr": "app on b: not ready\nphase: gate"}


def serves(release, changed=False):
    answer = {"changed": changed, "live": release}
    return {"rc": 0, "stdout": json.dumps(answer), "stderr": ""}


def server(result, aborted=None, lost_in="switch, bake", failed=None):
    return {"result": result, "aborted": aborted, "lost_in": lost_in, "failed": failed}


def outcome(**servers):
    found = release_outcome(servers, "new", 180)
    return found["verdict"], found["reason"], found["standing"]


@pytest.mark.parametrize(
    "result",
    [
        GONE,
        CUT,
        {**CUT, "stdout": '{"changed": tr'},
        KILLED,
        {"failed": True, "msg": "mux_client: Broken pipe"},
    ],
)
def test_an_answer_that_never_came(result):
    assert release_lost(result)


@pytest.mark.parametrize("result", [{}, DONE, REFUSED, {"skipped": True, "changed": False}])
def test_an_answer_or_nothing_that_was_asked(result):
    assert not release_lost(result)


def test_without_a_failure_it_is_live():
    assert outcome(a=server(DONE, lost_in=""))[0] == "live"


def test_a_server_that_stays_away_is_unknown_and_the_others_are_said():
    verdict, reason, standing = outcome(
        a=server(DONE, serves("old", changed=True), lost_in=""), b=server(GONE, GONE)
    )
    assert verdict == "unknown"
    assert reason == (
        "b: could not be reached again within 180 s, its connection was lost in switch, bake"
    )
    assert standing == [
        "a serves old",
        "b does not answer, so what it serves is unknown; what was at work there goes on to its "
        "end: switch, bake",
    ]


def test_what_went_live_meanwhile_did_not_fail():
    assert outcome(a=server(GONE, serves("new")))[0] == "live"
    assert outcome(a=server(GONE, serves("new")), b=server(DONE, serves("new")))[0] == "live"


@pytest.mark.parametrize(
    "servers",
    [
        {"a": server(GONE, serves("old", changed=True))},
        {"a": server(GONE, serves("new")), "b": server(DONE, serves("old"))},
        {"a": server(GONE, serves("new")), "b": server(REFUSED, serves("new"))},
        # A hook failed after the drain.
        {"a": server(DONE, serves("new"), failed={"msg": "not with me"})},
    ],
)
def test_nothing_else_is_said_to_be_live(servers):
    assert outcome(**servers)[0] == "failed"


def test_a_refusal_is_said_in_its_own_words():
    verdict, reason, standing = outcome(
        a=server(DONE, serves("")), b=server(REFUSED, serves("old"))
    )
    assert (verdict, reason) == ("failed", "app on b: not ready")
    assert standing == ["a serves nothing", "b serves old"]


def test_a_report_has_all_that_was_said_and_the_reason_its_first_line():
    whole = "app on b: not ready\nphase: gate\nnext: correct it"
    servers = {"a": server(DONE, serves("old")), "b": server({**REFUSED, "stderr": whole + "\n"})}
    found = release_outcome(servers, "new", 180)
    assert (found["reason"], found["report"]) == ("app on b: not ready", whole)


def test_what_could_not_be_put_back_is_said():
    assert outcome(a=server(REFUSED, {**REFUSED, "stderr": "app on a: lock\nlive now: x"}))[2] == [
        "app on a: lock live now: x"
    ]


def test_a_hook_that_failed_is_the_reason_and_so_is_a_connection_lost_in_one():
    assert outcome(a=server(DONE, serves("old"), failed={"msg": "not with me"}))[1] == "not with me"
    assert outcome(a=server(DONE, serves("old")))[1] == (
        "the connection to a server was lost in a hook"
    )
