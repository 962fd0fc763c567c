"""An application on this host: what is live of it, and its requests held."""

import json
import subprocess

import pytest
from pergola import apps, lock, system
from pergola.apps import App
from pergola.errors import PergolaError
from pergola.lock import HeldError, Patience, Place


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """An application with a live release and a program that says what it is told."""
    home = tmp_path / "srv/notes"
    for name in ("bin", "live", "slots", "releases/r1", "releases/r2"):
        (home / name).mkdir(parents=True)
    # An earlier Pergola's, of which nothing is asked.
    (home / "bin/release").write_text("#!/bin/sh\nexit 1\n")
    (home / "bin/release").chmod(0o755)
    (home / "releases/r1/release.json").write_text('{"health_path": "/up", "format": 1}')
    (home / "releases/r2/release.json").write_text("{}")
    (home / "slots/blue").symlink_to(home / "releases/r1")
    (home / "slots/green").symlink_to(home / "releases/r2")
    monkeypatch.setattr(apps, "PROGRAM", home / "pergola")
    says(home, f'echo "$*" >>{home}/called')
    monkeypatch.setattr(apps, "HOMES", tmp_path / "srv")
    monkeypatch.setattr(apps.postgres, "CONFIGURATIONS", tmp_path)
    monkeypatch.setattr(apps, "RUN", tmp_path / "run")
    monkeypatch.setattr(apps, "SERVER", Place("this server", tmp_path / "run/pergola"))
    monkeypatch.setattr(lock, "SERVER", apps.SERVER)
    return App(home)


def says(home, script):
    """What the program of this version does from now on."""
    (home / "pergola").write_text(f"#!/bin/sh\n{script}\n")
    (home / "pergola").chmod(0o755)


def called(app):
    file = app.home / "called"
    return file.read_text().splitlines() if file.exists() else []


def test_the_flag_file_says_what_is_live(notes):
    assert (notes.colour, notes.release, notes.live_unit) == ("blue", "r1", "notes@blue.service")
    assert notes.manifest.health_path == "/up"
    (notes.home / "live/green").touch()
    assert (notes.colour, notes.release, notes.live_unit) == ("green", "r2", "notes@green.service")
    assert notes.manifest.health_path == "/"  # as an earlier Pergola wrote it
    (notes.home / "slots/green").unlink()
    assert (notes.release, notes.is_live()) == (None, False)


def test_the_applications_of_a_host_are_those_with_a_program(notes):
    (notes.home.parent / "data").mkdir()
    assert apps.every() == apps.live() == [notes]
    (notes.home / "slots/blue").unlink()
    assert apps.every() == [notes]
    assert apps.live() == []


@pytest.mark.parametrize(
    ("settings", "local"),
    [
        ({"database": "dbname=notes"}, True),
        ({"database": "host='/run/postgresql' dbname=notes", "format": 1}, True),
        ({"database": "host=db1 dbname=notes"}, False),
        ({"database": ""}, False),
        ({}, True),  # an earlier Pergola's
    ],
)
def test_whether_its_data_is_here_its_settings_say(notes, settings, local):
    (notes.home / "settings.json").write_text(json.dumps(settings))
    assert notes.has_local_database() is local


def test_what_an_earlier_pergola_did_not_write_follows_from_its_name(notes, monkeypatch):
    assert notes.database == "dbname=notes"
    assert notes.settings.access_log == "/var/log/caddy/notes.log"
    monkeypatch.setattr(apps.postgres, "CONFIGURATIONS", notes.home / "none")
    assert notes.database == ""


def test_what_a_newer_pergola_wrote_is_refused_by_name(notes):
    (notes.home / "settings.json").write_text('{"format": 9}')
    with pytest.raises(PergolaError, match=r"settings.json was made by a newer Pergola"):
        notes.settings  # noqa: B018


def test_what_ends_a_page_that_somebody_else_has_put_there_is_left_alone(notes, monkeypatch):
    said = (
        "notes@blue.socket loaded active running x\n"
        "notes@blue.service loaded active running x\n"
        "notes.maintenance-ends.timer loaded active waiting x\n"
    )
    monkeypatch.setattr(
        system, "systemctl", lambda *_: subprocess.CompletedProcess([], 0, said, "")
    )
    assert notes.units() == ["notes@blue.socket", "notes@blue.service"]


@pytest.mark.parametrize("folder", ["live", "../../run/notes"])
def test_a_page_is_on_wherever_it_lies(notes, folder):
    assert not notes.has_page()
    (notes.home / folder).mkdir(parents=True, exist_ok=True)
    (notes.home / folder / "maintenance.html").touch()
    assert notes.has_page()


def test_its_program_is_told_who_asks(notes):
    says(notes.home, """echo "{\\"said\\": \\"$*\\"}" """)
    assert notes.call("maintenance", "on", who="me") == {
        "said": "release --app=notes --who=me maintenance on"
    }
    says(notes.home, "echo notes: no >&2; exit 1")
    with pytest.raises(PergolaError, match="ended with 1") as failed:
        notes.call("status")
    assert failed.value.evidence == "notes: no"


def test_it_is_ready_when_the_live_slot_passes_its_gate(notes, monkeypatch):
    monkeypatch.setattr(apps, "show", lambda _, name: {"ActiveState": "active"}.get(name, "77"))
    gates = []

    def attempt(*words, environment):
        gates.append((words[-2:], environment))
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(apps, "attempt", attempt)
    notes.ready()
    (words, environment), *_ = gates
    assert words == (notes.run_dir, "blue")
    assert environment == {"MAINPID": "77"}


def test_one_that_never_becomes_ready_is_told_with_its_journal(notes, monkeypatch):
    monkeypatch.setattr(apps, "READY_SECONDS", 0)
    monkeypatch.setattr(apps, "journal", lambda unit: f"lines of {unit}")
    with pytest.raises(PergolaError, match="notes did not become ready") as failed:
        notes.ready()
    assert "lines of notes@blue.service" in failed.value.evidence


# -- the lock and the pause ------------------------------------------------------------------------


def test_whoever_works_on_the_server_keeps_deploys_and_each_other_out(notes):
    with apps.locked("another version of PostgreSQL"):
        for place in (notes.place, apps.SERVER):
            refused = pytest.raises(HeldError, match=r"at work on .*: another version of Postgre")
            with refused, lock.locked([place], "a deploy"):
                pass
    with lock.locked([notes.place], "a deploy"):
        pass


def test_a_host_without_applications_has_a_lock_as_well(notes, monkeypatch):
    monkeypatch.setattr(apps, "HOMES", notes.home / "nowhere")
    with (
        apps.locked("an update", Patience()),
        pytest.raises(HeldError, match=r"this server .*: an update"),
        apps.locked("a restore", Patience()),
    ):
        pass


def test_the_program_is_named_that_frees_the_lock_of_a_dead_deploy(notes):
    assert notes.place.unlock == f"sudo {notes.home}/bin/release unlock"


def test_a_pause_is_ended_whatever_happens(notes):
    with pytest.raises(KeyError), apps.paused():
        raise KeyError
    pauses = [f"release --app=notes pause {what}" for what in ("on --for 45s", "off")]
    assert called(notes) == pauses


def test_a_pause_that_cannot_be_made_is_told_and_what_was_held_goes_on(notes):
    says(notes.home, f'echo "$*" >>{notes.home}/called; echo "notes: no disk" >&2; exit 1')
    with (
        pytest.raises(PergolaError, match="cannot be held: notes: notes: no disk") as failed,
        apps.paused(),
    ):
        pytest.fail("it went on")
    assert failed.value.hint == "run deploy.yml with the inventory of that application first"
    assert "release --app=notes pause off" in called(notes)
    with apps.paused(must=False) as not_held:
        assert not_held == {"notes": "notes: no disk"}


def test_what_has_no_live_release_is_not_paused(notes):
    (notes.home / "slots/blue").unlink()
    with apps.paused():
        pass
    assert called(notes) == []
