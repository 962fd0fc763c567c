"""The bake: what the new release answers and what becomes of its processes."""

import json

import pytest
from pergola.errors import PergolaError
from pergola.release import bake


def line(status, path="/", by="blue"):
    """A line of Caddy's access log; `by`: the slot that answered, None for Caddy itself."""
    headers = {"Content-Type": ["text/plain"], **({"X-Served-By": [by]} if by else {})}
    request = {"method": "GET", "uri": path, "headers": {"X-Served-By": ["blue"]}}
    return json.dumps({"status": status, "request": request, "resp_headers": headers}) + "\n"


@pytest.fixture
def baking(tmp_path, monkeypatch):
    """A bake of an access log, to which the lines given are added before each look."""
    log = tmp_path / "notes.log"
    log.write_text(line(500) * 50)  # what was before the switch does not count
    told = {"NRestarts": "0", "MainPID": "7"}
    monkeypatch.setattr(bake, "show", lambda unit, name: told[name])

    def watch(*looks, workers=0, **more):
        todo = list(looks)

        def sleep(seconds):
            if todo:
                with log.open("a") as file:
                    file.write(todo.pop(0))
            told.update(more)

        monkeypatch.setattr(bake.time, "sleep", sleep)
        return bake.Bake(log, "notes@blue.service", "blue", 0.2, 10, workers).watch()

    return watch


def test_a_bake_counts_answers_and_lets_few_errors_pass(baking):
    assert baking(line(200) * 20 + line(500), line(404)) == {"answers": 22, "errors": 1}


def test_what_was_answered_since_the_switch_counts(tmp_path, monkeypatch):
    log = tmp_path / "notes.log"
    log.write_text(line(500))
    since = bake.end_of(log)
    with log.open("a") as file:
        file.write(line(200) * 3 + line(500))
    monkeypatch.setattr(bake, "show", lambda unit, name: {"NRestarts": "0", "MainPID": "7"}[name])
    watched = bake.Bake(log, "notes@blue.service", "blue", 0.3, 10, since=since).watch()
    assert watched == {"answers": 4, "errors": 1}
    assert bake.end_of(tmp_path / "none") == (0, 0)


def test_a_bake_gives_up_when_too_many_answers_are_errors(baking):
    with pytest.raises(PergolaError, match="3 of 23 answers") as refused:
        baking(line(200) * 20, line(502, "/a") * 3)
    assert "502 GET /a" in refused.value.evidence


def test_a_bake_reads_a_line_that_was_written_in_two_pieces(baking):
    whole = line(500)
    assert baking(whole[:20], whole[20:]) == {"answers": 1, "errors": 1}


def test_a_bake_counts_only_what_the_new_release_itself_has_answered(baking):
    of_caddy = line(500, "/static/%00", by=None) * 9 + line(502, by=None) * 9 + line(503, by=None)
    of_the_old = line(500, by="green") * 9
    assert baking(of_caddy + of_the_old, line(200)) == {"answers": 1, "errors": 0}
    with pytest.raises(PergolaError, match="3 of 3 answers"):
        baking(of_caddy + line(200, by=None) * 99, line(500) * 3)


def test_a_bake_gives_up_when_as_many_workers_died_as_there_are(baking, monkeypatch):
    seen = iter([{"1", "2"}, {"1", "3"}, {"3", "4"}])
    monkeypatch.setattr(bake, "children", lambda pid: next(seen, {"3", "4"}))
    with pytest.raises(PergolaError, match="2 workers of notes@blue"):
        baking(workers=2, MainPID="7")
    seen = iter([{"1", "2"}, {"1", "3"}])
    monkeypatch.setattr(bake, "children", lambda pid: next(seen, {"1", "3"}))
    assert baking(workers=2, MainPID="7") == {"answers": 0, "errors": 0}


def test_a_bake_gives_up_when_the_release_was_started_again(baking):
    with pytest.raises(PergolaError, match="died and was started again"):
        baking(NRestarts="1")


def test_workers_that_end_with_their_main_process_have_not_died_by_themselves(baking, monkeypatch):
    """They are gone before systemd has seen it."""
    seen = iter([{"1", "2"}, set()])
    monkeypatch.setattr(bake, "children", lambda pid: next(seen, set()))
    restarts = iter(["0", "0"])
    told = {"MainPID": lambda: "7", "NRestarts": lambda: next(restarts, "1")}
    monkeypatch.setattr(bake, "show", lambda unit, name: told[name]())
    with pytest.raises(PergolaError, match=r"notes@blue\.service died and was"):
        baking(workers=2)
