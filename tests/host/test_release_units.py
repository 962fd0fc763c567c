"""Slots, and the units beside them: commands, processes and schedules of a release."""

import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from pergola import system
from pergola.errors import PergolaError
from pergola.release import phases, slots, units
from pergola.release.commands import (
    credential_text,
    environment_text,
    quoted,
    refused,
    unit_words,
)
from pergola.release.progress import Progress
from pergola.release.slots import Slots
from pergola.release.work import Work
from release_made import having, kept, lock_of, manifest


@pytest.fixture
def unit_files(releases, tmp_path, monkeypatch):
    """A directory of unit files with the slots' own in it, and a systemctl that is only told."""
    folder = tmp_path / "units"
    folder.mkdir()
    (folder / "notes@.service").write_text(
        "[Unit]\nDescription=x\n[Service]\nType=exec\nUser=notes\n# NotMe=1\n"
        f"ExecStart=/x {releases.home}/slots/%i/code\nExecStartPost=+/y\n"
        "ExecPaths=/usr\nTimeoutStopSec=30\nRestart=always\nNoNewPrivileges=yes\n"
        "[Install]\nWantedBy=z\n"
    )
    monkeypatch.setattr(units, "UNITS", folder)
    for module in (units, system):
        monkeypatch.setattr(module, "systemctl", lambda *arguments: None)
    having(releases, after_units=["postgresql.service"], runs_schedules=True)
    return folder


def test_a_slot_may_open_a_port_while_its_release_listens_on_one(releases, tmp_path, monkeypatch):
    """As the release says it, not today's settings: a rollback may be to another server."""
    told = []
    monkeypatch.setattr(slots, "UNITS", tmp_path)
    monkeypatch.setattr(slots, "systemctl", lambda *words: told.append(words))
    manifest(releases, "a", server="command", server_command="serve --port $PORT")
    manifest(releases, "b", server="command", server_command="gunicorn shop")
    manifest(releases, "c")
    path = tmp_path / "notes@blue.service.d/50-port.conf"
    for release, listens, rereads in (
        ("a", True, 1),
        ("a", True, 0),
        ("b", False, 1),
        ("c", False, 0),
    ):
        told.clear()
        Slots(releases).allow_port("blue", release)
        assert path.exists() == path.parent.exists() == listens
        assert told == [("daemon-reload",)] * rereads


def test_a_transient_unit_takes_over_the_slots_sandbox(releases, unit_files):
    manifest(releases, "a")
    command = units.transient(releases, "a", ["notes", "cost $5"], "--pipe", PGOPTIONS="-c a=b")
    properties = [word for word in command if word.startswith("--property=")]
    assert properties == [
        f"--property=WorkingDirectory={releases.home}/releases/a/code",
        f"--property=Environment=PATH={releases.home}/releases/a/venv/bin:/usr/bin:/bin",
        f"--property=EnvironmentFile={releases.home}/releases/a/environment",
        "--property=User=notes",
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
    manifest(releases, name, processes=list(processes), schedules=list(schedules))
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


def test_a_command_is_a_shell_s_if_the_release_says_so(releases, unit_files):
    """An earlier Pergola's was words, and its releases must still be able to go live."""
    command = "cd jobs && notes work --limit=$LIMIT '100 %'"
    work = {**WORKER, "command": command, "shell": True}
    tidy = {**NIGHTLY, "command": command, "shell": True}
    with_units(releases, "a", [work], [tidy]).install()
    quoted = '"/bin/bash" "-euc" "cd jobs && notes work --limit=$$LIMIT \'100 %%\'"\n'
    for name in ("notes.worker.blue.service", "notes.nightly.service"):
        assert quoted in (unit_files / name).read_text()


@pytest.mark.parametrize(
    "command", ["sleep 60", "cd / && sleep 60", "cd /; A=b sleep 60", "cd /\nsleep 60"]
)
def test_the_shell_of_a_command_gives_its_place_to_the_program(command):
    """Or SIGTERM would end the shell, and systemd would kill what it left."""
    started = subprocess.Popen([*units.SHELL, command])
    name = Path(f"/proc/{started.pid}/comm")
    until = time.monotonic() + 20
    while name.read_text() != "sleep\n" and time.monotonic() < until:
        time.sleep(0.05)
    found = name.read_text()
    started.terminate()
    assert started.wait() == -signal.SIGTERM
    assert found == "sleep\n"


def test_a_secret_file_s_path_is_in_a_variable_of_every_unit(releases, unit_files, tmp_path):
    variables = {"GOOGLE_CREDENTIALS": "google.json"}
    name = 'the "$x" key'
    manifest(releases, "a", credential_variables={**variables, "KEY": name})
    command = units.transient(releases, "a", ["sh", "-c", 'echo "$GOOGLE_CREDENTIALS $KEY"'])
    words = [word.replace("$$", "$") for word in command[command.index("--") + 1 :]]
    # As systemd-run starts it, with what EnvironmentFile= has made of the same lines.
    environment = {
        "CREDENTIALS_DIRECTORY": "/run/c",
        "GOOGLE_CREDENTIALS": "$CREDENTIALS_DIRECTORY",
    }
    said = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
    assert said.stdout == f"/run/c/app_google.json /run/c/app_{name}\n"
    manifest(releases, "a", processes=[WORKER], schedules=[NIGHTLY], credential_variables=variables)
    for text in units.Units(releases, "blue", "a").files().values():
        wanted = 'GOOGLE_CREDENTIALS=\\"$$CREDENTIALS_DIRECTORY/app_google.json\\"\\nexport '
        assert wanted in text or "[Timer]" in text


def test_the_slot_s_shell_reads_the_paths_with_the_environment(tmp_path):
    (tmp_path / "environment").write_text(
        environment_text({"A": "$HOME"}) + credential_text({"KEY": "tls key"})
    )
    said = subprocess.run(
        ["/bin/sh", "-efc", "set -a; . ./environment; set +a; exec sh -c 'echo \"$A $KEY\"'"],
        env={"CREDENTIALS_DIRECTORY": "/run/c"},
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert said.stdout == "$HOME /run/c/app_tls key\n"


def test_a_process_s_own_limit_and_signal_beat_the_slots(releases, unit_files):
    slots = unit_files / "notes@.service"
    slots.write_text(slots.read_text().replace("ExecPaths", "MemoryMax=2G\nExecPaths"))
    own = {**WORKER, "memory_max": "512M", "stop_signal": "SIGINT"}
    with_units(releases, "a", [own, {**WORKER, "name": "usual"}]).install()
    text = (unit_files / "notes.worker.blue.service").read_text()
    assert text.index("MemoryMax=2G\n") < text.index("MemoryMax=512M\nKillSignal=SIGINT\n")
    assert "KillSignal" not in (unit_files / "notes.usual.blue.service").read_text()


def test_a_schedule_runs_in_what_is_live_when_it_starts(releases, unit_files):
    with_units(releases, "a", schedules=[NIGHTLY]).install()
    text = (unit_files / "notes.nightly.service").read_text()
    assert f"WorkingDirectory={releases.home}/slots/live/code\n" in text
    assert "Type=oneshot" in text
    assert "TimeoutStartSec=60" in text
    timer = (unit_files / "notes.nightly.timer").read_text()
    assert "OnCalendar=*-*-* 03:00\nPersistent=yes\n" in timer


def test_an_application_inside_its_archive_has_its_own_directory(releases, unit_files):
    manifest(releases, "a", directory="apps/my api", processes=[WORKER], schedules=[NIGHTLY])
    units.Units(releases, "blue", "a").install()
    inside = "code/apps/my api\n"
    text = (unit_files / "notes.worker.blue.service").read_text()
    assert f"WorkingDirectory={releases.home}/slots/blue/{inside}" in text
    text = (unit_files / "notes.nightly.service").read_text()
    assert f"WorkingDirectory={releases.home}/slots/live/{inside}" in text
    assert "$$(cd -P ../../.. && pwd)" in text
    command = units.transient(releases, "a", ["x"])
    assert f"--property=WorkingDirectory={releases.home}/releases/a/{inside.strip()}" in command


def test_a_schedule_runs_on_the_first_server_unless_it_is_for_all(releases, unit_files):
    made = with_units(
        releases, "a", schedules=[NIGHTLY, {**NIGHTLY, "name": "all", "every_host": True}]
    )
    assert made.timers() == ["notes.nightly.timer", "notes.all.timer"]
    having(releases, runs_schedules=False)
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
    monkeypatch.setattr(phases, "left", lambda *names: names[1:])
    for module in (units, slots, system, phases):
        monkeypatch.setattr(module, "systemctl", lambda *words: told.append(words))
    progress = Progress("b", "deploy", "a", "blue", 0)
    work = Work(releases, lock_of(releases), progress)
    phases.put_away(work, "green")
    assert work.changed
    assert ("disable", "--no-reload", "notes@green.socket", "notes@green.service") in told
    assert ("disable", "--no-reload", "notes.worker.green.service") in told
    assert ("stop", "--no-block", "notes.worker.green.service") in told
    assert told[-1] == ("daemon-reload",)


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


def test_a_refusal_of_no_known_cause_says_what_was_seen(releases, monkeypatch):
    manifest(releases, "a", health_path="/healthz")
    failed = subprocess.CompletedProcess([], 1, "", "")
    monkeypatch.setattr(slots, "systemctl", lambda *_: failed)
    monkeypatch.setattr(slots, "journal", lambda *_, **__: "the queue is not reachable")
    with pytest.raises(PergolaError, match="a did not become ready in 0 s") as error:
        Slots(releases).start("blue", "a")
    assert error.value.evidence.splitlines() == [
        "journal of notes@blue.service:",
        "the queue is not reachable",
        "last health response: none: it never answered",
    ]
    assert error.value.hint.startswith("correct it, commit and deploy again.")


def test_a_refusal_says_first_what_to_do_and_then_what_was_seen(releases, monkeypatch):
    manifest(releases, "a", asgi="shop.main:app", health_path="/healthz")
    told = []

    def systemctl(*words):
        told.append(words[0])
        if words[0] == "start":
            (releases.app.run_dir / "blue.answer").write_text(" no answer to GET /healthz: refused")
        code = int(words[0] == "start")
        return subprocess.CompletedProcess(words, code, "Result=exit-code\n", "")

    def journal(unit, most, since):
        told.append("journal")
        return "\n".join([*map(str, range(100)), "ModuleNotFoundError: No module named 'redis'"])

    monkeypatch.setattr(slots, "systemctl", systemctl)
    monkeypatch.setattr(slots, "journal", journal)
    with pytest.raises(PergolaError, match="a did not become ready in 0 s") as error:
        Slots(releases).start("blue", "a")
    to_do, journal_of, *lines, seen = error.value.evidence.splitlines()
    assert to_do.startswith("what to do: the lock has no package with the module redis")
    assert journal_of == "journal of notes@blue.service:"
    assert (lines[0], lines[-1]) == ("0", "ModuleNotFoundError: No module named 'redis'")
    assert len(lines) == 31
    assert seen == "last health response: no answer to GET /healthz: refused"
    assert error.value.hint.startswith("do that and deploy again. The refused release got no")
    # How it ended is asked before systemd starts it again, and then it is stopped.
    assert told[told.index("start") :] == [
        "start",
        "show",
        "journal",
        "kill",
        "stop",
        "reset-failed",
    ]


@pytest.mark.parametrize(
    ("shown", "recorded"),
    [("timeout\nfailed", ["killed"]), ("success\ninactive", []), ("signal\nfailed", [])],
)
def test_an_idle_slot_that_was_killed_at_its_limit_is_written_down(
    releases, monkeypatch, shown, recorded
):
    calls = []

    def systemctl(*words):
        calls.append(words[0])
        return subprocess.CompletedProcess(words, 0, shown, "")

    monkeypatch.setattr(slots, "systemctl", systemctl)
    monkeypatch.setattr(slots, "show", lambda *words: "30s")
    kept(releases, "r1")
    (releases.home / "live/green").touch()
    (releases.home / "slots/blue").symlink_to(releases.path("r1"))
    assert Slots(releases).drained() == bool(recorded)
    assert [line.outcome for line in releases.ledger()] == recorded
    assert ("reset-failed" in calls) == bool(recorded)


def test_words_of_a_unit_survive_systemd():
    assert unit_words(["a b", 'say "x"', "50%", "$HOME", "back\\slash"]) == (
        '"a b" "say \\"x\\"" "50%%" "$$HOME" "back\\\\slash"'
    )


@pytest.mark.parametrize(
    "value", ["plain", "", 'say "hi"', "back\\slash", "$HOME and `id`", "a # b", " spaces ", "ä€"]
)
def test_a_value_survives_the_environment_file(value):
    # systemd's rules for double quotes: a backslash before one of these stands for the character.
    text = quoted(value)
    assert text[0] == text[-1] == '"'
    for character in '"`$\\':
        text = text.replace("\\" + character, "\0" + format(ord(character), "02x"))
    inner = text[1:-1]
    assert '"' not in inner
    for character in '"`$\\':
        inner = inner.replace("\0" + format(ord(character), "02x"), character)
    assert inner == value


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("PermissionError: [Errno 1] Operation not permitted", True),
        ("error while attempting to bind on address: [errno 1] operation not permitted", True),
        ("ModuleNotFoundError: No module named 'probe'", False),
        ("", False),
    ],
)
def test_what_the_sandbox_may_have_refused_is_said_with_the_settings(lines, said):
    assert ("app_listen_ports" in refused(lines)) is said
