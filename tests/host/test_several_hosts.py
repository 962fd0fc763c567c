"""What a host does as one of several: it holds requests, is away, lets an application go."""

import json
import subprocess
from pathlib import Path

import pytest
from pergola import apps
from pergola.app import away, hold, reach, retire
from pergola.apps import App
from pergola.backup import fence, outside
from pergola.errors import PergolaError

ELSEWHERE = "dbname=notes host=10.0.0.5 sslmode=verify-full"


class Host:
    """Applications by their names, with a live release each; what systemd is told."""

    def __init__(self, top):
        self.top, self.told, self.units = top, [], {}

    def application(self, name, database=ELSEWHERE, colour="green"):
        home = self.top / "srv" / name
        release = home / "releases/r1"
        for path in (release, home / "live", home / "slots", home / "bin", self.top / "run" / name):
            path.mkdir(parents=True, exist_ok=True)
        (home / "bin/release").touch()
        (release / "release.json").write_text(json.dumps({"id": "r1", "format": 1}))
        (home / "settings.json").write_text(json.dumps({"database": database, "user": name}))
        (home / "slots" / colour).symlink_to(release)
        if colour == "green":
            (home / "live/green").touch()
        self.units[name] = [f"{name}@{colour}.service", f"{name}.tick.timer"]
        return App(home)


@pytest.fixture
def host(tmp_path, monkeypatch):
    found = Host(tmp_path)

    def systemctl(*words):
        found.told.append(words)
        return subprocess.CompletedProcess(words, 0, "", "")

    for module, name, value in (
        (apps, "HOMES", tmp_path / "srv"),
        (apps, "RUN", tmp_path / "run"),
        (apps.lock, "SERVER", apps.lock.Place("the server", tmp_path / "run/server", "")),
        (apps.App, "units", lambda app: list(found.units[app.name])),
        (retire, "UNITS", tmp_path / "units"),
        (retire, "WATCHED", tmp_path / "monitoring"),
        (retire, "systemctl", systemctl),
        (retire, "disable", lambda *units: found.told.append(("disable", *units))),
        (retire.load, "FOLDER", tmp_path / "caddy"),
        (retire.site, "FOLDER", tmp_path / "caddy"),
        (retire.load, "load", lambda **_: found.told.append(("caddy",))),
        (fence, "systemctl", systemctl),
        (fence, "is_active", lambda _: True),
        (outside, "FENCE_FILE", tmp_path / "fence.json"),
        (away, "NOTICED_SECONDS", 0),
    ):
        monkeypatch.setattr(module, name, value)
    for folder in ("units/multi-user.target.wants", "monitoring", "caddy", "run/server"):
        (tmp_path / folder).mkdir(parents=True)
    return found


# -- an application that runs elsewhere now --------------------------------------------------------


def test_what_ran_here_stops_and_is_not_taken_for_live(host):
    app = host.application("notes")
    (host.top / "units/multi-user.target.wants/notes@green.service").symlink_to("/dev/null")
    (host.top / "monitoring/notes.json").touch()
    (host.top / "caddy/notes.caddy").touch()
    assert retire.retire("notes").changed
    units = ("notes.tick.timer", "notes@green.service")
    assert host.told == [("caddy",), ("disable", *units), ("stop", *units)]
    assert not app.is_live()
    assert (app.home / "releases/r1").is_dir()
    assert not (host.top / "monitoring/notes.json").exists()
    assert not (host.top / "caddy/notes.caddy").exists()
    host.units["notes"] = []
    (host.top / "units/multi-user.target.wants/notes@green.service").unlink()
    assert not retire.retire("notes").changed


def test_the_site_of_an_edge_stays(host):
    host.application("notes")
    (host.top / "monitoring/notes.json").touch()
    (host.top / "caddy/notes.caddy").touch()
    retire.retire("notes", leads=True)
    assert (host.top / "caddy/notes.caddy").exists()
    assert ("caddy",) not in host.told


def test_a_look_at_it_stops_nothing(host):
    app = host.application("notes")
    assert retire.retire("notes", only_look=True).units
    assert host.told == []
    assert app.is_live()


def test_a_host_that_never_had_it_has_nothing_to_stop(host):
    assert not retire.retire("notes").changed


# -- requests that wait for a database of another host ---------------------------------------------


def test_those_with_a_database_elsewhere_are_held_and_no_others(host, monkeypatch):
    host.application("notes")
    host.application("wiki", database="dbname=wiki")
    paused = []
    monkeypatch.setattr(App, "pause", lambda app: paused.append(app.name) or "")
    assert hold.hold().apps == ["notes"]
    assert paused == ["notes"]


def test_where_one_cannot_be_held_all_go_on(host, monkeypatch):
    host.application("notes")
    host.application("shop")
    gone_on = []
    monkeypatch.setattr(App, "pause", lambda app: "it has no pause" * (app.name == "shop"))
    monkeypatch.setattr(App, "go_on", lambda app: gone_on.append(app.name))
    with pytest.raises(PergolaError, match="shop: it has no pause"):
        hold.hold()
    assert gone_on == ["notes", "shop"]


# -- out of service --------------------------------------------------------------------------------


def test_the_mark_of_a_host_that_is_away_is_where_its_site_looks(host):
    host.application("notes")
    assert away.away().apps == ["notes"]
    assert (host.top / "run/notes/away").exists()
    assert not away.away().changed
    template = Path(__file__).parents[2] / "roles/app/templates/site.caddy.j2"
    assert "/run/{{ app_name }}/away" in template.read_text()
    assert away.back().apps == ["notes"]
    assert not (host.top / "run/notes/away").exists()


# -- a restore of another host ---------------------------------------------------------------------


def test_a_restore_elsewhere_closes_and_opens_what_was_open(host, monkeypatch):
    app = host.application("notes")
    pages = app.home / "live"

    def call(app, *words, **_):
        (pages / apps.PAGES[-1]).touch()
        (pages / apps.PAGES[0]).touch()

    monkeypatch.setattr(App, "call", call)
    assert outside.close().apps == ["notes"]
    assert (pages / apps.PAGES[-1]).exists()
    stopped = next(words for words in host.told if words[0] == "stop")
    assert "notes@green.service" in stopped
    # A run that was cut off here is made up for by the next one.
    outside.close()
    host.told.clear()
    assert outside.reopen().changed
    assert any(words[0] == "start" and "notes@green.service" in words for words in host.told)
    assert not (pages / apps.PAGES[-1]).exists()
    assert not outside.reopen().changed


# -- what stands between hosts ---------------------------------------------------------------------


def test_what_cannot_be_reached_is_named(unused_port):
    (said,) = reach.unreachable([f"127.0.0.1:{unused_port}"])
    assert f"127.0.0.1:{unused_port}: Connection refused" in said


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
