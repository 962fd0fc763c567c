"""The program that does releases, where it needs neither root nor systemd."""

import importlib.util
import json
import os
import socket
import threading
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent.parent / "roles/release/files/release.py"
spec = importlib.util.spec_from_file_location("release", PROGRAM)
release = importlib.util.module_from_spec(spec)
spec.loader.exec_module(release)


@pytest.fixture
def releases(tmp_path):
    home = tmp_path / "notes"
    for name in ("releases", "incoming", "slots", "live", "assets"):
        (home / name).mkdir(parents=True)
    (home / "settings.json").write_text(json.dumps({"keep": 2}))
    return release.Releases(home, who="ada@example.org")


def kept(releases, *names):
    for name in names:
        (releases.home / "releases" / name).mkdir(exist_ok=True)
        (releases.home / "releases" / name / "ready").touch()


def live(releases, name, action="deploy", **more):
    kept(releases, name)
    releases.record(action, name, "live", **more)


def test_the_most_recent_good_release_comes_first(releases):
    for name in "abc":
        live(releases, name)
    live(releases, "a")
    assert releases.good() == ["a", "c", "b"]


def test_a_refused_release_is_not_good(releases):
    live(releases, "a")
    kept(releases, "b")
    releases.record("deploy", "b", "refused", reason="500")
    assert releases.good() == ["a"]


def test_a_release_that_was_rolled_back_from_is_not_good_until_it_is_deployed_again(releases):
    live(releases, "a")
    live(releases, "b", **{"from": "a"})
    live(releases, "a", "rollback", **{"from": "b"})
    assert releases.good() == ["a"]
    live(releases, "b", **{"from": "a"})
    assert releases.good() == ["b", "a"]


def test_going_forward_again_by_name_takes_nothing_from_the_release_in_between(releases):
    live(releases, "a")
    live(releases, "b", **{"from": "a"})
    live(releases, "a", "rollback", **{"from": "b"})
    live(releases, "b", "rollback", **{"from": "a"})
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
    assert [entry["release"] for entry in releases.ledger()] == ["a", "b"]
    assert releases.ledger()[0]["who"] == "ada@example.org"


def test_prune_keeps_the_last_good_ones_and_what_is_in_a_slot(releases):
    for name in "abcd":
        live(releases, name)
    kept(releases, "refused")
    (releases.home / "slots/blue").symlink_to(releases.path("a"))
    for name in ("a", "b", "refused"):
        (releases.home / "incoming" / f"{name}.tar.gz").touch()
    assert sorted(releases.prune()) == ["b", "refused"]
    assert sorted(path.name for path in (releases.home / "releases").iterdir()) == ["a", "c", "d"]
    assert {p.name for p in (releases.home / "incoming").iterdir()} == {"a.tar.gz"}


def test_the_flag_file_says_which_slot_is_live(releases):
    assert (releases.live_colour(), releases.live()) == ("blue", None)
    kept(releases, "a")
    (releases.home / "slots/green").symlink_to(releases.path("a"))
    (releases.home / "live/green").touch()
    assert (releases.live_colour(), releases.live()) == ("green", "a")


def test_rolling_back_without_an_earlier_good_release_is_refused(releases):
    live(releases, "a")
    (releases.home / "slots/blue").symlink_to(releases.path("a"))
    with pytest.raises(release.ReleaseError, match="no earlier good release"):
        releases.rollback("")


def test_an_unknown_release_is_refused_with_those_that_there_are(releases):
    kept(releases, "a", "b")
    with pytest.raises(release.ReleaseError) as refused:
        releases.rollback("nonsense")
    assert "nonsense" in refused.value.reason
    assert "a, b" in refused.value.detail


def test_a_full_disk_is_refused_before_anything_is_unpacked(releases):
    archive = releases.home / "incoming/a.tar.gz"
    archive.write_bytes(b"\0" * 20 + (2**20).to_bytes(4, "little"))
    releases.settings["disk_free_mb"] = 10**9
    with pytest.raises(release.ReleaseError, match="MB free, this release needs 1000000002 MB"):
        releases.check_disk(archive)


def test_only_one_verb_works_at_a_time(releases):
    with releases.lock():
        refused = pytest.raises(release.ReleaseError, match="another run is at work")
        with refused, releases.lock():
            pass
    with releases.lock():
        pass  # its holder is gone


@pytest.mark.parametrize(
    "value", ["plain", "", 'say "hi"', "back\\slash", "$HOME and `id`", "a # b", " spaces ", "ä€"]
)
def test_a_value_survives_the_environment_file(value):
    # systemd's rules for double quotes: a backslash before one of these stands for the character.
    text = release.quoted(value)
    assert text[0] == text[-1] == '"'
    for character in '"`$\\':
        text = text.replace("\\" + character, "\0" + format(ord(character), "02x"))
    inner = text[1:-1]
    assert '"' not in inner
    for character in '"`$\\':
        inner = inner.replace("\0" + format(ord(character), "02x"), character)
    assert inner == value


def test_a_build_takes_proxies_and_the_index_over_from_the_host_and_nothing_else(tmp_path):
    path = tmp_path / "environment"
    path.write_text(
        'http_proxy="http://proxy.example.org:3128"\nexport UV_DEFAULT_INDEX=https://i.example.org\n'
        "PATH=/usr/bin\nLD_PRELOAD=/x.so\n# SSL_CERT_FILE=/no\n"
    )
    assert release.host_environment(path) == {
        "http_proxy": "http://proxy.example.org:3128",
        "UV_DEFAULT_INDEX": "https://i.example.org",
    }
    assert release.host_environment(tmp_path / "none") == {}


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
    monkeypatch.setenv("PERGOLA_HEALTH_PATH", "/readyz")
    monkeypatch.setenv("PERGOLA_DOMAIN", "notes.example.org")
    monkeypatch.setenv("MAINPID", str(os.getpid()))
    return tmp_path


def test_the_gate_opens_after_two_answers_200_in_a_row(run_dir):
    slot = Slot(run_dir, [503, 200, 500, 200, 200])
    slot.start()
    assert release.gate(run_dir, "blue") == 0
    slot.join(5)
    assert len(slot.requests) == 5
    assert slot.requests[0].startswith("GET /readyz HTTP/1.1\r\n")
    assert "\r\nHost: notes.example.org\r\n" in slot.requests[0]
    assert (run_dir / "blue.answer").read_text() == "200 state 200"


def test_the_gate_stays_shut_when_the_process_is_gone(run_dir, monkeypatch):
    monkeypatch.setenv("MAINPID", "999999999")
    assert release.gate(run_dir, "blue") == 1
    assert "no answer to GET /readyz" in (run_dir / "blue.answer").read_text()


def test_a_report_answers_the_questions_in_their_order(releases, monkeypatch):
    monkeypatch.setattr(release, "show", lambda unit, name: "active")
    kept(releases, "a")
    (releases.path("a") / "release.json").write_text('{"describe": "Add search"}')
    (releases.home / "slots/blue").symlink_to(releases.path("a"))
    error = release.ReleaseError("gate", "b did not become ready", "evidence", "mend it")
    lines = release.report(releases, error, "b").splitlines()
    assert lines[0].startswith("notes on ")
    assert lines[1:] == [
        "phase: gate of release b",
        "evidence",
        "live now: a (Add search) in slot blue, active",
        "next: mend it",
    ]


def test_a_transient_unit_takes_over_the_slots_sandbox(releases, monkeypatch):
    unit = (
        "[Unit]\nDescription=x\n[Service]\nType=exec\nUser=notes\n# NotMe=1\n"
        f"WorkingDirectory={releases.home}/slots/%i/code\nExecStart=/x\nExecStartPost=+/y\n"
        "ExecPaths=/usr\nTimeoutStopSec=30\nRestart=always\nNoNewPrivileges=yes\n[Install]\nWantedBy=z\n"
    )
    monkeypatch.setattr(Path, "read_text", lambda path: unit)
    command = releases.as_application("a", ["notes", "cost $5"], "--pipe")
    properties = [word for word in command if word.startswith("--property=")]
    assert properties == [
        "--property=User=notes",
        f"--property=WorkingDirectory={releases.home}/releases/a/code",
        "--property=ExecPaths=/usr",
        "--property=NoNewPrivileges=yes",
    ]
    assert command[-2:] == ["notes", "cost $$5"], "systemd would expand a single one"
