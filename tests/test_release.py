"""The program that does releases, where it needs neither root nor systemd."""

import importlib.util
import json
import os
import shutil
import socket
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

FILES = Path(__file__).parent.parent / "roles/release/files"
sys.path.insert(0, str(FILES))

from releases import (  # noqa: E402
    bake,
    build,
    cli,
    database,
    deploy,
    lock,
    maintenance,
    rollback,
    slots,
    store,
    system,
    tables,
    units,
)

GATE = Path(__file__).parent.parent / "roles/app/files/gate.py"
spec = importlib.util.spec_from_file_location("gate", GATE)
gate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gate)


@pytest.fixture
def releases(tmp_path):
    home = tmp_path / "notes"
    for name in ("releases", "incoming", "slots", "live", "assets", "run"):
        (home / name).mkdir(parents=True)
    settings = {"keep": 2, "lock_seconds": 100, "database": "", "schema_query": ""}
    (home / "settings.json").write_text(json.dumps(settings))
    made = store.Store(home, who="ada@example.org")
    made.run_dir = home / "run"
    return made


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
    assert [entry["to"] for entry in releases.ledger()] == ["a", "b"]
    assert releases.ledger()[0]["who"] == "ada@example.org"


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
    assert (releases.live_colour(), releases.live()) == ("blue", None)
    kept(releases, "a")
    (releases.home / "slots/green").symlink_to(releases.path("a"))
    (releases.home / "live/green").touch()
    assert (releases.live_colour(), releases.live()) == ("green", "a")


def test_rolling_back_without_an_earlier_good_release_is_refused(releases):
    live(releases, "a")
    (releases.home / "slots/blue").symlink_to(releases.path("a"))
    with pytest.raises(system.ReleaseError, match="no earlier good release"):
        rollback.choose(releases, "", force=False)


def test_an_unknown_release_is_refused_with_those_that_there_are(releases):
    kept(releases, "a", "b")
    with pytest.raises(system.ReleaseError) as refused:
        rollback.choose(releases, "nonsense", force=False)
    assert "nonsense" in refused.value.reason
    assert "a, b" in refused.value.detail


def test_a_full_disk_is_refused_before_anything_is_unpacked(releases):
    archive = releases.home / "incoming/a.tar.gz"
    archive.write_bytes(b"\0" * 20 + (2**20).to_bytes(4, "little"))
    releases.settings["disk_free_mb"] = 10**9
    with pytest.raises(system.ReleaseError, match="MB free, this release needs 1000000002 MB"):
        build.Build(releases, "a", {}).check_disk()


def test_a_release_that_fails_before_it_has_a_manifest_is_told_of_like_any_other(releases):
    live(releases, "a")
    (releases.path("a") / "release.json").write_text('{"commit": "c"}')
    store.point(releases.home / "slots/blue", releases.path("a"))
    order = {"settings": {**releases.settings, "disk_free_mb": 10**9}, "manifest": {"commit": "d"}}
    (releases.home / "incoming/b.tar.gz").write_bytes(b"\0" * 24)
    work = locked(releases)
    with work.hold(), pytest.raises(system.ReleaseError, match="this release needs"):
        deploy.Deploy(releases, work, "deploy", "b").run(["prepare"], order)
    line = releases.ledger()[-1]
    assert (line["to"], line["commit"], line["outcome"]) == ("b", "d", "refused")
    assert line["phase"] == "prepare"
    assert work.read() == {}


def test_what_nobody_thought_of_is_told_of_like_any_other_failure(releases):
    work = locked(releases)
    with work.hold(), pytest.raises(system.ReleaseError, match="FileNotFoundError") as told:
        deploy.Deploy(releases, work, "deploy", "b").run(
            ["prepare"], {"settings": releases.settings, "manifest": {"commit": "d"}}
        )
    assert told.value.phase == "prepare"
    assert "in check_disk" in told.value.detail
    assert work.read() == {}


def locked(releases, run="node/1/1", alive=("node/1/1",)):
    return lock.Lock(releases, run, alive, "deploy of a")


def test_what_each_phase_took_is_known_to_the_last_one(releases, monkeypatch):
    """Also when each of them is a call of its own, as with several hosts."""
    for phase in ("prepare", "gate"):
        monkeypatch.setattr(deploy.Deploy, phase, lambda self: None)
    for phases in (["prepare"], ["gate"]):
        held = locked(releases)
        with held.hold():
            said = deploy.Deploy(releases, held, "deploy", "a").run(phases, None)
    assert set(said["seconds"]) == {"prepare", "gate"}


def test_a_deploy_keeps_the_lock_from_one_phase_to_the_next(releases):
    with locked(releases).hold():
        pass
    with locked(releases).hold():  # the same run comes back
        pass
    refused = pytest.raises(system.ReleaseError, match="is at work on notes since")
    with refused as told, locked(releases, "other/7/7", ("other/7/7",)).hold():
        pass
    assert "ada@example.org" in told.value.reason
    assert "deploy of a" in told.value.reason
    assert "bin/release unlock" in told.value.hint


def test_while_a_phase_is_at_work_even_its_own_run_is_refused(releases):
    with (
        locked(releases).hold(),
        pytest.raises(system.ReleaseError, match="is at work on notes"),
        locked(releases).hold(),
    ):
        pass


def test_the_lock_of_a_dead_run_of_the_same_control_node_is_passed_over(releases):
    with locked(releases).hold():
        pass
    after = locked(releases, "node/2/2", ("node/2/2",))
    with after.hold():
        assert "from" not in after.state, "the dead run's state was taken over"


def test_a_phase_that_a_dead_run_left_at_work_is_waited_for(releases):
    with locked(releases).hold():
        pass
    at_work = (releases.run_dir / ".lock").open("a")
    lock.fcntl.flock(at_work, lock.fcntl.LOCK_EX)
    threading.Timer(0.3, at_work.close).start()
    with locked(releases, "node/2/2", ("node/2/2",)).hold():
        assert at_work.closed


def test_the_lock_of_a_living_run_of_the_same_control_node_holds(releases):
    with locked(releases).hold():
        pass
    second = locked(releases, "node/2/2", ("node/1/1", "node/2/2"))
    with pytest.raises(system.ReleaseError), second.hold():
        pass


def test_a_lock_that_nobody_renews_ends_by_itself(releases, monkeypatch):
    with locked(releases).hold():
        pass
    monkeypatch.setattr(lock, "uptime", lambda now=lock.uptime: now() + 101)
    with locked(releases, "other/7/7", ()).hold():
        pass


def test_the_state_of_a_deploy_goes_from_phase_to_phase_and_ends_with_it(releases):
    first = locked(releases)
    with first.hold():
        first.save(colour="green")
    second = locked(releases)
    with second.hold():
        assert second.state["colour"] == "green"
        second.release()
    assert locked(releases).read() == {}


@pytest.mark.parametrize(
    "value", ["plain", "", 'say "hi"', "back\\slash", "$HOME and `id`", "a # b", " spaces ", "ä€"]
)
def test_a_value_survives_the_environment_file(value):
    # systemd's rules for double quotes: a backslash before one of these stands for the character.
    text = system.quoted(value)
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
    assert build.host_environment(path) == {
        "http_proxy": "http://proxy.example.org:3128",
        "UV_DEFAULT_INDEX": "https://i.example.org",
    }
    assert build.host_environment(tmp_path / "none") == {}


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


def test_a_report_always_says_what_to_do_next(releases):
    told = cli.report(releases, system.ReleaseError("prepare", "it broke"), None)
    assert f"next: mend that and run again; sudo {releases.home}/bin/release releases" in told


def test_a_report_answers_the_questions_in_their_order(releases, monkeypatch):
    monkeypatch.setattr(store, "show", lambda unit, name: "active")
    kept(releases, "a")
    (releases.path("a") / "release.json").write_text('{"describe": "Add search"}')
    (releases.home / "slots/blue").symlink_to(releases.path("a"))
    error = system.ReleaseError("gate", "b did not become ready", "evidence", "mend it")
    lines = cli.report(releases, error, "b").splitlines()
    assert lines[0].startswith("notes on ")
    assert lines[1:] == [
        "phase: gate of release b",
        "evidence",
        "live now: a (Add search) in slot blue, active",
        "next: mend it",
    ]


@pytest.fixture
def unit_files(releases, tmp_path, monkeypatch):
    """A directory of unit files with the slots' own in it, and a systemctl that is only told."""
    folder = tmp_path / "units"
    folder.mkdir()
    (folder / "notes@.service").write_text(
        "[Unit]\nDescription=x\n[Service]\nType=exec\nUser=notes\n# NotMe=1\n"
        f"WorkingDirectory={releases.home}/slots/%i/code\nExecStart=/x\nExecStartPost=+/y\n"
        "ExecPaths=/usr\nTimeoutStopSec=30\nRestart=always\nNoNewPrivileges=yes\n"
        "[Install]\nWantedBy=z\n"
    )
    monkeypatch.setattr(units, "UNITS", folder)
    monkeypatch.setattr(units, "systemctl", lambda *arguments: None)
    releases.settings |= {"after_units": ["postgresql.service"], "runs_schedules": True}
    return folder


def test_a_transient_unit_takes_over_the_slots_sandbox(releases, unit_files):
    command = units.transient(releases, "a", ["notes", "cost $5"], "--pipe", PGOPTIONS="-c a=b")
    properties = [word for word in command if word.startswith("--property=")]
    assert properties == [
        "--property=User=notes",
        f"--property=WorkingDirectory={releases.home}/releases/a/code",
        "--property=ExecPaths=/usr",
        "--property=NoNewPrivileges=yes",
        '--property=Environment="PGOPTIONS=-c a=b"',
    ]
    assert command[-2:] == ["notes", "cost $$5"], "systemd would expand a single one"


WORKER = {"name": "worker", "command": "notes work '100 %'", "overlap": False, "drain_seconds": 9}
NIGHTLY = {
    "name": "nightly",
    "command": "notes tidy",
    "on_calendar": "*-*-* 03:00",
    "persistent": True,
    "random_delay_seconds": 0,
    "timeout_seconds": 60,
    "every_host": False,
    "suspended": False,
}


def with_units(releases, name, processes=(), schedules=(), colour="blue"):
    kept(releases, name)
    manifest = {"processes": list(processes), "schedules": list(schedules)}
    (releases.path(name) / "release.json").write_text(json.dumps(manifest))
    slot = releases.home / "slots" / colour
    slot.unlink(missing_ok=True)
    slot.symlink_to(releases.path(name))
    return units.Units(releases, colour, name)


def test_a_process_runs_in_its_slot_and_only_while_that_is_live(releases, unit_files):
    with_units(releases, "a", [WORKER]).install()
    text = (unit_files / "notes.worker.blue.service").read_text()
    assert f"ConditionPathExists=!{releases.home}/live/green\n" in text
    assert f"WorkingDirectory={releases.home}/slots/blue/code\n" in text
    assert "TimeoutStopSec=9\n" in text
    assert "\nUser=notes\n" in text
    assert "\nExecPaths=/usr\nNoNewPrivileges=yes\n" in text
    assert '"notes" "work" "100 %%"\n' in text
    assert "\nExecStart=/x" not in text


def test_a_schedule_runs_in_what_is_live_when_it_starts(releases, unit_files):
    with_units(releases, "a", schedules=[NIGHTLY]).install()
    text = (unit_files / "notes.nightly.service").read_text()
    assert f"WorkingDirectory={releases.home}/slots/live/code\n" in text
    assert "Type=oneshot" in text
    assert "TimeoutStartSec=60" in text
    timer = (unit_files / "notes.nightly.timer").read_text()
    assert "OnCalendar=*-*-* 03:00\nPersistent=yes\n" in timer


def test_a_schedule_runs_on_the_first_server_unless_it_is_for_all(releases, unit_files):
    made = with_units(
        releases, "a", schedules=[NIGHTLY, {**NIGHTLY, "name": "all", "every_host": True}]
    )
    assert made.timers() == ["notes.nightly.timer", "notes.all.timer"]
    releases.settings["runs_schedules"] = False
    assert made.timers() == ["notes.all.timer"]


def test_units_are_current_when_files_processes_and_timers_are(releases, unit_files, monkeypatch):
    states = {"notes.worker.blue.service": "active", "notes.nightly.timer": "active"}

    def systemctl(verb, *arguments):
        said = "\n\n".join(states[name] for name in arguments if name in states)
        return SimpleNamespace(stdout=said) if verb == "show" else None

    monkeypatch.setattr(units, "systemctl", systemctl)
    made = with_units(releases, "a", [WORKER], [NIGHTLY])
    assert not made.is_current(), "no files yet"
    made.install()
    assert made.is_current()
    states["notes.worker.blue.service"] = "inactive"
    assert not made.is_current()


def test_what_a_death_left_of_the_other_slot_is_put_away(releases, unit_files, monkeypatch):
    with_units(releases, "a", [WORKER], colour="green")
    told = []
    monkeypatch.setattr(deploy, "left", lambda *names: names[1:])
    for module in (units, slots):
        monkeypatch.setattr(module, "systemctl", lambda *words: told.append(words))
    work = deploy.Deploy(releases, locked(releases), "deploy", "b")
    work.put_away("green")
    assert work.changed
    assert ("disable", "notes@green.socket", "notes@green.service") in told
    assert ("disable", "notes.worker.green.service") in told
    assert ("stop", "--no-block", "notes.worker.green.service") in told


def test_units_that_no_slot_has_any_more_are_removed_and_those_of_another_app_stay(
    releases, unit_files
):
    (unit_files / "notes-two.worker.blue.service").write_text("another application's")
    with_units(releases, "a", [WORKER, {**WORKER, "name": "mailer"}], [NIGHTLY]).install()
    with_units(releases, "b", [WORKER], colour="green").install()
    assert sorted(path.name for path in unit_files.iterdir()) == [
        "notes-two.worker.blue.service",
        "notes.mailer.blue.service",  # its slot still has it
        "notes.worker.blue.service",
        "notes.worker.green.service",
        "notes@.service",
    ]
    with_units(releases, "c", [WORKER], colour="blue").install()
    assert not (unit_files / "notes.mailer.blue.service").exists()


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


def schema(before, after, **more):
    return {"schema": [before, after], **more}


@pytest.fixture
def at(monkeypatch):
    """The revision that the database is at."""

    def be(revision):
        monkeypatch.setattr(rollback.Database, "revision", lambda self: revision)

    return be


@pytest.fixture
def two(releases):
    """Two releases, of which the second one brought another schema; and the second one live."""

    def deployed(**more):
        for name in "ab":
            kept(releases, name)
            (releases.path(name) / "release.json").write_text('{"commit": "c"}')
        live(releases, "a", **schema("1", "1"))
        live(releases, "b", **schema("1", "2", **more), **{"from": "a"})
        store.point(releases.home / "slots/blue", releases.path("b"))
        return releases

    return deployed


def test_a_rollback_on_the_same_schema_goes_to_the_last_good_release(two, at):
    at("1")
    assert rollback.choose(two(), "", force=False)["id"] == "a"


def test_a_rollback_across_a_schema_is_refused_and_says_who_changed_it(two, at):
    at("2")
    with pytest.raises(system.ReleaseError, match="at revision 2, a was made for 1") as refused:
        rollback.choose(two(), "", force=False)
    assert "migrated since by: b" in refused.value.detail
    assert "release_force=true" in refused.value.hint


def test_a_rollback_across_a_schema_is_allowed_when_marked_or_forced(two, at):
    at("2")
    assert rollback.choose(two(backward_compatible=True), "", force=False)["id"] == "a"
    assert rollback.choose(two(), "", force=True)["id"] == "a"


def test_a_schema_that_somebody_else_changed_is_not_excused_by_a_mark(two, at):
    at("3")
    with pytest.raises(system.ReleaseError, match="at revision 3"):
        rollback.choose(two(backward_compatible=True), "", force=False)


def test_a_rollback_to_a_release_whose_python_is_gone_is_refused_unless_it_is_made_anew(
    two, at, tmp_path
):
    at("1")
    releases = two()
    venv = releases.path("a") / "venv"
    (venv / "lib/python3.11").mkdir(parents=True)
    (venv / "bin").mkdir()
    usual, own = tmp_path / "python3.13", tmp_path / "python3.11"
    usual.touch()
    # The release of the system before had another python3, or had removed the release's own.
    for interpreter in (usual, own):
        (venv / "bin/python").unlink(missing_ok=True)
        (venv / "bin/python").symlink_to(interpreter)
        with pytest.raises(system.ReleaseError, match=r"a was made for Python 3\.11") as refused:
            rollback.choose(releases, "", force=False)
        assert "-e env=current -e release_to=a" in refused.value.hint
    assert rollback.choose(releases, "", force=False, rebuilt=True)["id"] == "a"
    own.touch()
    assert rollback.choose(releases, "", force=False)["id"] == "a"


def line(status, path="/"):
    return json.dumps({"status": status, "request": {"method": "GET", "uri": path}}) + "\n"


@pytest.fixture
def baking(tmp_path, monkeypatch):
    """A bake of an access log, to which the lines given are added before each look."""
    log = tmp_path / "notes.log"
    log.write_text(line(500) * 50)  # what was before the switch does not count
    told = {"NRestarts": "0", "ActiveState": "active"}
    monkeypatch.setattr(bake, "show", lambda unit, name: told[name])

    def watch(*looks, hidden=lambda: False, **more):
        todo = list(looks)

        def sleep(seconds):
            if todo:
                with log.open("a") as file:
                    file.write(todo.pop(0))
            told.update(more)

        monkeypatch.setattr(bake.time, "sleep", sleep)
        return bake.Bake(log, "notes@blue.service", 0.2, 10, hidden).watch()

    return watch


def test_a_bake_counts_answers_and_lets_few_errors_pass(baking):
    assert baking(line(200) * 20 + line(500), line(404)) == {"answers": 22, "errors": 1}


def test_a_bake_gives_up_when_too_many_answers_are_errors(baking):
    with pytest.raises(system.ReleaseError, match="3 of 23 answers") as refused:
        baking(line(200) * 20, line(502, "/a") * 3)
    assert "502 GET /a" in refused.value.detail


def test_a_bake_reads_a_line_that_was_written_in_two_pieces(baking):
    whole = line(500)
    assert baking(whole[:20], whole[20:]) == {"answers": 1, "errors": 1}


def test_a_bake_does_not_count_the_maintenance_page(baking):
    hidden = iter([True, True])
    looks = (line(503) * 9, line(503) * 9 + line(500), line(503))
    seen = baking(*looks, hidden=lambda: next(hidden, False))
    assert seen == {"answers": 2, "errors": 2}, "the last 503 was the release's own"


def test_a_bake_gives_up_when_the_release_was_started_again(baking):
    with pytest.raises(system.ReleaseError, match="died and was started again"):
        baking(NRestarts="1")


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200)])
def test_lengths_of_time(text, value):
    assert maintenance.seconds(text) == value


@pytest.mark.parametrize("text", ["", "0", "ten", "1d", "-5m"])
def test_what_is_no_length_of_time_is_refused(text):
    with pytest.raises(system.ReleaseError, match="no length of time"):
        maintenance.seconds(text)


def test_a_long_reason_stays_in_its_line_of_the_table(releases, monkeypatch):
    monkeypatch.setattr(store, "show", lambda unit, name: "active")
    reason = "the migration `python -c 'a\nb'` failed " + "word " * 50
    releases.record("deploy", "a", "refused", reason=reason)
    _, line, *_ = tables.releases(releases).splitlines()
    assert "python -c 'a b'` failed word" in line
    assert line.endswith("word …")


def test_the_table_shows_schema_outcome_and_reason(releases, monkeypatch):
    monkeypatch.setattr(store, "show", lambda unit, name: "active")
    live(releases, "a", **schema(None, "1"), seconds={"gate": 1.25})
    releases.record("deploy", "b", "refused", **schema("1", "1"), phase="gate", reason="500")
    rows = tables.releases(releases).splitlines()
    assert rows[0].split()[:2] == ["when", "(UTC)"]
    assert " - > 1 " in rows[1]
    assert rows[1].endswith("live")
    assert rows[2].endswith("refused in gate: 500")


def test_words_of_a_unit_survive_systemd():
    assert system.unit_words(["a b", 'say "x"', "50%", "$HOME", "back\\slash"]) == (
        '"a b" "say \\"x\\"" "50%%" "$$HOME" "back\\\\slash"'
    )


def test_limits_that_a_power_loss_left_on_the_role_are_taken_back(releases, monkeypatch):
    releases.settings |= {"database": "dbname=notes", "migrate_limits": {"lock_timeout": 5}}
    told, answers = [], iter([None, ""])
    data = database.Database(releases)
    monkeypatch.setattr(data, "ask", lambda sql: told.append(sql) or next(answers))
    data.take_limits_back()
    assert told == [], "nothing was left"
    data.limits_set.touch()
    data.take_limits_back()  # PostgreSQL does not answer
    data.take_limits_back()
    data.take_limits_back()
    assert len(told) == 2
    assert "reset lock_timeout" in told[0]
