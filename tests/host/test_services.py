"""Services of an application, such as Valkey: their units, and how full the status finds them."""

import pwd
import shutil
import socket
import subprocess
import threading
from types import SimpleNamespace

import pytest
from looks import Host
from pergola import apps, system
from pergola.app import services
from pergola.app.services import Service
from pergola.apps import App
from pergola.errors import PergolaError
from pergola.status import applications, units
from pergola.status import services as looked
from pergola.status.config import Site
from pergola.status.seen import Application

UNIT = "notes@valkey.service"
MB = 2**20


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server with systemd's directory of units; what was asked of systemd, and what is active."""
    found = SimpleNamespace(folder=tmp_path / "units", done=[], active=set(), fails=False)
    found.folder.mkdir()
    monkeypatch.setattr(services, "UNITS", found.folder)
    monkeypatch.setattr(apps, "HOMES", tmp_path / "srv")
    programs = tmp_path / "valkey-check-rdb", tmp_path / "redis-check-rdb"
    programs[1].touch()
    monkeypatch.setattr(services, "PROGRAMS", programs)

    def systemctl(verb, *words):
        found.done.append(" ".join((verb, *words)))
        failed = verb == "restart" and found.fails
        if verb in ("restart", "stop"):
            (found.active.add if verb == "restart" else found.active.discard)(words[-1])
        return subprocess.CompletedProcess([], int(failed), "", "")

    monkeypatch.setattr(services, "systemctl", systemctl)
    monkeypatch.setattr(system, "systemctl", systemctl)
    monkeypatch.setattr(services, "is_active", lambda unit: unit in found.active)
    monkeypatch.setattr(services, "journal", lambda _: "out of memory")
    return found


def test_it_starts_once_and_nothing_restarts_it_until_its_settings_change(server):
    assert services.makes("notes", [Service("valkey")]) == [f"{UNIT} starts"]
    assert list(server.folder.iterdir()) == []
    assert services.apply("notes", [Service("valkey")]) == [f"{UNIT} starts"]
    assert f"restart {UNIT}" in server.done
    assert f"enable --no-reload {UNIT}" in server.done
    server.done.clear()
    assert services.makes("notes", [Service("valkey")]) == []
    assert services.apply("notes", [Service("valkey")]) == []
    assert server.done == []
    larger = [Service("valkey", memory_bytes=512 * MB)]
    (said,) = services.makes("notes", larger)
    assert said == f"{UNIT} restarts with other settings: what it has in memory only is lost"
    assert services.apply("notes", larger) == [said]
    assert f"restart {UNIT}" in server.done


def test_one_that_has_stopped_is_started_by_the_next_deploy(server):
    services.apply("notes", [Service("valkey")])
    server.active.clear()
    assert services.apply("notes", [Service("valkey")]) == []
    assert server.active == {UNIT}


def test_one_that_does_not_start_is_told_with_its_journal_and_tried_again(server):
    server.fails = True
    with pytest.raises(PergolaError, match="does not start") as refused:
        services.apply("notes", [Service("valkey")])
    assert "out of memory" in str(refused.value)
    server.fails, server.active = False, set()
    services.apply("notes", [Service("valkey")])
    assert server.active == {UNIT}


def test_taken_from_the_list_it_stops_and_its_data_stays_and_is_told(server):
    kept = [Service("valkey", persistent=True)]
    services.apply("notes", kept)
    data = services.data_of("notes", "valkey")
    data.mkdir(parents=True)
    assert services.left("notes", []) == []
    (data / "appendonly.aof").touch()
    assert services.left("notes", kept) == []
    assert services.left("notes", [Service("valkey")]) == [str(data)], "not kept any more"
    assert services.apply("notes", []) == [f"{UNIT} stops (it is not in app_services)"]
    assert server.active == set()
    assert not (server.folder / UNIT).exists()
    assert services.left("notes", []) == [str(data)]
    assert (data / "appendonly.aof").exists()


def test_no_refused_release_leaves_the_live_one_without_its_service(server, tmp_path):
    """Taken from the list, it goes on while the live release was told of it."""
    services.apply("notes", [Service("valkey", persistent=True)])
    slot, data = tmp_path / "srv/notes/slots/blue", services.data_of("notes", "valkey")
    for folder in (slot, data):
        folder.mkdir(parents=True)
    (data / "appendonly.aof").touch()
    (slot / "environment").write_text("Q='redis+socket:///run/notes/valkey/valkey.sock'\n")
    server.done.clear()
    assert services.makes("notes", []) == []
    assert services.apply("notes", []) == []
    assert server.done == []
    assert services.left("notes", []) == []
    (slot / "environment").write_text("Q='redis://elsewhere/run/notes'\n")
    assert services.apply("notes", []) == [f"{UNIT} stops (it is not in app_services)"]
    assert services.left("notes", []) == [str(data)]


def test_an_application_of_a_similar_name_keeps_its_own(server):
    for app in ("notes", "notes-2"):
        services.apply(app, [Service("valkey")])
    services.apply("notes", [])
    assert [path.name for path in server.folder.iterdir()] == ["notes-2@valkey.service"]


def test_it_runs_the_program_that_the_system_has_by_the_socket_only(server, tmp_path):
    redis = services.text_of("notes", Service("valkey", 64 * MB, "allkeys-lru"))
    assert f"ExecStart=@{tmp_path}/redis-check-rdb redis-server " in redis
    assert "--port 0 " in redis
    assert "--unixsocket /run/notes/valkey/valkey.sock" in redis
    assert f"--maxmemory {64 * MB} --maxmemory-policy allkeys-lru" in redis
    assert "--appendonly no" in redis
    assert f"MemoryMax={192 * MB}\n" in redis
    assert "User=notes-store\n" in redis
    assert "ReadWritePaths=-/run/notes/valkey\n" in redis
    (tmp_path / "valkey-check-rdb").touch()
    valkey = services.text_of("notes", Service("valkey", persistent=True))
    assert f"ExecStart=@{tmp_path}/valkey-check-rdb valkey-server " in valkey
    data = services.data_of("notes", "valkey")
    assert f"--appendonly yes --appendfsync everysec --dir {data}\n" in valkey
    assert f"ReadWritePaths=-/run/notes/valkey {data}\n" in valkey


def test_systemd_understands_its_unit(server, tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd here")
    (tmp_path / "redis-check-rdb").chmod(0o755)
    file = tmp_path / UNIT
    file.write_text(services.text_of("notes", Service("valkey", persistent=True)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", file], capture_output=True, text=True, check=False
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if UNIT in line]) == (0, [])


def test_somebody_elses_account_is_told_where_services_are_wanted(server, monkeypatch):
    def account(home):
        return lambda name: pwd.struct_passwd((name, "x", 1001, 1001, "", home, "/bin/sh"))

    monkeypatch.setattr(services.pwd, "getpwnam", account("/home/notes-store"))
    (said,) = services.wrong("notes", [Service("valkey")])
    assert "notes-store, which is there already (uid 1001, home /home/notes-store)" in said
    assert list(services.wrong("notes", [])) == []
    monkeypatch.setattr(services.pwd, "getpwnam", account(str(apps.HOMES / "notes/services")))
    assert list(services.wrong("notes", [Service("valkey")])) == []


def test_its_account_has_a_name_that_systemd_takes_for_the_longest_application():
    assert len(services.account_of("a" * 25)) <= 31


def test_what_closes_an_application_leaves_it_running(monkeypatch, tmp_path):
    running = ["notes@blue.service", UNIT, "notes.work.blue.service"]
    monkeypatch.setattr(apps, "listed", lambda *_: running)
    assert App(tmp_path / "notes").units() == ["notes@blue.service", "notes.work.blue.service"]


# -- in the status ---------------------------------------------------------------------------------

INFO = (
    "$50\r\n# Memory\r\nused_memory:{used}\r\nmaxmemory:{most}\r\nmaxmemory_policy:noeviction\r\n"
    "\r\n$20\r\n# Stats\r\nevicted_keys:3\r\n\r\n+PONG\r\n"
)


@pytest.fixture
def valkey(monkeypatch, tmp_path_factory):
    """Something that answers as Valkey does, once."""
    top = tmp_path_factory.mktemp("v")
    monkeypatch.setattr(apps, "RUN", top)
    (top / "notes/valkey").mkdir(parents=True)

    def answers(text):
        listener = socket.socket(socket.AF_UNIX)
        path = top / "notes/valkey/valkey.sock"
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen()

        def serve():
            with listener, listener.accept()[0] as connection:
                connection.recv(1000)
                for part in (text[:40], text[40:]):
                    connection.sendall(part.encode())

        threading.Thread(target=serve, daemon=True).start()

    return answers


def test_the_status_asks_it_how_full_it_is(valkey):
    valkey(INFO.format(used=90 * MB, most=100 * MB))
    (found,) = looked.seen([Site("notes", services=["valkey"]), Site("other")])
    assert (found.used_bytes, found.most_bytes, found.evicted) == (90 * MB, 100 * MB, 3)
    assert (found.eviction, found.error) == ("noeviction", "")


@pytest.mark.parametrize("text", ["-NOAUTH Authentication required.\r\n", "used_memory:1"])
def test_one_that_does_not_say_is_no_error_of_the_look(valkey, text):
    valkey(text)
    (found,) = looked.seen([Site("notes", services=["valkey"])])
    assert found.error.startswith("OSError: the answer was cut off")
    (gone,) = looked.seen([Site("elsewhere", services=["valkey"])])
    assert gone.error.startswith("FileNotFoundError")


def store(percent, eviction="noeviction", **more):
    one = {"app": "notes", "name": "valkey", "eviction": eviction, "error": "", "evicted": 0}
    return [one | {"used_bytes": percent * MB, "most_bytes": 100 * MB} | more]


def test_what_must_not_be_full_is_told_before_it_is():
    host = Host()
    host.look(services=store(50))
    assert host.state("valkey notes") == "ok"
    host.look(services=store(90))
    assert host.state("valkey notes") == "warning"
    assert "writes fail when it is full (noeviction)" in host.says("valkey notes")
    host.look(services=store(97, "volatile-lru"))
    assert host.state("valkey notes") == "critical"
    host.look(services=store(50))
    assert host.state("valkey notes") == "ok"


def test_a_cache_is_meant_to_be_full_and_its_evictions_are_shown():
    host = Host()
    host.look(services=store(100, "allkeys-lru", evicted=7))
    assert host.state("valkey notes") == "ok"
    assert "7 keys were removed to make room since its start" in host.says("valkey notes")


def test_one_that_does_not_say_keeps_its_state():
    host = Host()
    host.look(services=store(90))
    host.look(services=store(0, error="ConnectionRefusedError: refused"))
    assert host.state("valkey notes") == "warning"


def test_its_unit_must_run():
    site = Site("notes", services=["valkey"])
    app = applications.with_site(Application("notes", release="r1"), site)
    assert units.wanted([app], None)[UNIT].what == "a service of notes"
    assert UNIT not in units.wanted([Application("notes", release="r1")], None)
