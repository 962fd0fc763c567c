"""Restores in place as their user and the site's visitors see them, and what is refused."""

import json
import re
import time
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest
import scenario
from conftest import Figures
from rows import Rows, Visitor
from scenario import wait_for
from testinfra.host import Host

# Limits for a machine that runs other scenarios at the same time.
SECONDS_OF_OUTAGE = 20  # 4 to 6 on two cores with two scenarios beside; 12 with three
SECONDS_OF_A_FULL_BACKUP = 20
SECONDS_BESIDE = 20
SECONDS_OF_A_DRILL = 60
BENCH = "runuser -u postgres -- sh -c 'cd / && createdb bench && pgbench -qi -s 20 bench'"
LOCK = "/run/probe/deploy.json"

Restore = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module", autouse=True)
def large(web1: Host, pergola_backup: Callable[..., str]):
    """A database of 300 MB beside the application's."""
    web1.check_output(BENCH)
    pergola_backup("full")
    yield
    web1.check_output("cd / && runuser -u postgres -- dropdb bench")


@pytest.fixture(scope="module")
def kept(web1: Host):
    """At the end of each module what restores put aside goes."""
    yield
    web1.check_output("rm -rf /var/lib/postgresql/*/main.before-*")


def refused(web1: Host, *words: str) -> str:
    """What the program says to a target that it must refuse, before it stops anything."""
    # When it was begun to start; it is called active some time after the restore before has ended.
    asked = "systemctl show -P InactiveExitTimestampMonotonic 'postgresql@*'"
    began = web1.check_output(asked)
    done = web1.run(" ".join(["pergola-backup restore", *words]))
    assert done.rc == 1, done.stdout
    assert not web1.file("/srv/probe/live/maintenance.html").exists
    assert web1.check_output(asked) == began
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


def test_the_seconds_that_300_mb_take(
    web1: Host, pergola_backup: Callable[..., str], result: Callable[[str], dict]
):
    began = time.monotonic()
    pergola_backup("scratch")
    beside = time.monotonic() - began
    pergola_backup("scratch", "--remove")
    pergola_backup("drill", "--repo=1")
    full, drill = result("backup")["seconds"], result("drill")["seconds"]
    print(f"300 MB: full backup {full} s, beside the live server {beside:.1f} s, drill {drill} s")
    assert full < SECONDS_OF_A_FULL_BACKUP
    assert beside < SECONDS_BESIDE
    assert drill < SECONDS_OF_A_DRILL


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--to=2999-01-01T00:00:00Z", "lies in the future"),
        ("--to=2026-01-01T00:00:00Z", "older than the oldest backup"),
        ("--to=2026-11-24T10:00:00", "does not say in which time zone"),
        ("--to=2026-11-24", "is a whole day"),
        ("--to=yesterday", "is not a time"),
        ("--xid=3", "older than the oldest backup"),
        ("--xid=4000000000", "has not ended yet"),
        ("--point=nothing", "there is no point 'nothing' the newest are:"),
        ("--repo=7", "there is no repository 7"),
        ("--timeline=4711", "the archive knows no timeline 4711"),
        ("--xid=999 --point=between", "a restore goes to one target"),
    ],
)
def test_what_cannot_be_reached_is_refused_before_anything_stops(words: str, says: str, web1: Host):
    assert says in refused(web1, words)


def test_a_refusal_names_what_can_be_reached(web1: Host):
    said = refused(web1, "--to=2026-01-01T00:00:00Z")
    assert "what can be restored is from 20" in said


def test_without_a_terminal_and_a_confirmation_the_command_is_named(rows: Rows, restore: Restore):
    moment = rows.moment()
    done = restore(to=moment, confirm="", fails=True)
    said = scenario.said(done)
    assert f"-e to={moment} -e confirm=probe" in said
    assert "Nothing was changed" in said
    assert restore(to=moment, confirm="other", fails=True)


def test_a_time_that_counts_from_now_is_one_moment_in_the_plan_and_in_the_command(
    rows: Rows, restore: Restore
):
    rows.add(rows.next())
    done = restore(to="-1s", confirm="", fails=True)
    said = scenario.said(done)
    planned = re.search(r"the moment (\S+) (\S+)\+00", said)
    assert planned, said
    assert f"-e to={planned[1]}T{planned[2]}Z -e confirm=probe" in said


def test_the_plan_alone_changes_nothing(web1: Host, restore: Restore):
    changes = "wc -l </var/lib/pergola/restores.jsonl 2>/dev/null || echo 0"
    before = web1.check_output(changes)
    said = restore("--check").stdout
    for words in (
        "databases",
        "bench (3",
        "probe: maintenance page",
        "the way back is -e undo=true",
    ):
        assert words in said
    assert web1.check_output(changes) == before


def test_a_restore_in_place_as_visitors_see_it(
    web1: Host, site: scenario.Site, rows: Rows, restore: Restore, figures: Figures, result
):
    rows.add(rows.next())
    moment, expected = rows.moment(), rows.there()
    rows.add(rows.next())
    with Visitor(site) as visitor:
        wait_for("a visitor", lambda: visitor.answers["200"])
        said = restore(to=moment).stdout
        away = visitor.answers["200"]
        wait_for("visitors are back", lambda: visitor.answers["200"] > away)
    assert rows.there() == expected
    # The page, and nothing else, while the server was away.
    assert set(visitor.answers) == {"200", "503 with the page"}
    recorded = result("restore")
    print(said.partition("Show the plan")[2])
    print(f"outage {visitor.outage:.1f} s as seen, {recorded['outage_seconds']} s as recorded")
    print(f"{recorded['says']} {recorded['parts']}")
    assert visitor.outage < SECONDS_OF_OUTAGE
    figures.outage = max(figures.outage, visitor.outage)
    figures.restored += len(expected)
    # Its pool works, and a backup of the new timeline is on its way.
    assert site.get("/db").text == "42"
    assert web1.run("systemctl is-failed pergola-backup@incr.service").rc


def test_every_moment_comes_back_whatever_was_restored_since(
    rows: Rows, pergola_backup: Callable[..., str], figures: Figures, kept: None
):
    def state(*more: int) -> tuple[str, set[int]]:
        rows.add(*more)
        return rows.moment(), rows.there()

    def restored(to: str, expected: set[int]) -> None:
        pergola_backup("restore", f"--to={to}")
        assert rows.there() == expected
        figures.restored += len(expected)

    number = rows.next()
    first, second, third = state(number), state(number + 1), state(number + 2)
    restored(*second)
    on_the_new = state(number + 3)
    restored(*first)  # earlier than what was restored before
    restored(*third)  # on the timeline that was given up by the first restore
    restored(*on_the_new)  # and on the one that was given up by the second
    pergola_backup("undo")
    assert rows.there() == third[1]
    after = state(number + 4)
    # The latest state is the live one's, though higher timelines are in the archive.
    pergola_backup("restore")
    assert rows.there() == after[1]
    pergola_backup("undo")
    assert rows.there() == after[1]


def test_the_way_back(rows: Rows, restore: Restore, web1: Host, kept: None):
    rows.add(rows.next())
    moment = rows.moment()
    rows.add(rows.next())
    before = rows.there()
    restore(to=moment)
    assert rows.there() != before
    said = scenario.said(restore(undo=True))
    assert "back to the data as of" in said
    assert rows.there() == before


def test_what_fails_before_the_end_of_recovery_puts_everything_back(
    web1: Host, site: scenario.Site, rows: Rows, restore: Restore, result
):
    """The archive has lost what leads to the target; PostgreSQL sees that only at the end."""
    rows.add(rows.next())
    moment = rows.moment()
    rows.add(rows.next())
    before = rows.there()
    # The WAL from here on is away while the recovery looks for it.
    hidden = "/usr/bin/pgbackrest"
    web1.check_output("mv %s %s.real", hidden, hidden)
    web1.check_output("printf %%s %s >%s", HIDES_WAL, hidden)
    web1.check_output("chmod 755 %s", hidden)
    try:
        said = scenario.said(restore(to=moment, fails=True))
    finally:
        web1.check_output("mv %s.real %s; rm -f /tmp/given", hidden, hidden)
    assert "recovery ended before configured recovery target was reached" in said
    assert "Everything is as it was before, and runs again" in said
    assert rows.there() == before
    assert site.get("/").status_code == 200
    rows.add(rows.next())
    assert not result("restore")["ok"]
    assert web1.run("ls -d /var/lib/postgresql/*/main.restoring").rc


# pgBackRest as if the archive had nothing beyond the first segment that the recovery asks for.
HIDES_WAL = r"""#!/bin/sh
case "$*" in
  *history*) ;;
  *archive-get\ 0*)
    if ls /var/lib/postgresql/*/main/recovery.signal >/dev/null 2>&1; then
      segment=${*#*archive-get }; segment=${segment%% *}
      [ -e /tmp/given ] || echo "$segment" >/tmp/given
      [ "$segment" = "$(cat /tmp/given)" ] || exit 1
    fi ;;
esac
exec /usr/bin/pgbackrest.real "$@"
"""


def test_beside_the_live_server_for_a_look(
    web1: Host, rows: Rows, restore: Restore, pergola_backup: Callable[..., str]
):
    rows.add(rows.next())
    moment, expected = rows.moment(), len(rows.there())
    rows.add(rows.next())
    said = scenario.said(restore(to=moment, into="scratch", confirm=""))
    sockets = "/var/lib/postgresql/pergola-scratch/sockets"
    assert f"sudo -u postgres psql -h {sockets}" in said
    ask = f"cd / && runuser -u postgres -- psql -h {sockets} -d probe -Atc %s"
    try:
        assert web1.check_output(ask, "select count(*) from probe_rows") == str(expected)
        assert len(rows.there()) == expected + 1
    finally:
        pergola_backup("scratch", "--remove")


def test_a_page_that_was_on_before_stays(
    web1: Host, site: scenario.Site, rows: Rows, pergola_backup
):
    web1.check_output("/srv/probe/bin/release maintenance on --message 'Our own'")
    pergola_backup("restore")
    assert site.get("/").status_code == 503
    assert "Our own" in site.get("/").text
    web1.check_output("/srv/probe/bin/release maintenance off")
    assert site.get("/db").text == "42"


def test_a_deploy_at_work_is_not_disturbed(web1: Host):
    held = {
        "run": "elsewhere/1",
        "who": "ann",
        "since": "now",
        "what": "deploy of x",
        "phase": "bake",
    }
    web1.check_output("echo %s >%s", json.dumps({**held, "until": 1e12}), LOCK)
    try:
        assert "ann is at work on probe since now: deploy of x" in refused(web1)
    finally:
        web1.check_output("rm %s", LOCK)


def test_no_deploy_begins_during_a_restore(web1: Host):
    release = "/srv/probe/bin/release"
    locked = "for try in $(seq 300); do test -e /run/probe/deploy.json && break; sleep 0.1; done"
    live = web1.check_output("basename $(readlink -f /srv/probe/slots/live)")
    restore = "pergola-backup restore >/dev/null &"
    done = web1.run(
        f"{restore} {locked}; test -e /run/probe/deploy.json && {release} do gate {live}; wait"
    )
    assert "is at work on probe since" in done.stderr
    assert "a restore of the databases" in done.stderr


def test_a_new_server_in_the_place_of_a_lost_one(
    web1: Host,
    site: scenario.Site,
    rows: Rows,
    playbook: scenario.Playbooks,
    figures: Figures,
    pergola_backup: Callable[..., str],
    kept: None,
):
    """Its disk with the backups is there, and so is a copy: docs/disaster.md holds for it too."""
    rows.add(rows.next())
    pergola_backup("point", "the-end")
    expected = rows.there()
    web1.check_output(EMPTY_CLUSTER)
    done = playbook("playbooks/provision.yml", "--tags=backup")
    assert done.returncode
    said = scenario.said(done)
    assert "web1 holds backups of web1 (/var/lib/pgbackrest" in said
    assert "-e rebuild=true" in said
    assert set(re.findall(r"changed=\d+", done.stdout)) == {"changed=0"}
    done = playbook("site.yml", rebuild=True)
    assert done.returncode == 0, done.stdout
    assert "The databases of web1 will come back from the backups of web1." in scenario.said(done)
    assert rows.there() == expected
    figures.restored += len(expected)
    done = playbook("playbooks/provision.yml", "--tags=backup")
    assert done.returncode == 0, done.stdout
    assert site.get("/db").text == "42"


EMPTY_CLUSTER = """
set -e; cd /
v=$(ls /var/lib/postgresql | grep -E '^[0-9]+$'); d=/var/lib/postgresql/$v/main
systemctl stop postgresql@$v-main
rm -rf $d /var/lib/pergola/restores.jsonl
runuser -u postgres -- /usr/lib/postgresql/$v/bin/initdb -D $d -k >/dev/null
systemctl start postgresql@$v-main
"""
