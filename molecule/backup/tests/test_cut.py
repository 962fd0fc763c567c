"""A restore that is cut off at any of its steps: after the boot it is known which data is in force.

The server loses its power, or the program is killed. Each time the site serves again by itself,
the rows are those of before or those of the target, and undo and a moment give the right ones.
"""

import contextlib
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import scenario
from conftest import PROJECT
from rows import Rows
from scenario import wait_for
from testinfra.host import Host

sys.path.insert(0, str(PROJECT / "host"))
from pergola.backup.unit import PROPERTIES

INTENT = "/var/lib/pergola/restore.json"
RECORD = "/var/lib/pergola/restores.jsonl"
PAGE = "/srv/probe/live/maintenance.html"
SOCKETS = "/var/lib/postgresql/pergola-scratch/sockets"
# Runs the program as it is, in its unit, until a step; there it waits for its end.
DRIVER = """
import pathlib, signal, sys, time
sys.path.insert(0, "/usr/local/lib/pergola/current")
from pergola.backup import changes, cli, fence, intent, places, repository, restore
step, *words = sys.argv[1:]

def hold():
    pathlib.Path("/run/cut-here").touch()
    while True:
        time.sleep(60)

def held(owner, name, before=None, after=None, when=lambda *_: True):
    real = getattr(owner, name)
    def wrapped(*given, **more):
        if before == step and when(*given):
            hold()
        answer = real(*given, **more)
        if after == step and when(*given):
            hold()
        return answer
    setattr(owner, name, wrapped)

def half(work, change):
    if step == "recorded by half":
        with changes.FILE.open("a") as file:
            file.write('{"id": "' + change.id)
        hold()
    record(work, change)

record, restore.Work.record = restore.Work.record, half
held(repository.Repositories, "do", after="copied", when=lambda _, verb, *__: verb == "restore")
held(fence.Closed, "stop", before="closed")
held(places, "exchange", before="named", after="exchanged")
held(restore.Work, "record", after="recorded")
held(intent.Intent, "end", before="opened")
sys.argv = ["pergola-backup", "--here", *words]
sys.exit(cli.main())
"""
BEFORE_IT_IS_IN_FORCE = ("copied", "closed", "named", "exchanged", "recorded by half")
# How far the databases were touched: there undo is tried too.
TOUCHED = ("exchanged", "recorded by half")


def until(host: Host, step: str, *words: str) -> None:
    """Have the program at work, and stopped in a step."""
    host.check_output("rm -f /run/cut-here")
    command = ["systemd-run", "--quiet", "--collect", *PROPERTIES]
    command += ["python3", "-I", "-c", DRIVER, step, *words]
    host.check_output(shlex.join(command).replace("%", "%%"))
    there = "test -e /run/cut-here || ! systemctl is-active --quiet pergola-restore"
    wait_for(f"the step {step}", lambda: host.run(there).rc == 0)
    assert host.file("/run/cut-here").exists, host.run("journalctl -n 30 -u pergola-restore").stdout


def power_is_lost(host: Host) -> None:
    scenario.testhosts("kill", "web1")
    scenario.testhosts("start", "web1")
    wait_for("a login", lambda: host.run("true").rc == 0)


def program_is_killed(host: Host) -> None:
    host.check_output("systemctl kill --kill-whom=main --signal=KILL pergola-restore")


def serves_again(host: Host, site: scenario.Site) -> None:
    """By itself: nobody does anything."""
    wait_for("it is settled", lambda: not host.file(INTENT).exists)
    wait_for("the application's database", lambda: site.get("/db").status_code == 200)
    assert not host.file(PAGE).exists
    left = "ls -d /var/lib/postgresql/*/main.restoring* /var/lib/postgresql/*/tablespaces-*"
    assert host.run(left).stdout == ""
    marks = "ls /var/lib/postgresql/*/*/pergola-restore-id"
    assert host.run(marks).stdout == ""


def finding(host: Host) -> dict[str, Any]:
    checks = json.loads(host.run("pergola-status --json").stdout)["checks"]
    return next(check for check in checks if check["name"] == "restore")


@pytest.fixture
def two(rows: Rows) -> tuple[str, set[int], set[int]]:
    """A moment, the rows that it has, and those of now."""
    rows.add(rows.next())
    moment, then = rows.moment(), rows.there()
    rows.add(rows.next())
    return moment, then, rows.there()


@pytest.fixture
def beside(web1: Host, pergola_backup: Callable[..., str]) -> Callable[[str], set[int]]:
    """The rows of a moment, seen beside the live server."""

    def look(moment: str) -> set[int]:
        pergola_backup("scratch", f"--to={moment}")
        ask = f"cd / && runuser -u postgres -- psql -h {SOCKETS} -d probe -XqAtc %s"
        try:
            return {int(n) for n in web1.check_output(ask, "select number from probe_rows").split()}
        finally:
            pergola_backup("scratch", "--remove")

    return look


@pytest.fixture(scope="module", autouse=True)
def kept(web1: Host, pergola_backup: Callable[..., str]) -> Iterator[None]:
    yield
    web1.check_output("rm -rf /var/lib/postgresql/*/main.before-*")
    pergola_backup("resolve", "--acknowledge")


@pytest.mark.parametrize("step", [*BEFORE_IT_IS_IN_FORCE, "recorded", "opened"])
def test_a_power_loss_in_a_restore(
    step: str,
    two: tuple[str, set[int], set[int]],
    web1: Host,
    site: scenario.Site,
    rows: Rows,
    beside: Callable[[str], set[int]],
    pergola_backup: Callable[..., str],
):
    moment, then, now = two
    until(web1, step, "restore", f"--to={moment}")
    power_is_lost(web1)
    serves_again(web1, site)
    found = finding(web1)
    if step in BEFORE_IT_IS_IN_FORCE:
        assert rows.there() == now
        assert found["state"] == "warning"
        assert "the previous data is in force" in found["says"]
        assert "the server went down" in found["says"]
        assert beside(moment) == then
        if step in TOUCHED:
            pergola_backup("restore", f"--to={moment}")
            assert rows.there() == then
            pergola_backup("undo")
            assert rows.there() == now
    else:
        assert rows.there() == then
        assert found["state"] == "ok"
        assert "it is in force" in found["says"]
        rows.add(rows.next())
        assert beside(moment) == then
        pergola_backup("undo")
        assert rows.there() == now


@pytest.mark.parametrize("step", ["exchanged", "recorded"])
def test_a_power_loss_in_an_undo(
    step: str,
    two: tuple[str, set[int], set[int]],
    web1: Host,
    site: scenario.Site,
    rows: Rows,
    pergola_backup: Callable[..., str],
):
    moment, then, now = two
    pergola_backup("restore", f"--to={moment}")
    until(web1, step, "undo")
    power_is_lost(web1)
    serves_again(web1, site)
    assert rows.there() == (then if step == "exchanged" else now)
    pergola_backup("undo")
    assert rows.there() == (now if step == "exchanged" else then)


def test_a_program_that_is_killed_is_put_in_order_at_once(
    two: tuple[str, set[int], set[int]], web1: Host, site: scenario.Site, rows: Rows
):
    moment, _, now = two
    until(web1, "exchanged", "restore", f"--to={moment}")
    program_is_killed(web1)
    serves_again(web1, site)
    assert rows.there() == now
    assert "its program was killed" in finding(web1)["says"]


def test_what_was_put_aside_is_undone_only_where_it_is_sure(
    two: tuple[str, set[int], set[int]],
    web1: Host,
    rows: Rows,
    pergola_backup: Callable[..., str],
):
    """A change that nobody recorded, as by an earlier version: undo names no wrong directory."""
    moment, then, _ = two
    pergola_backup("restore", f"--to={moment}")
    pergola_backup("restore", f"--to={moment}")
    record = web1.file(RECORD).content_string
    with contextlib.ExitStack() as after:
        after.callback(lambda: web1.check_output("printf %%s %s >%s", record, RECORD))
        web1.check_output(f"sed -i '$d' {RECORD}")
        for verb in ("plan --undo", "undo"):
            done = web1.run(f"pergola-backup {verb}")
            assert done.rc == 1
            assert "something else has changed the data since" in done.stderr, done.stderr
        assert rows.there() == then


def test_a_drill_that_was_cut_off_leaves_no_copy(web1: Host):
    folder = "/var/lib/postgresql/pergola-drill"
    web1.check_output(f"install -d -o postgres -m 700 {folder}")
    power_is_lost(web1)
    wait_for("it is gone", lambda: not web1.file(folder).exists)
