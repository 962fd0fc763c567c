"""An application without a site: processes and schedules, switched like any other."""

from dataclasses import replace

import pytest
from looks import Host
from pergola import system
from pergola.app import apply
from pergola.app.order import Order
from pergola.apps import App
from pergola.backup.fence import Closed
from pergola.documents import plain
from pergola.errors import PergolaError
from pergola.postgres import Cluster
from pergola.records import Manifest, Process
from pergola.release import bake, packages, phases, servers, slots, units
from pergola.release.maintenance import Maintenance, Pause
from pergola.release.progress import Progress
from pergola.release.releases import point
from pergola.release.slots import Slots
from pergola.release.work import Work
from pergola.status import units as wanted_units
from pergola.status import visit
from pergola.status.config import Part, Site, merged
from pergola.status.seen import Application
from pergola.upgrade import closing
from pergola.web import load, site
from release_made import having, live, lock_of, manifest

ANCHOR = "[Unit]\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\nUser=notes\n"
SERVING = "[Unit]\n[Service]\nType=exec\nExecStart=/x\nUser=notes\n"


@pytest.fixture
def unit_file(releases, tmp_path, monkeypatch):
    """The slots' unit, which tests may write anew, and a systemctl that is only told."""
    folder = tmp_path / "units"
    folder.mkdir()
    file = folder / "notes@.service"
    file.write_text(ANCHOR)
    for module in (units, slots):
        monkeypatch.setattr(module, "UNITS", folder)
    for module in (units, slots, system, phases):
        monkeypatch.setattr(module, "systemctl", lambda *arguments: None)
    return file


@pytest.fixture
def worker(releases, unit_file):
    """Release `a`, of one worker, live in blue."""
    live(releases, "a")
    manifest(releases, "a", web=False, processes=[{"name": "worker", "command": "w"}])
    point(releases.home / "slots/blue", releases.path("a"))
    return releases


def test_its_slots_have_no_socket(worker):
    assert Slots(worker).units("blue") == ["notes@blue.service"]
    manifest(worker, "b")
    point(worker.home / "slots/green", worker.path("b"))
    assert Slots(worker).units("green") == ["notes@green.socket", "notes@green.service"]


def test_its_processes_have_a_type_of_their_own(worker, unit_file):
    text = units.Units(worker, "blue", "a").files()["notes.worker.blue.service"]
    assert "\nType=exec\n" in text
    assert "RemainAfterExit" not in text
    assert "\nUser=notes\n" in text


def test_its_processes_are_watched_for_longer_as_they_are_its_gate(worker):
    manifest(worker, "b")
    assert units.Units(worker, "blue", "a").seconds == 5
    assert units.Units(worker, "blue", "b").seconds == 1.5


@pytest.mark.parametrize(("unit", "web"), [(ANCHOR, True), (SERVING, False)])
def test_a_release_of_the_other_kind_is_refused_before_it_starts(worker, unit_file, unit, web):
    unit_file.write_text(unit)
    manifest(worker, "b", web=web)
    work = Work(worker, lock_of(worker), Progress("b", "rollback", "a", "blue", 0))
    with pytest.raises(PergolaError, match="app_web is") as refused:
        phases.gate(work)
    assert "-e env=current -e release=b" in refused.value.hint


def test_its_bake_looks_at_its_processes(worker, monkeypatch):
    manifest(worker, "b", web=False, processes=[{"name": "worker", "command": "w"}])
    having(worker, bake_seconds=7)
    watched = []
    monkeypatch.setattr(units.Units, "watch", lambda _, *what: watched.append(what))
    monkeypatch.setattr(bake.Bake, "watch", None)
    work = Work(worker, lock_of(worker), Progress("b", "deploy", "a", "blue", 0))
    phases.bake(work)
    assert watched == [(["notes.worker.green.service"], 7)]


def test_it_has_no_page_and_nothing_to_pause(worker):
    with pytest.raises(PergolaError, match="has no site"):
        Maintenance(worker).on("", "", "")
    assert not worker.app.has_page()
    assert not Pause(worker).on("20s")["changed"]
    assert not (worker.app.run_dir / "pause").exists()


def test_a_restore_and_an_upgrade_close_it_without_a_page(worker, monkeypatch, tmp_path):
    """And start its processes again, but no socket: it has none."""
    monkeypatch.setattr(App, "units", lambda _: ["notes.worker.blue.service"])
    monkeypatch.setattr(App, "call", None)
    one = Closed(worker.app)
    one.hide()
    assert not one.has_page()
    assert one.units() == ["notes.worker.blue.service", "notes@blue.service"]
    monkeypatch.setattr(closing.apps, "live", lambda: [worker.app])
    monkeypatch.setattr(closing, "MARK", tmp_path / "mark")
    monkeypatch.setattr(closing, "systemctl", lambda *_: None)
    closing.close(Cluster(15), Cluster(17), drop=False)
    assert not closing.marked().apps["notes"].page


def test_it_gets_neither_a_server_nor_what_that_is_told(monkeypatch, tmp_path):
    found = Manifest(web=False, processes=[Process("worker")])
    assert servers.environment(found, tmp_path) == {}
    assert "PERGOLA_ASGI" in servers.environment(replace(found, web=True), tmp_path)
    one = packages.Packages.__new__(packages.Packages)
    one.web, one.server = False, "uvicorn"
    one.install_server()  # or it would ask for its virtual environment


def test_the_site_that_it_had_is_forgotten(releases, tmp_path, monkeypatch):
    monkeypatch.setattr(site, "FOLDER", tmp_path / "caddy")
    (tmp_path / "caddy/notes").mkdir(parents=True)
    (tmp_path / "caddy/notes/key.pem").write_text("secret")
    for name in ("notes", "other"):
        (tmp_path / f"caddy/{name}.caddy").touch()
    monkeypatch.setattr(apply, "LOCK", tmp_path / "run/applying")
    monkeypatch.setattr(apply, "accounts", lambda app: [])
    monkeypatch.setattr(apply.postgresql, "note", lambda order: None)
    monkeypatch.setattr(load, "load", lambda *_, **__: "")
    apply.apply(Order("notes", [], has_database=False))
    assert [path.name for path in (tmp_path / "caddy").iterdir()] == ["other.caddy"]
    assert site.look("notes", "").leads_to == []


def test_the_monitoring_looks_at_its_processes_only(monkeypatch):
    app = Application("notes", web=False, release="a", processes=["notes.worker.blue.service"])
    assert list(wanted_units.wanted([app], None)) == [
        "notes@blue.service",
        "notes.worker.blue.service",
    ]
    assert visit.asked([app]) == {}
    host = Host()
    host.seen["apps"] = [plain(app)]
    host.seen["vital"] = {}
    host.look()
    names = [name for name in host.known.reported if "notes" in name]
    assert sorted(names) == ["drain notes", "migrate_after notes", "release notes"]
    assert host.state("release notes") == "ok"


def test_no_heartbeat_waits_for_a_site_that_it_has_not():
    parts = [
        Part(site=Site(app="notes", web=False)),
        Part(site=Site(app="shop", domain="shop.test"), heartbeat="https://beat.test"),
    ]
    assert merged(parts).beats == {"https://beat.test": ["shop.test"]}
