"""`pergola app`: an application's accounts, databases and site, looked at and brought."""

import io
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pergola import apps, apt, postgres
from pergola.app import apply, cli, look, postgresql
from pergola.app.directories import Directory
from pergola.app.order import ORDER, Order
from pergola.app.packages import Wanted
from pergola.apps import App
from pergola.database import needs, restart, shared, state
from pergola.database import server as servers
from pergola.database.databases import Database
from pergola.database.needs import Need
from pergola.database.restart import Reloaded, Restarted
from pergola.documents import converted
from pergola.errors import PergolaError
from pergola.postgres import Cluster
from pergola.web.site import Site

NOBODY = {"login": True, "powers": False}
NOTES = Order(
    "notes",
    ["notes.example.org"],
    identity="prod, notes",
    connections=60,
    databases=[Database("notes", "notes")],
    files=[],
)
MADE = ["database notes", "role notes_migration"]


def order(**more):
    return Order(**{**vars(NOTES), **more})


class Host:
    """A provisioned server that runs PostgreSQL with 250 connections; what is done to it."""

    def __init__(self, top):
        self.top, self.done = top, []
        self.runs, self.pending = True, {}
        self.in_force = {"max_connections": "250", "shared_preload_libraries": ""}
        self.databases, self.roles, self.has_role = {}, {}, False
        self.available = ["pg_trgm"]
        self.installed = set()
        self.known = {"apprise", "postgresql-17-cron", "postgresql-17-pgvector"}

    def state(self, *_):
        there = {name: {"owner": owner, "granted": []} for name, owner in self.databases.items()}
        found = {
            "databases": there,
            "roles": self.roles,
            "members": [],
            "available": self.available,
        }
        return converted(found, state.ServerState, "the server")

    def attempt(self, program, *words, **_):
        package = words[-1]
        if program == "dpkg-query":
            said = "installed" if package in self.installed else ""
        else:
            said = f"{package}:\n  Candidate: {'1' if package in self.known else '(none)'}\n"
        return subprocess.CompletedProcess(words, 0, said, "")

    def bring(self, _, wanted, only_look):
        """The databases that are missing, as databases.bring says them."""
        if not only_look:
            self.done.append("databases")
        made = [f"database {one.name}" for one in wanted if one.name not in self.databases]
        self.databases |= {} if only_look else {one.name: one.owner for one in wanted}
        return made

    def bring_role(self, wanted, _, only_look=False, lines=True):
        """The migrations' role, if it is missing."""
        if only_look or self.has_role:
            return [] if self.has_role else [f"role {wanted.app}_migration"]
        assert "databases" in self.done, "what it acts as is made before it"
        self.has_role = True
        return [f"role {wanted.app}_migration"]

    def read_again(self, _):
        self.done.append("settings")
        return Reloaded(bool(self.pending), False, self.runs, self.pending)

    def restart(self, _):
        self.done.append("restart")
        self.runs, self.pending = True, {}
        return Restarted(1.5, {})

    def load(self, kept, for_site):
        assert for_site, "a deploy restarts no Caddy that runs"
        self.done.append(f"Caddy, {kept}")
        return ""

    def run(self, *words):
        self.done.append(words[0])
        if words[0] == "systemd-sysusers" and "notes" not in self.passwd.read_text():
            with self.passwd.open("a") as file:
                file.write("notes:x:900:900::/:/usr/sbin/nologin\n")
        if words[0] == "systemd-tmpfiles":
            home = self.top / "srv" / Path(words[-1]).stem
            for part in ("live", "slots"):
                (home / part).mkdir(parents=True, exist_ok=True)

    @property
    def passwd(self):
        return self.top / "passwd"


@pytest.fixture
def host(tmp_path, monkeypatch):
    found = Host(tmp_path)
    found.passwd.write_text("root:x:0:0::/root:/bin/sh\n")
    for module, name, value in (
        (postgres, "CONFIGURATIONS", tmp_path / "etc"),
        (servers, "FILE", tmp_path / "postgresql.json"),
        (needs, "FOLDER", tmp_path / "applications"),
        (apps, "HOMES", tmp_path / "srv"),
        (apps, "RUN", tmp_path / "run"),
        (Cluster, "is_in_service", lambda _: found.runs),
        (Cluster, "sql", lambda *_: json.dumps(found.in_force)),
        (state, "of_server", found.state),
        (apt, "attempt", found.attempt),
        (shared.settings, "check", lambda *_: None),
        (restart, "read_again", found.read_again),
        (restart, "restart", found.restart),
        (apply, "Path", lambda path: found.passwd if path == "/etc/passwd" else Path(path)),
        (apply, "run", found.run),
        (apply, "LOCK", tmp_path / "applying"),
        (apply.load, "load", found.load),
        (look, "PROVISIONED", tmp_path / "authority"),
        (look.site, "look", lambda *_: Site("2.6.2", ["192.0.2.10"])),
        (look.site, "taken", lambda *_: []),
    ):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(postgresql.databases, "bring", found.bring)
    monkeypatch.setattr(postgresql.migrations, "bring", found.bring_role)
    (tmp_path / "authority").touch()
    servers.NOTED.write(servers.FILE, servers.Noted(17, least=250, work_mb=3000))
    (Cluster(17).conf_d).mkdir(parents=True)
    (Cluster(17).configuration / "postgresql.conf").touch()
    return found


def application(host, name="shop", **settings):
    """A live application of the server's."""
    home = host.top / "srv" / name
    for part in ("bin", "live", "slots", "releases/r1"):
        (home / part).mkdir(parents=True)
    (home / "bin/release").touch()
    (home / "releases/r1/release.json").write_text("{}")
    (home / "slots/blue").symlink_to(home / "releases/r1")
    (home / "settings.json").write_text(json.dumps(settings))
    return App(home)


# -- what it has, and cannot do --------------------------------------------------------------------


def test_a_new_application_is_told_what_would_be_made(host):
    found = look.look(NOTES)
    assert (found.provisioned, found.wrong) == (True, [])
    assert (found.install, found.restart, found.makes) == ([], {}, MADE)
    assert found.site.version == "2.6.2"
    assert host.done == [], "nothing was changed"
    assert not needs.FOLDER.exists()


def test_a_bare_host_is_not_provisioned(host, monkeypatch):
    servers.FILE.unlink()
    assert not look.look(NOTES).provisioned, "it has no PostgreSQL"
    without = order(has_database=False, databases=[])
    assert look.look(without).provisioned
    look.PROVISIONED.unlink()
    assert not look.look(without).provisioned, "its Caddy is somebody else's"
    look.PROVISIONED.touch()
    monkeypatch.setattr(look.site, "look", lambda *_: Site())
    assert not look.look(without).provisioned, "it has no Caddy"


def test_what_only_an_earlier_pergola_has_provisioned_is_not_provisioned(host):
    """Its notes do not say who may read databases: they would be shut out."""
    servers.NOTED.write(servers.FILE, servers.Noted(17))
    assert not look.look(NOTES).provisioned


def test_a_domain_that_another_site_has_is_told(host, monkeypatch):
    asked = []
    monkeypatch.setattr(
        look.site, "taken", lambda app, names: asked.append((app, names)) or ["shop has it"]
    )
    assert look.look(NOTES).wrong == ["shop has it"]
    assert asked == [("notes", ["notes.example.org"])]


@pytest.mark.parametrize(
    ("change", "is_alike"),
    [
        ({}, False),
        ({"identity": "other, notes"}, False),  # the inventory was renamed, its site is the same
        ({"domains": ["notes.example.net"]}, False),  # the site was renamed
        ({"identity": "other, notes", "domains": ["notes.example.net"]}, True),
        (
            {"identity": "other, notes", "domains": ["notes.example.net"], "takes_over": True},
            False,
        ),
    ],
)
def test_another_inventorys_application_of_the_same_name_is_told(host, change, is_alike):
    assert look.look(order(**change)).wrong == [], "nobody has been here"
    needs.NEED.write(needs.path_of("notes"), NOTES.need(Need()))
    wrong = look.look(order(**change)).wrong
    assert bool(wrong) is is_alike
    if is_alike:
        assert (
            "an application notes is here already, of another inventory (prod, notes)" in wrong[0]
        )
        assert "answers to notes.example.org" in wrong[0]
        assert "-e preflight_takes_over=true" in wrong[0]


def test_one_that_an_earlier_pergola_noted_is_the_same(host):
    needs.NEED.write(needs.path_of("notes"), Need(60))
    assert look.look(NOTES).wrong == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_directories_that_stay_are_looked_at_shown_and_told_when_they_are_left(host, monkeypatch):
    media = host.top / "srv/notes/shared/media"
    media.mkdir(parents=True)
    (media / "a").touch()
    os.chown(media, 65534, 65534)
    (wrong,) = look.look(order(shared=[Directory("media/sub")])).wrong
    assert "media/sub is inside media" in wrong
    shown = []
    monkeypatch.setattr(apply.directories, "show", lambda *given: shown.append(given) or ["mount"])
    directories = [Directory("media", "/media")]
    done = apply.apply(order(shared=directories))
    assert shown == [(host.top / "srv/notes", directories)]
    assert (done.changed, "mount" in done.made, done.left) == (True, True, [])
    assert apply.apply(order()).left == [str(media)]


def test_a_database_of_another_application_is_told(host):
    needs.NEED.write(needs.path_of("shop"), Need(60))
    host.databases["shop"] = "shop"
    found = look.look(order(databases=[Database("shop", "notes"), Database("notes", "shop")]))
    assert found.wrong == [
        "app_databases: shop or its owner, notes, is another application's",
        "app_databases: notes or its owner, shop, is another application's",
    ]
    assert found.makes == []


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (Database("postgres", "notes"), "postgres is the server's own database"),
        (Database("template0", "notes"), "template0 is the server's own database"),
        (Database("reports", "notes"), "there is a database reports already, which rep owns"),
        (Database("notes", "postgres"), "postgres, the owner of notes, may do more than own it"),
        (Database("theirs", "notes"), "theirs or its owner, notes, is another application's"),
    ],
)
def test_a_database_that_is_not_the_applications_is_not_taken(host, wanted, says):
    needs.NEED.write(needs.path_of("shop"), Need(60, databases=[Database("theirs", "them")]))
    host.databases["reports"] = "rep"
    host.roles["postgres"] = {"login": True, "powers": True}
    (said,) = look.look(order(databases=[wanted])).wrong
    assert said == f"app_databases: {says}"


def test_a_database_that_the_application_has_had_may_get_another_owner(host):
    needs.NEED.write(needs.path_of("notes"), Need(60, databases=[Database("notes", "old")]))
    host.databases["notes"] = "old"
    assert look.look(NOTES).wrong == []


def test_an_upgrade_of_postgresql_that_was_not_finished_is_told(host):
    """The way back lies stopped on another port: nothing must start it."""
    (Cluster(17).configuration / "postgresql.conf").write_text("port = 5433\n")
    Cluster(18).configuration.mkdir(parents=True)
    (Cluster(18).configuration / "postgresql.conf").touch()
    (said,) = look.look(NOTES).wrong
    assert "PostgreSQL 18 serves, and the server was set up for 17" in said
    with pytest.raises(PergolaError, match="an upgrade was not finished"):
        apply.apply(NOTES)
    assert "restart" not in host.done


def test_packages_are_told_and_one_that_there_is_not_is_refused(host):
    wanted = order(
        databases=[Database("notes", "notes", ["vector", "pg_trgm"])], packages=["apprise"]
    )
    found = look.look(wanted)
    assert (found.wrong, found.install) == ([], ["apprise", "postgresql-17-pgvector"])
    host.installed |= {"apprise", "postgresql-17-pgvector"}
    assert look.look(wanted).install == []
    host.installed.clear()
    host.known.clear()
    (said,) = look.look(wanted).wrong
    assert "no package of the extension vector (postgresql-17-pgvector)" in said
    assert "postgresql_repository: pgdg in the inventory that provisions the server" in said


@pytest.mark.parametrize("has_database", [True, False])
def test_what_its_code_needs_comes_with_them_and_what_there_is_not_is_refused(
    host, monkeypatch, has_database
):
    monkeypatch.setattr(apt, "is_read", lambda: True)
    host.known |= {"ffmpeg", "libpq5"}
    system = Wanted(["ffmpeg"], {"libpq5": "uv.lock: psycopg2"})
    found = look.look(order(system=system, packages=["apprise"], has_database=has_database))
    assert found.install == ["apprise", "ffmpeg", "libpq5"]
    assert found.packages == ["ffmpeg (app_system_packages)", "libpq5 (uv.lock: psycopg2)"]
    assert found.wrong == []
    wrong = look.look(order(system=Wanted(["ffmpg"]), has_database=has_database)).wrong
    assert wrong[0].startswith("app_system_packages: this system has no package ffmpg")


def test_an_extension_that_no_package_brings_is_told(host):
    host.available = []
    wanted = order(databases=[Database("notes", "notes", ["vector", "pg_trgm", "hstoer"])])
    found = look.look(wanted)
    (said,) = found.wrong
    assert "extensions that this server does not have: hstoer, pg_trgm." in said
    assert "base_extra_packages" in said
    assert (found.makes, host.done) == ([], [])


def test_a_restart_is_foreseen(host):
    needs.NEED.write(needs.path_of("shop"), Need(200))
    found = look.look(order(databases=[Database("notes", "notes", ["pg_cron"])], connections=40))
    assert found.restart == {
        "max_connections": ("250", "260"),
        "shared_preload_libraries": ("", "pg_cron"),
    }
    assert look.look(order(connections=30)).restart == {}


def test_a_server_that_is_set_to_fewer_connections_is_told_with_the_sum(host):
    servers.NOTED.write(servers.FILE, servers.Noted(17, least=250, connections=70))
    found = look.look(NOTES)
    (said,) = found.wrong
    assert "postgresql_max_connections 70 is too small: 60 for notes + 20 for backups" in said
    assert "set it to 80 or more in the inventory that provisions this server" in said
    assert (found.restart, found.makes) == ({}, [])


# -- applied ---------------------------------------------------------------------------------------


def test_all_of_it_comes_into_force_in_its_order(host):
    host.pending = {"max_connections": ("250", "320")}
    kept = host.top / "kept"
    answer = apply.apply(order(connections=300), kept)
    assert host.done == [
        "systemd-sysusers", "systemd-tmpfiles", "settings", "restart", "databases", f"Caddy, {kept}"
    ]  # fmt: skip
    assert answer.changed
    assert answer.made == ["account notes", *MADE]
    assert answer.restarted == Restarted(1.5, {})
    assert needs.noted() == {"notes": order(connections=300).need(Need())}
    assert "max_connections = 320" in shared.written(Cluster(17))


def test_a_restart_that_fails_leaves_nothing_that_would_want_it_again(host, monkeypatch):
    kept = host.top / "kept"
    backs = []

    def restart_fails(_):
        raise PergolaError("requests would fail, as they cannot be held: shop; not restarted")

    monkeypatch.setattr(restart, "restart", restart_fails)
    monkeypatch.setattr(apply.load, "take_back", lambda *what: backs.append(what))
    host.pending = {"max_connections": ("250", "320")}
    with pytest.raises(PergolaError, match="cannot be held: shop"):
        apply.apply(order(connections=300), kept)
    assert shared.written(Cluster(17)) == ""
    assert needs.noted() == {}
    assert backs == [(kept, apply.load.FOLDER)]
    assert "databases" not in host.done
    assert not [what for what in host.done if what.startswith("Caddy")]


def test_the_same_again_changes_nothing(host):
    assert apply.apply(NOTES).changed
    before = {path: path.stat().st_ino for path in (host.top / "applications").iterdir()}
    answer = apply.apply(NOTES)
    assert (answer.changed, answer.made, answer.restarted, answer.web) == (False, [], None, "")
    assert before == {path: path.stat().st_ino for path in (host.top / "applications").iterdir()}
    assert "restart" not in host.done


def test_a_server_that_is_down_is_started(host):
    host.runs = False
    assert apply.apply(NOTES).restarted
    assert host.done.index("restart") < host.done.index("databases")


def test_what_caddy_needed_is_a_change(host, monkeypatch):
    apply.apply(NOTES)
    monkeypatch.setattr(apply.load, "load", lambda kept, for_site: "reload")
    answer = apply.apply(NOTES)
    assert (answer.changed, answer.web) == (True, "reload")


def test_two_applications_are_applied_one_after_the_other(host, monkeypatch):
    """What both need is added up from their notes: neither may miss the other's."""
    at_work, most = [], []

    def load(*_, **__):
        at_work.append(1)
        most.append(len(at_work))
        time.sleep(0.1)
        at_work.pop()
        return ""

    monkeypatch.setattr(apply.load, "load", load)
    both = [NOTES, order(app="shop", databases=[Database("shop", "shop")])]
    with ThreadPoolExecutor() as pool:
        list(pool.map(apply.apply, both))
    assert most == [1, 1]
    assert set(needs.noted()) == {"notes", "shop"}


def test_one_without_a_database_has_no_part_of_postgresql(host):
    servers.FILE.unlink()
    apply.apply(order(has_database=False, databases=[]))
    assert host.done == ["systemd-sysusers", "systemd-tmpfiles", "Caddy, None"]
    assert needs.noted()["notes"].domains == ["notes.example.org"], "whose it is"


def test_a_library_stays_loaded_when_its_extension_is_taken_from_the_list(host):
    """The extension stays in the database, and statements there fail without its library."""
    apply.apply(order(databases=[Database("notes", "notes", ["pg_cron"])]))
    assert "'pg_cron'" in shared.written(Cluster(17))
    apply.apply(NOTES)
    assert needs.noted()["notes"].preload == ["pg_cron"]
    assert "'pg_cron'" in shared.written(Cluster(17))


def test_a_deploy_keeps_connections_that_another_one_needed(host):
    apply.apply(order(connections=300))
    apply.apply(NOTES)
    assert "max_connections = 320" in shared.written(Cluster(17))
    assert needs.noted()["notes"].connections == 60


def test_tcp_stays_when_it_is_not_asked_for_any_more(host):
    """An earlier release may need it."""
    assert order(tcp=True).need(Need()).tcp
    assert order().need(Need(tcp=True)).tcp
    assert not order().need(Need()).tcp


def test_files_that_are_in_no_backup_are_counted(host, tmp_path):
    (tmp_path / "data/more").mkdir(parents=True)
    (tmp_path / "data/one").write_text("12345")
    (tmp_path / "data/more/two").write_text("123")
    (tmp_path / "data/link").symlink_to("one")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/three").write_text("1")
    (tmp_path / "data/folder").symlink_to(tmp_path / "elsewhere")
    answer = apply.apply(order(files=[str(tmp_path / "data"), str(tmp_path / "none")]))
    assert answer.files == apply.Files(2, 8)


def test_more_files_than_can_be_counted_are_told_as_that(tmp_path, monkeypatch):
    monkeypatch.setattr(apply, "COUNT_SECONDS", -1)
    for number in range(5):
        (tmp_path / str(number)).touch()
    assert apply.counted([tmp_path]) == apply.Files(1, 0, more=True)


# -- the command line ------------------------------------------------------------------------------


@pytest.fixture
def typed(monkeypatch, capfd, host):
    monkeypatch.setattr(cli.os, "umask", lambda _: 0)

    def call(*words, sent):
        monkeypatch.setattr(sys, "argv", ["pergola-app", *map(os.fspath, words)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(sent))
        return cli.main(), capfd.readouterr()

    return call


def test_an_order_comes_on_standard_input_and_the_answer_is_one_line(host, typed):
    code, said = typed("look", sent=ORDER.text(NOTES))
    assert code == 0
    assert json.loads(said.out)["makes"] == MADE
    code, said = typed("apply", "--kept", host.top / "kept", sent=ORDER.text(NOTES))
    assert code == 0
    assert json.loads(said.out)["made"] == ["account notes", *MADE]
    assert f"Caddy, {host.top}/kept" in host.done


def test_a_failure_names_the_host(host, typed, monkeypatch):
    def load(kept, for_site):
        raise PergolaError("Caddy does not load the configuration")

    monkeypatch.setattr(apply.load, "load", load)
    code, said = typed("apply", sent=ORDER.text(NOTES))
    assert code == 1
    assert said.err.startswith(f"{cli.socket.gethostname()}: Caddy does not load")
