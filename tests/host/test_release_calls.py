"""A call that is asked for again is answered as it was, and done once."""

import json

import pytest
from pergola.errors import PergolaError
from pergola.release import calls
from release_made import lock_of


@pytest.fixture
def called(releases):
    """A call of a run as it arrives on the server: what it does is given."""

    def call(work, run="node/1/2", phases="do deploy switch a"):
        calling, held = calls.Calls(releases.app, run, phases), lock_of(releases, run, (run,))
        try:
            with held.hold(calling.check):
                calling.begin(held)
                return calling.once(work, lambda error: f"no: {error}")
        except calls.AnsweredError as said:
            return said.answer or said.report

    return call


def killed():
    raise KeyboardInterrupt


def test_a_call_that_is_asked_for_again_is_not_done_twice(called):
    assert called(lambda: {"live": "a"}) == {"live": "a"}
    assert called(lambda: pytest.fail("twice")) == {"live": "a"}
    # Another run, and another call of the same one, are something else.
    assert called(lambda: {"live": "b"}, run="node/1/2 later") == {"live": "b"}
    assert called(lambda: {"live": "c"}, phases="do rollback gate b") == {"live": "c"}
    # One that waited behind a later one.
    assert called(lambda: pytest.fail("twice")) == {"live": "a"}


def test_a_call_that_failed_is_answered_with_the_same_report(called):
    def fail():
        raise PergolaError("not ready")

    assert called(fail) == "no: not ready"
    assert called(lambda: pytest.fail("twice")) == "no: not ready"


def test_a_call_that_was_cut_off_is_begun_again_once(called, releases):
    def half():
        held = lock_of(releases)
        held.holder = held.read()
        held.save(**{"from": "a", "switched": True})
        killed()

    with pytest.raises(KeyboardInterrupt):
        called(half)
    with pytest.raises(KeyboardInterrupt):
        called(lambda: killed() if not lock_of(releases).read().shared else pytest.fail("old"))
    with pytest.raises(PergolaError, match="was cut off 2 times"):
        called(lambda: pytest.fail("a third time"))


def test_no_call_begins_after_its_run_has_given_up(called, releases):
    with pytest.raises(KeyboardInterrupt):
        called(killed)
    calls.Calls(releases.app, "node/1/2", calls.GIVEN_UP).note(calls.Call())
    lock_of(releases).release()
    with pytest.raises(PergolaError, match="has given up meanwhile"):
        called(lambda: pytest.fail("too late"))
    assert lock_of(releases).read() is None
    assert called(lambda: {"live": "b"}, run="node/1/2 later") == {"live": "b"}


def test_only_the_last_deploys_are_remembered(called, releases):
    for number in range(30):
        called(dict, run=f"node/{number}")
        lock_of(releases).release()
    kept = json.loads((releases.home / "calls.json").read_text())["deploys"]
    assert (len(kept), "node/29" in kept, "node/1" in kept) == (calls.KEPT, True, False)


def test_the_calls_that_an_earlier_program_has_noted_are_known(called, releases):
    noted = {"node/1/2": {"do deploy switch a": {"answer": {"live": "a"}}, "b": {"tries": 2}}}
    (releases.home / "calls.json").write_text(json.dumps(noted))
    assert called(lambda: pytest.fail("twice")) == {"live": "a"}
    with pytest.raises(PergolaError, match="was cut off 2 times"):
        called(lambda: pytest.fail("a third time"), phases="b")
