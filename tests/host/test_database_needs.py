"""What the applications of a server need of PostgreSQL, added up in a file of its own."""

import json

import pytest
from pergola import postgres
from pergola.database import needs, shared
from pergola.database.databases import Database
from pergola.database.needs import Need
from pergola.database.server import Noted
from pergola.errors import PergolaError
from pergola.postgres import Cluster

SERVER = Noted(17, other_connections=20, least=250, work_mb=3000)
NOTES, SHOP = Need(110), Need(150)


def settings(server=SERVER, libraries=("pg_stat_statements",), at_least=0, **applications):
    """What their needs are beyond the server's own file, by name."""
    found = needs.shares(server, applications, libraries, at_least)
    return {name: value for name, (value, _) in found.items()}


def test_what_the_server_has_anyway_is_not_said_again():
    assert settings() == {}
    assert settings(notes=Need(80, preload=["pg_stat_statements"])) == {}
    assert needs.text({}) == ""


def test_connections_are_those_of_all_applications_and_of_others():
    assert "max_connections" not in settings(notes=Need(230))
    assert settings(notes=Need(231))["max_connections"] == "251"
    found = needs.shares(SERVER, {"shop": SHOP, "notes": NOTES}, [])
    assert found["max_connections"] == (
        "280",
        "needed: 110 for notes + 150 for shop + 20 for backups, monitoring, migrations and "
        "consoles",
    )


def test_a_deploy_takes_no_connections_away():
    """A restart for that is left to a run that looks after the server."""
    assert settings(notes=NOTES, at_least=280)["max_connections"] == "280"
    assert "max_connections" not in settings(notes=NOTES)


@pytest.mark.parametrize(
    ("connections", "work_mb", "wanted"),
    [
        (80, 3000, None),  # a hundred with the others: the server's own is for these
        (81, 3000, "9MB"),  # 3000 / (101 x 3)
        (180, 3000, "5MB"),
        (980, 3000, "4MB"),  # PostgreSQL's own default is the least
        (81, 30000, "64MB"),  # and more is for nobody who has not asked for it
        (980, 0, None),  # an earlier Pergola has not noted it
    ],
)
def test_memory_for_sorts_is_that_of_the_connections_that_are_needed(connections, work_mb, wanted):
    server = Noted(17, least=1000, work_mb=work_mb)
    assert settings(server, notes=Need(connections)).get("work_mem") == wanted


def test_memory_for_sorts_is_the_users_where_it_is_set():
    assert "work_mem" in settings(notes=NOTES)
    own = Noted(17, least=250, work_mb=3000, own=["jit", "work_mem"])
    assert "work_mem" not in settings(own, notes=NOTES)


def test_libraries_are_the_servers_and_those_of_the_applications():
    wanted = {"notes": Need(preload=["pg_cron"]), "shop": Need(preload=["pgaudit", "pg_cron"])}
    found = settings(libraries=["pg_stat_statements"], **wanted)
    assert found == {"shared_preload_libraries": "'pg_cron,pg_stat_statements,pgaudit'"}
    assert settings(libraries=["pg_cron", "pgaudit"], **wanted) == {}


def test_too_few_connections_that_somebody_has_set_are_refused_with_the_sum():
    server = Noted(17, connections=150, other_connections=20)
    needed = {"notes": Need(110), "shop": Need(60)}
    with pytest.raises(PergolaError) as refused:
        needs.shares(server, needed, [])
    assert refused.value.reason == (
        "postgresql_max_connections 150 is too small: 110 for notes + 60 for shop + 20 for "
        "backups, monitoring, migrations and consoles are 190"
    )
    assert "set it to 190 or more in the inventory that provisions this server" in str(
        refused.value
    )
    enough = Noted(17, connections=190, other_connections=20, least=250)
    assert settings(enough, at_least=400, **needed) == {}, "what is set is the server's"


def test_what_is_written_is_read_back_as_postgresql_takes_it():
    found = needs.shares(SERVER, {"notes": Need(300, preload=["pg_cron"])}, ["auto_explain"])
    text = needs.text(found)
    assert text.startswith("# Written by Pergola")
    assert dict(needs.values(text)) == {
        "max_connections": "320",
        "work_mem": "4MB",  # 3000 / (320 x 3) would be less
        "shared_preload_libraries": "auto_explain,pg_cron",
    }


def test_operators_read_every_database_and_an_application_has_its_share_of_connections():
    server = Noted(17, readers=["ada", "eve"])
    need = Need(60, databases=[Database("notes", "notes", readers=["ada"]), Database("x", "bob")])
    assert needs.own_databases("notes", need, server) == [
        Database("notes", "notes", readers=["ada", "eve"], connections=60),
        Database("x", "bob", readers=["ada", "eve"]),
    ]
    (one,) = needs.own_databases("a", Need(databases=[Database("a", "a")]), server)
    assert one.connections is None, "an earlier Pergola noted none"


# -- the file --------------------------------------------------------------------------------------


class Server(Cluster):
    """A cluster that runs with 250 connections."""

    in_force: dict = {}  # noqa: RUF012

    def sql(self, script, *_, **__):
        return json.dumps(self.in_force)

    def is_in_service(self):
        return bool(self.in_force)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    monkeypatch.setattr(postgres, "CONFIGURATIONS", tmp_path / "etc")
    monkeypatch.setattr(needs, "FOLDER", tmp_path / "applications")
    libraries = "pg_stat_statements"
    in_force = {"max_connections": "250", "shared_preload_libraries": libraries}
    monkeypatch.setattr(Server, "in_force", in_force)
    found = Server(17)
    found.conf_d.mkdir(parents=True)
    (found.configuration / "postgresql.conf").touch()
    (found.conf_d / "pergola.conf").write_text(
        f"max_connections = 250  # two\nshared_preload_libraries = '{libraries}'  # ours\n"
    )
    return found


@pytest.fixture
def checked(monkeypatch):
    """The files with which the server's own program was asked whether it would start."""
    seen = []
    monkeypatch.setattr(shared.settings, "check", lambda cluster, files: seen.append(files))
    return seen


def wanted(cluster, lowers=False, **applications):
    return shared.wanted(cluster, SERVER, applications, lowers)


def test_a_note_of_each_application_is_read_and_one_of_an_earlier_pergola_too(cluster):
    assert needs.noted() == {}
    needs.NEED.write(needs.path_of("notes"), NOTES)
    needs.path_of("shop").write_text('{"connections": 60, "preload": ["pg_cron"]}\n')
    assert needs.noted() == {"notes": NOTES, "shop": Need(60, preload=["pg_cron"])}


def test_the_file_is_written_once_it_was_checked_and_goes_when_nobody_needs_it(cluster, checked):
    content = wanted(cluster, notes=Need(300))
    assert shared.settle(cluster, content)
    assert shared.written(cluster) == content
    assert checked == [{needs.FILE: content}]
    assert not shared.settle(cluster, content)
    assert len(checked) == 1
    assert shared.settle(cluster, "")
    assert not (cluster.conf_d / needs.FILE).exists()


def test_what_the_server_would_not_start_with_is_not_written(cluster, monkeypatch):
    def check(*_):
        raise PergolaError("no")

    monkeypatch.setattr(shared.settings, "check", check)
    with pytest.raises(PergolaError, match="no"):
        shared.settle(cluster, wanted(cluster, notes=Need(300)))
    assert shared.written(cluster) == ""


def test_a_server_that_is_not_there_yet_gets_no_file(cluster, checked):
    (cluster.configuration / "postgresql.conf").unlink()
    assert not shared.settle(cluster, "max_connections = 300  # x\n")
    assert not (cluster.conf_d / needs.FILE).exists()


def test_fewer_connections_come_by_provisioning_the_server_only(cluster, checked):
    shared.settle(cluster, wanted(cluster, notes=Need(300)))
    deployed = wanted(cluster, notes=Need(250))
    assert "max_connections = 320  # needed: 250 for notes" in deployed
    assert shared.restarts(cluster, deployed) == {"max_connections": ("250", "320")}
    assert "max_connections = 270  " in wanted(cluster, lowers=True, notes=Need(250))
    assert "max_connections" not in wanted(cluster, lowers=True, notes=Need(200))


def test_the_servers_own_libraries_are_those_of_its_own_file(cluster):
    line = "shared_preload_libraries = 'auto_explain,pg_stat_statements'  # postgresql_settings\n"
    (cluster.conf_d / "pergola.conf").write_text(line)
    content = wanted(cluster, notes=Need(preload=["pg_cron"]))
    assert "= 'auto_explain,pg_cron,pg_stat_statements'  #" in content


def test_what_postgresql_restarts_for_is_told_before(cluster):
    more = wanted(cluster, notes=Need(300, preload=["pg_cron"]))
    assert shared.restarts(cluster, more) == {
        "max_connections": ("250", "320"),
        "shared_preload_libraries": ("pg_stat_statements", "pg_cron,pg_stat_statements"),
    }
    less = wanted(cluster, notes=Need(200))
    assert "work_mem" in less, "that needs no restart"
    assert shared.restarts(cluster, less) == {}


def test_nothing_restarts_that_does_not_run(cluster, monkeypatch):
    monkeypatch.setattr(Server, "in_force", {})
    assert shared.restarts(cluster, wanted(cluster, notes=Need(300))) == {}


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        ("", "'127.0.0.1'"),
        ("10.0.0.5", "'10.0.0.5,127.0.0.1'"),
        ("*", None),
        ("localhost", None),
        ("10.0.0.5, 127.0.0.1", None),
        ("::", "'::,127.0.0.1'"),
    ],
)
def test_the_server_listens_on_loopback_for_whoever_asks_and_beside_its_own(own, wanted):
    asking = {"notes": Need(10, tcp=True), "shop": Need(10)}
    found = needs.shares(SERVER, asking, [], listens=own)
    assert found.get("listen_addresses", (None, ""))[0] == wanted
    assert "listen_addresses" not in needs.shares(SERVER, {"shop": Need(10)}, [], listens=own)


def test_the_servers_own_addresses_are_read_from_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(postgres, "CONFIGURATIONS", tmp_path)
    cluster = Cluster(17)
    cluster.conf_d.mkdir(parents=True)
    asking = {"notes": Need(10, tcp=True)}
    assert "listen_addresses" not in shared.wanted(cluster, SERVER, asking), "localhost by default"
    (cluster.conf_d / "pergola.conf").write_text("listen_addresses = ''  # no network\n")
    found = dict(needs.values(shared.wanted(cluster, SERVER, asking)))
    assert found["listen_addresses"] == "127.0.0.1"
