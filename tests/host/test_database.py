"""`pergola-postgresql`: databases and roles, settings, the restart that requests wait for."""

import contextlib
import json
import subprocess
import sys

import pytest
from pergola import apps, lock, postgres
from pergola.database import cli, databases, needs, restart, settings, shared, state
from pergola.database import server as servers
from pergola.database.needs import Need
from pergola.documents import converted
from pergola.errors import PergolaError
from pergola.lock import Place
from pergola.postgres import Cluster

NOBODY = {"login": True, "powers": False}
EMPTY = {"roles": {"postgres": NOBODY}, "databases": {}, "members": [], "available": ["pg_trgm"]}
SHOP = databases.Database("my-shop", "my-shop", ["pg_trgm"], ["ada"], [])


def server(found):
    return converted(found, state.ServerState, "the server")


def test_on_a_new_server_everything_is_made():
    steps = list(databases.server_steps([SHOP], server(EMPTY)))
    assert [step.sql for step in steps] == [
        'create role "my-shop" login',
        'create role "my-shop_read" nologin',
        'create database "my-shop" owner "my-shop"',
        'revoke all on database "my-shop" from public',
        'grant connect on database "my-shop" to "my-shop_read"',
        'create role "ada" login',
        'grant "my-shop_read" to "ada"',
    ]
    assert [step.says for step in steps if step.alone] == ["database my-shop"]
    inside = [step.sql for step in databases.database_steps(SHOP, state.DatabaseState(), [])]
    assert inside[0] == 'create extension if not exists "pg_trgm" cascade'
    assert (
        'alter default privileges for role "my-shop" grant SELECT on tables to "my-shop_read"'
        in inside
    )
    assert not any("_write" in sql for sql in inside)


def test_an_application_has_its_own_part_of_the_connections():
    shop = databases.Database("my-shop", "my-shop", connections=60)
    steps = [step.sql for step in databases.server_steps([shop], server(EMPTY))]
    limit = 'alter role "my-shop" connection limit 60'
    assert steps.index(limit) > steps.index('create role "my-shop" login')
    found = {**EMPTY, "roles": {"my-shop": {**NOBODY, "limit": 60}}}
    assert limit not in [step.sql for step in databases.server_steps([shop], server(found))]


def test_the_servers_own_databases_are_closed_once():
    found = {
        **EMPTY,
        "databases": {
            "postgres": {"owner": "postgres", "granted": ["postgres", "public"]},
            "template1": {"owner": "postgres", "granted": ["postgres"]},
        },
    }
    steps = list(databases.server_steps([], server(found)))
    assert [step.says for step in steps] == ["postgres: closed to applications"]
    assert "grant connect on database postgres to pg_monitor" in steps[0].sql


def test_who_reads_nothing_any_more_may_not_sign_in_and_is_let_in_again():
    found = {
        "roles": {**dict.fromkeys(["shop", "shop_read", "ada", "eve", "more_read"], NOBODY)},
        "databases": {"shop": {"owner": "shop", "granted": ["shop", "shop_read"]}},
        "members": [["shop_read", "ada"], ["shop_read", "eve"], ["more_read", "eve"]],
        "available": [],
    }
    says = [
        step.says
        for step in databases.server_steps([databases.Database("shop", "shop")], server(found))
    ]
    assert [text for text in says if text] == [
        "ada not in shop_read any more",
        "ada may not sign in any more",
        "eve not in shop_read any more",
    ]
    found["roles"]["ada"] = {**NOBODY, "login": False}
    found["members"] = []
    wanted = databases.Database("shop", "shop", readers=["ada"])
    assert [step.says for step in databases.server_steps([wanted], server(found))] == [
        "ada may sign in again",
        "ada in shop_read",
    ]


def test_a_reader_who_moves_to_a_later_database_signs_in():
    """The first database shuts out who was in its group only; the second lets them in again."""
    names = ["notes", "notes_read", "shop", "ada"]
    found = {
        "roles": dict.fromkeys(names, NOBODY),
        "databases": {
            "notes": {"owner": "notes", "granted": ["notes", "notes_read"]},
            "shop": {"owner": "shop", "granted": ["shop"]},
        },
        "members": [["notes_read", "ada"]],
        "available": [],
    }
    wanted = [
        databases.Database("notes", "notes"), databases.Database("shop", "shop", readers=["ada"])
    ]  # fmt: skip
    steps = list(databases.server_steps(wanted, server(found)))
    logins = [step.sql for step in steps if step.sql.startswith('alter role "ada"')]
    assert logins == ['alter role "ada" nologin', 'alter role "ada" login']
    assert steps[-1].sql == 'grant "shop_read" to "ada"'


def test_what_is_there_is_left_alone():
    found = {
        "roles": dict.fromkeys(["my-shop", "my-shop_read", "ada"], NOBODY),
        "databases": {"my-shop": {"owner": "my-shop", "granted": ["my-shop", '"my-shop_read"']}},
        "members": [["my-shop_read", "ada"]],
        "available": ["pg_trgm"],
    }
    assert list(databases.server_steps([SHOP], server(found))) == []
    defaults = [
        ["my-shop", kind, "my-shop_read", privilege]
        for kind, (_, read, _) in databases.PRIVILEGES.items()
        for privilege in read
    ]
    inside = state.DatabaseState(["plpgsql", "pg_trgm"], defaults=[tuple(one) for one in defaults])
    assert list(databases.database_steps(SHOP, inside, [])) == []


def test_an_owner_with_power_over_the_server_loses_it():
    found = {**EMPTY, "roles": {"my-shop": {"login": True, "powers": True}}}
    sql = [step.sql for step in databases.server_steps([SHOP], server(found))]
    assert sql[0] == 'alter role "my-shop" login nosuperuser nocreatedb nocreaterole'


LOG = """\
2026-11-24 19:00:00 UTC [1] LOG:  skipping missing configuration file "/run/x/postgresql.auto.conf"
2026-11-24 19:00:00.000 UTC [2] LOG:  unrecognized configuration parameter "shared_bufers" in \
file "/run/pergola-x/config/conf.d/pergola.conf" line 33
2026-11-24 19:00:00.000 UTC [2] FATAL:  configuration file "/x/pergola.conf" contains errors
postgres: superuser_reserved_connections (9) must be less than max_connections (5)
"""


def test_a_refusal_names_the_setting_as_the_user_set_it():
    text = "jit = off  # ours\nshared_bufers = '1GB'  # postgresql_settings\n"
    assert settings.wrong_lines(LOG, text) == [
        "postgresql_settings: shared_bufers: unrecognized configuration parameter "
        '"shared_bufers" in conf.d/pergola.conf',
        "superuser_reserved_connections (9) must be less than max_connections (5)",
    ]


# -- what the server answers -----------------------------------------------------------------------


class Server(Cluster):
    """A cluster whose server answers a query by what it begins with."""

    answers: dict = {}  # noqa: RUF012
    asked: list = []  # noqa: RUF012

    def sql(self, script, database="postgres", *options, **more):
        self.asked.append((database, script, *options))
        return next((says for part, says in self.answers.items() if part in script), "")


@pytest.fixture
def asked(monkeypatch):
    monkeypatch.setattr(Server, "asked", [])
    monkeypatch.setattr(
        Server,
        "answers",
        {
            "'available'": json.dumps({**EMPTY, "quiet": []}),
            "'schemas'": json.dumps({"extensions": [], "schemas": ["public"], "defaults": []}),
        },
    )
    return Server.asked


def test_what_is_missing_is_made_one_database_after_the_other(asked):
    said = databases.bring(Server(17), [SHOP], only_look=False)
    assert said[0] == "statements of the superuser that fail are not logged"
    assert "database my-shop" in said
    (first, *_) = [one for one in asked if "create extension" in one[1]]
    assert first[0] == "postgres"
    assert '"pg_stat_statements"' in first[1]
    made = [one for one in asked if "create database" in one[1]]
    assert [one[2:] for one in made] == [()], "it cannot be made within a transaction"
    inside = next(one for one in asked if 'create extension if not exists "pg_trgm"' in one[1])
    assert inside[0] == "my-shop"
    assert "--single-transaction" in inside


def test_to_look_changes_nothing(asked):
    assert databases.bring(Server(17), [SHOP], only_look=True)
    assert not [one for one in asked if "create " in one[1]]


def test_an_extension_that_the_server_lacks_is_refused_before_anything_is_made(asked):
    wanted = databases.Database("a", "a", ["nonsense"])
    says = "app_databases names extensions that this server does not have: nonsense. Correct the"
    with pytest.raises(PergolaError, match=says):
        databases.bring(Server(17), [wanted], only_look=False)
    assert not [one for one in asked if "create " in one[1]]
    looked = databases.bring(Server(17), [wanted], only_look=True)
    assert "a: extension nonsense" in looked, "a package of this run may bring it"


# -- restarts and reloads --------------------------------------------------------------------------


@pytest.fixture
def host(tmp_path, monkeypatch, asked):
    """A host whose applications can be held; what was done to it, in its order."""
    done = []

    @contextlib.contextmanager
    def paused(must):
        done.append(f"paused, must={must}")
        yield {"shop": "no disk"}
        done.append("goes on")

    def systemctl(*words):
        done.append(" ".join(words))
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(apps, "HOMES", tmp_path / "srv")
    monkeypatch.setattr(apps, "SERVER", Place("this server", tmp_path / "run/pergola"))
    monkeypatch.setattr(lock, "SERVER", apps.SERVER)
    monkeypatch.setattr(apps, "paused", paused)
    monkeypatch.setattr(restart, "systemctl", systemctl)
    monkeypatch.setattr(restart, "reread", lambda *_: None)
    monkeypatch.setattr(restart, "check", lambda server: done.append("checked"))
    monkeypatch.setattr(restart.drift, "put_right", lambda *_: [])
    monkeypatch.setattr(postgres, "CONFIGURATIONS", tmp_path / "etc")
    monkeypatch.setattr(servers, "FILE", tmp_path / "postgresql.json")
    servers.FILE.write_text('{"version": 17}')
    monkeypatch.setattr(needs, "FOLDER", tmp_path / "applications")
    monkeypatch.setattr(Cluster, "is_in_service", lambda self: True)
    (tmp_path / "etc/17/main/conf.d").mkdir(parents=True)
    Server.answers |= {
        "json_object_agg(name, setting)": '{"max_connections": "250"}',
        "pending_restart": "{}", "pg_conf_load_time": "0", "postgresql.auto.conf": "[]"
    }  # fmt: skip
    return done


def test_a_restart_is_between_a_pause_and_its_end(host, asked):
    answer = restart.restart(Server(17))
    assert host == [
        "checked", "paused, must=True", "restart postgresql@17-main.service", "goes on"
    ]  # fmt: skip
    assert answer.not_held == {"shop": "no disk"}
    assert asked[0][1] == "checkpoint"


def test_a_server_that_is_down_is_started_whether_or_not_requests_can_be_held(host, monkeypatch):
    monkeypatch.setattr(Cluster, "is_in_service", lambda self: False)
    restart.restart(Server(17))
    assert "paused, must=False" in host


def test_nothing_restarts_while_somebody_is_at_work(host, monkeypatch):
    held = lock.locked([apps.SERVER], "a restore")
    refused = pytest.raises(PergolaError, match=r"a restore.*; PostgreSQL was not restarted")
    locked = apps.locked
    monkeypatch.setattr(apps, "locked", lambda what: locked(what, lock.AT_ONCE))
    with held, refused:
        restart.restart(Server(17))
    assert host == ["checked"]


def test_nothing_restarts_while_an_applications_requests_cannot_be_held(host, monkeypatch):
    @contextlib.contextmanager
    def paused(must):
        assert must
        raise PergolaError("requests would fail", "notes: no disk", hint="run deploy.yml first")
        yield

    monkeypatch.setattr(apps, "paused", paused)
    refused = pytest.raises(PergolaError, match="requests would fail; PostgreSQL was not restarted")
    with refused as failed:
        restart.restart(Server(17))
    assert (failed.value.evidence, failed.value.hint) == ("notes: no disk", "run deploy.yml first")
    assert host == ["checked"]


def test_a_restart_that_leaves_settings_waiting_is_told(host):
    Server.answers["pending_restart"] = '{"jit": ["on", null]}'
    with pytest.raises(PergolaError, match="without its new jit"):
        restart.restart(Server(17))


def test_a_reload_tells_what_waits_for_a_restart(host, asked):
    Server.answers["pending_restart"] = '{"jit": ["on", null], "port": ["1", "2"]}'
    Server.answers["pg_conf_load_time"] = "9e12"
    answer = restart.reload(Server(17), only_look=False)
    assert (answer.changed, answer.reloaded, answer.running) == (True, False, True)
    assert answer.pending == {"jit": ("on", None), "port": ("1", "2")}
    assert not [one for one in asked if "pg_reload_conf" in one[1]]


def test_a_file_that_is_newer_is_read(host, asked, monkeypatch):
    monkeypatch.setattr(restart, "wait_until_loaded", lambda *_: None)
    assert restart.reload(Server(17), only_look=True).reloaded
    assert not [one for one in asked if "pg_reload_conf" in one[1]]
    assert restart.reload(Server(17), only_look=False).reloaded
    assert [one for one in asked if "pg_reload_conf" in one[1]]


def test_a_reload_takes_what_applications_need(host, monkeypatch):
    """Provision: it writes the sum, and to look tells what that would restart."""
    needs.NEED.write(needs.path_of("shop"), Need(connections=400))
    answer = restart.reload(Server(17), only_look=True)
    assert answer.changed
    assert answer.pending == {"max_connections": ("250", "420")}
    assert shared.written(Server(17)) == ""
    (Server(17).configuration / "postgresql.conf").touch()
    monkeypatch.setattr(shared.settings, "check", lambda *_: host.append("checked"))
    monkeypatch.setattr(restart, "wait_until_loaded", lambda *_: None)
    restart.reload(Server(17), only_look=False)
    assert "max_connections = 420  # needed: 400 for shop + 20 for" in shared.written(Server(17))


def test_a_server_that_is_down_waits_for_nothing(host, monkeypatch):
    monkeypatch.setattr(Cluster, "is_in_service", lambda self: False)
    answer = restart.reload(Server(17), only_look=True)
    assert (answer.changed, answer.running, answer.pending) == (True, False, {})


# -- the command line ------------------------------------------------------------------------------


def test_the_cluster_is_that_of_the_noted_version(tmp_path, monkeypatch):
    monkeypatch.setattr(servers, "FILE", tmp_path / "postgresql.json")
    with pytest.raises(PergolaError, match="is missing"):
        servers.cluster()
    (tmp_path / "postgresql.json").write_text('{"version": 17}\n')
    assert servers.cluster() == Cluster(17)
    assert servers.cluster(15) == Cluster(15)


def test_the_databases_are_those_that_deploys_have_noted(host, asked, monkeypatch, capfd):
    """The server's readers read them; what a deploy asked for is all that is made."""
    servers.FILE.write_text('{"version": 17, "readers": ["eve"]}')
    needs.NEED.write(needs.path_of("my-shop"), Need(60, databases=[SHOP]))
    monkeypatch.setattr(cli, "cluster", Server)
    monkeypatch.setattr(sys, "argv", ["pergola-postgresql", "databases", "--only-look"])
    assert cli.main() == 0
    said = json.loads(capfd.readouterr().out)
    assert said["changed"]
    assert {"database my-shop", "eve in my-shop_read"} <= set(said["made"])
    needs.path_of("my-shop").unlink()
    assert cli.main() == 0
    assert "database my-shop" not in json.loads(capfd.readouterr().out)["made"]


def test_a_refusal_names_the_host_and_an_answer_is_one_line(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(servers, "FILE", tmp_path / "postgresql.json")
    monkeypatch.setattr(sys, "argv", ["pergola-postgresql", "check"])
    monkeypatch.setattr(cli.os, "umask", lambda _: 0)
    assert cli.main() == 1
    assert "postgresql.json is missing\nnext: run provision.yml" in capfd.readouterr().err
    monkeypatch.setattr(sys, "argv", ["pergola-postgresql", "--version", "17", "check"])
    monkeypatch.setattr(settings, "check", lambda *_: None)
    assert cli.main() == 0
    assert json.loads(capfd.readouterr().out) == {"changed": False}
