"""The archive in time: PostgreSQL's checkpointer is woken, and a stop does not wait for a copy."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from pergola.backup import rest, wake
from pergola.backup.settings import Settings
from pergola.errors import PergolaError

PROJECT = Path(__file__).parents[2]

COMMAND = PROJECT / "roles/backup/files/pgbackrest-archive-push"
GIVEN_UP = 143


def pid_file(pid, status):
    return f"{pid}\n/data\n1795917190\n5432\n/run\n\n  1737043  4\n{status}\n"


@pytest.fixture
def data(tmp_path):
    """A data directory, and a pgbackrest on the PATH that notes its calls."""
    (tmp_path / "global").mkdir()
    (tmp_path / "global/pg_control").touch()
    (tmp_path / "postmaster.pid").write_text(pid_file(1, "ready   "))
    (tmp_path / "bin").mkdir()
    return tmp_path


def pgbackrest(data, does):
    program = data / "bin/pgbackrest"
    program.write_text(f'#!/bin/sh\necho "$@" >>{data}/calls\n{does}\n')
    program.chmod(0o755)


def stops(data, ago):
    (data / "postmaster.pid").write_text(pid_file(1, "stopping"))
    for file in ("postmaster.pid", "global/pg_control"):
        os.utime(data / file, (time.time() - ago,) * 2)


def archive(data):
    environment = {"PATH": f"{data}/bin:/usr/bin:/bin"}
    command = ["sh", COMMAND, "web1", "pg_wal/000000010000000000000001"]
    return subprocess.Popen(command, cwd=data, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("code", [0, 104])
def test_archiving_is_pgbackrests(data, code):
    pgbackrest(data, f"exit {code}")
    assert archive(data).wait(30) == code
    called = "--stanza=web1 archive-push pg_wal/000000010000000000000001\n"
    assert (data / "calls").read_text() == called


def test_a_stop_is_still_served_for_a_moment(data):
    pgbackrest(data, "exit 0")
    stops(data, ago=0)
    assert archive(data).wait(30) == 0


def test_what_waits_when_the_server_stops_is_given_up(data):
    pgbackrest(data, "exec sleep 60")
    done = archive(data)
    while not (data / "calls").exists():
        time.sleep(0.01)
    stops(data, ago=1)
    _, says = done.communicate(timeout=30)
    assert done.returncode == GIVEN_UP
    assert "000000010000000000000001 is sent after its next start" in says


def test_after_that_nothing_is_begun(data):
    pgbackrest(data, "exit 0")
    stops(data, ago=5)
    assert archive(data).wait(30) == GIVEN_UP
    assert not (data / "calls").exists()


def process(root, pid, parent, title):
    (root / str(pid)).mkdir()
    (root / f"{pid}/cmdline").write_bytes(title.encode())
    (root / f"{pid}/stat").write_text(f"{pid} (postgres: (x) y) S {parent} 1 1")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Two servers' processes; signals are noted, not sent."""
    processes = tmp_path / "proc"
    processes.mkdir()
    (processes / "self").mkdir()
    process(processes, 10, 1, "/usr/lib/postgresql/17/bin/postgres -D /data")
    process(processes, 11, 9, "postgres: 17/other: checkpointer ")
    process(processes, 12, 10, "postgres: 17/main: checkpointer ")
    sent = []
    monkeypatch.setattr(wake, "PROCESSES", processes)
    (tmp_path / "17/main").mkdir(parents=True)
    monkeypatch.setattr(wake, "DATA", tmp_path)
    monkeypatch.setattr(os, "kill", lambda *call: sent.append(call))
    return tmp_path / "17/main/postmaster.pid", sent


def test_the_checkpointer_of_a_server_that_came_up_is_woken(server):
    file, sent = server
    file.write_text(pid_file(10, "ready   "))
    wake.wake("17/main")
    assert sent == [(12, signal.SIGUSR1)]


@pytest.mark.parametrize(
    ("pid", "status"), [(10, "stopping"), (10, "standby "), (99, "ready   "), (99, "starting")]
)
def test_of_one_that_is_down_or_stops_nothing_is_touched(server, pid, status):
    file, sent = server
    file.write_text(pid_file(pid, status))
    wake.wake("17/main")
    assert sent == []


def test_without_the_file_there_is_no_server(server):
    wake.wake("17/main")
    assert server[1] == []


def test_a_recovery_is_waited_for(server, monkeypatch):
    file, sent = server
    file.write_text(pid_file(10, "starting"))
    monkeypatch.setattr(time, "sleep", lambda _: file.write_text(pid_file(10, "ready   ")))
    wake.wake("17/main")
    assert len(sent) == 1


def test_a_server_without_a_checkpointer_is_an_error(server):
    file, _ = server
    file.write_text(pid_file(10, "ready   "))
    (wake.PROCESSES / "12/cmdline").write_bytes(b"postgres: 17/main: walwriter ")
    with pytest.raises(PergolaError, match="no checkpointer"):
        wake.wake("17/main")


def test_what_a_stop_did_not_archive_is_sent_from_the_data_that_is_kept(tmp_path, monkeypatch):
    status = tmp_path / "pg_wal/archive_status"
    status.mkdir(parents=True)
    for name in ("000000010000000000000007", "000000010000000000000008"):
        (tmp_path / "pg_wal" / name).touch()
        (status / f"{name}.ready").touch()
    (status / "000000010000000000000006.done").touch()
    sent = []

    def push(*command):
        sent.append(command)
        code = 104 if command[-1].name.endswith("8") else 0
        return subprocess.CompletedProcess(command, code, "", "")

    monkeypatch.setattr(rest, "pgbackrest", push)
    settings = Settings("web1", 17, ())
    says = rest.send_rest(settings, tmp_path)
    assert [command[-1].name[-1] for command in sent] == ["7", "8"]
    assert all(f"--pg1-path={tmp_path}" in command for command in sent)
    assert "1 WAL files of before" in says
    monkeypatch.setattr(rest, "SECONDS", -1)
    assert "2 WAL files of before" in rest.send_rest(settings, tmp_path)
    assert rest.send_rest(settings, tmp_path / "nothing") == ""
