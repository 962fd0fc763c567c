"""roles/app/files/lib/gate.py: a slot is ready when it answers so, twice in a row."""

import importlib.util
import json
import os
import socket
import threading
from pathlib import Path

import pytest

GATE = Path(__file__).parents[2] / "roles/app/files/lib/gate.py"
spec = importlib.util.spec_from_file_location("gate", GATE)
gate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gate)


class Slot(threading.Thread):
    """A slot that gives one answer after the other, each on a connection of its own."""

    def __init__(self, run_dir, answers):
        super().__init__(daemon=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(run_dir / "blue.sock"))
        self.listener.listen()
        self.answers, self.requests = answers, []

    def run(self):
        for status in self.answers:
            connection, _ = self.listener.accept()
            self.requests.append(connection.recv(4096).decode())
            status, _, location = str(status).partition(" ")
            body = f"state {status}"
            head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n"
            head += f"Location: {location}\r\n\r\n" if location else "\r\n"
            connection.sendall((head + body).encode())
            connection.close()


def having(run_dir, **more):
    """Have the release say this of itself; without `more` it is one of an earlier Pergola."""
    manifest = {"health_path": "/readyz", "domain": "notes.example.org", "workers": 1, **more}
    (run_dir / "slots/blue/release.json").write_text(json.dumps(manifest))


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    (tmp_path / "slots/blue").mkdir(parents=True)
    having(tmp_path)
    monkeypatch.setattr(gate, "HOME", tmp_path)
    monkeypatch.setenv("MAINPID", str(os.getpid()))
    return tmp_path


def test_the_gate_opens_after_two_answers_200_in_a_row(run_dir):
    slot = Slot(run_dir, [503, 200, 500, 200, 200])
    slot.start()
    assert gate.gate(run_dir, "blue") == 0
    slot.join(5)
    assert len(slot.requests) == 5
    assert slot.requests[0].startswith("GET /readyz HTTP/1.1\r\n")
    assert "\r\nHost: notes.example.org\r\n" in slot.requests[0]
    assert (run_dir / "blue.answer").read_text() == "200 state 200"


def test_the_gate_does_not_ask_for_ever_as_often(run_dir, monkeypatch):
    """An application that lets in so many requests a minute would refuse it in the end."""
    slept = []
    monkeypatch.setattr(gate.time, "sleep", slept.append)
    Slot(run_dir, [*[503] * 70, 200, 200]).start()
    assert gate.gate(run_dir, "blue") == 0
    assert (slept[0], slept[-1], len(slept)) == (gate.LOOK_EVERY, gate.LOOK_SELDOM, 70)
    assert sum(slept) < 15


def test_the_gate_stays_shut_when_the_process_is_gone(run_dir, monkeypatch):
    monkeypatch.setenv("MAINPID", "999999999")
    assert gate.gate(run_dir, "blue") == 1
    assert "no answer to GET /readyz" in (run_dir / "blue.answer").read_text()


def test_the_gate_asks_as_caddy_does(run_dir):
    """So that an application that looks at its client, or at the site's name, finds them."""
    slot = Slot(run_dir, [200, 200])
    slot.start()
    assert gate.gate(run_dir, "blue") == 0
    lines = slot.requests[0].split("\r\n")
    assert "X-Forwarded-For: 127.0.0.1" in lines
    assert "X-Forwarded-Host: notes.example.org" in lines
    assert "X-Forwarded-Proto: https" in lines


@pytest.mark.parametrize(
    ("accepted", "answers"),
    [
        (["200", "204"], [404, 204, 200]),
        (["2xx"], [302, 500, 201, 299]),
        (["404"], [200, 404, 404]),
    ],
)
def test_the_gate_accepts_the_answers_that_a_setting_names_and_no_others(
    run_dir, accepted, answers
):
    having(run_dir, health_status=accepted)
    slot = Slot(run_dir, answers)
    slot.start()
    assert gate.gate(run_dir, "blue") == 0
    slot.join(5)
    assert len(slot.requests) == len(answers)


def asked_once(run_dir, answers, redirects):
    """What one question of the gate's gives, and the paths that it asked for."""
    slot = Slot(run_dir, answers)
    slot.start()
    found = gate.followed(run_dir / "blue.sock", "/healthz", "notes.example.org", redirects)
    return found, [request.split()[1] for request in slot.requests]


def test_the_gate_follows_a_redirect_only_where_it_is_told_to(run_dir):
    found, paths = asked_once(run_dir, ["307 /healthz/"], 0)
    assert (found, paths) == ((307, "-> /healthz/ state 307"), ["/healthz"])


def test_the_gate_follows_redirects_within_the_site(run_dir):
    answers = ["307 /healthz/", "302 https://notes.example.org/en/?up=1", 200]
    found, paths = asked_once(run_dir, answers, 5)
    assert (found, paths) == ((200, "state 200"), ["/healthz", "/healthz/", "/en/?up=1"])


def test_the_gate_takes_redirects_as_browsers_do_and_fails_on_none(run_dir):
    answers = ["302 /straße?q=ü", 200]  # bytes of UTF-8, as no standard allows
    found, paths = asked_once(run_dir, answers, 5)
    assert (found[0], paths) == (200, ["/healthz", "/stra%C3%9Fe?q=%C3%BC"])
    (run_dir / "blue.sock").unlink()
    found, _ = asked_once(run_dir, ["302 http://["], 5)
    assert found[0] == 302


def test_the_gate_follows_no_redirect_to_another_site_and_none_for_ever(run_dir):
    found, paths = asked_once(run_dir, ["302 https://login.example.com/"], 5)
    assert (found[0], paths) == (302, ["/healthz"])
    (run_dir / "blue.sock").unlink()
    found, paths = asked_once(run_dir, ["302 /healthz"] * 9, 5)
    assert (found[0], len(paths)) == (302, 6)


def test_what_a_command_of_the_applications_own_ends_on_its_way_is_its_own_affair(
    run_dir, monkeypatch
):
    """Such as a check before the server: it is no worker that died."""
    having(run_dir, server="command")
    children = iter(["11 12", "13", "14", "15"])
    real = gate.Path.read_text

    def read(path, *args):
        return next(children) if path.name == "children" else real(path, *args)

    monkeypatch.setattr(gate.Path, "read_text", read)
    slot = Slot(run_dir, [503, 503, 200, 200])
    slot.start()
    assert gate.gate(run_dir, "blue") == 0
