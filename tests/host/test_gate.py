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
            body = f"state {status}"
            head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall((head + body).encode())
            connection.close()


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    manifest = {"health_path": "/readyz", "domain": "notes.example.org", "workers": 1}
    (tmp_path / "slots/blue").mkdir(parents=True)
    (tmp_path / "slots/blue/release.json").write_text(json.dumps(manifest))
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


def test_the_gate_stays_shut_when_the_process_is_gone(run_dir, monkeypatch):
    monkeypatch.setenv("MAINPID", "999999999")
    assert gate.gate(run_dir, "blue") == 1
    assert "no answer to GET /readyz" in (run_dir / "blue.answer").read_text()
