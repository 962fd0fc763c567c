"""A backup is restored for a trial, each week, and what is wrong with it is found."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from testinfra.host import Host

RESULT = "/var/lib/pergola/results/drill.json"
CHECKS = "/etc/pergola/restore-checks/probe.json"
SECONDS_OF_A_DRILL = 60
OF_THE_FIRST = "pergola-backup drill --repo=1"


def drilled(
    web1: Host, *, ok: bool, command: str = "systemctl start pergola-backup@drill.service"
) -> dict:
    """Run the drill as its timer does, or otherwise; what it recorded."""
    done = web1.run(command)
    assert (done.rc == 0) == ok, done.stderr
    result = json.loads(web1.file(RESULT).content_string)
    assert result["ok"] == ok, result
    # Whatever came of it, nothing is left of it.
    assert not web1.file("/var/lib/postgresql/pergola-drill").exists
    assert web1.run("systemctl is-active pergola-drill.service").stdout.strip() == "inactive"
    return result


@contextmanager
def checks(web1: Host, *queries: str) -> Iterator[None]:
    """Other checks of the application for a while."""
    before = web1.check_output("cat %s", CHECKS)
    found = {"database": "probe", "role": "probe", "queries": queries}
    web1.check_output("echo %s >%s", json.dumps(found), CHECKS)
    try:
        yield
    finally:
        web1.check_output("echo %s >%s", before, CHECKS)


def test_the_newest_backup_comes_back_whole_and_in_time(web1: Host):
    result = drilled(web1, ok=True)
    print(f"drill: {result['seconds']} s, {result['parts']}")
    assert result["seconds"] < SECONDS_OF_A_DRILL
    assert "amcheck of" in result["says"]


def test_each_repository_has_its_turn(web1: Host):
    turns = [drilled(web1, ok=True)["repository"] for _ in range(2)]
    assert sorted(turns) == [1, 2]


def test_each_week_by_a_timer(web1: Host):
    timer = web1.check_output("systemctl show pergola-backup-drill.timer -P TimersCalendar")
    assert "OnCalendar=Wed *-*-* 05:00" in timer
    assert web1.service("pergola-backup-drill.timer").is_enabled


def test_the_applications_checks_are_asked_with_its_own_rights(web1: Host):
    mine = "select not usesuper from pg_user where usename = current_user"
    with checks(web1, mine, "select count(*) > 0 from probe_schema"):
        assert "2 checks of applications" in drilled(web1, ok=True)["says"]


@pytest.mark.parametrize("query", ["select count(*) < 0 from probe_schema", "select 1 from gone"])
def test_a_check_that_does_not_hold_fails_the_drill(web1: Host, query: str):
    with checks(web1, query):
        result = drilled(web1, ok=False)
    assert "probe" in result["says"] or "query" in result["says"]


def test_a_damaged_repository_fails_the_drill(web1: Host):
    newest = "$(ls -d /var/lib/pgbackrest/backup/*/*F | tail -1)"
    file = web1.check_output(f"ls -S {newest}/bundle/* | head -1")
    web1.check_output("cp -p %s /root/kept", file)
    try:
        web1.check_output(
            "printf '\\000\\001' | dd of=%s bs=1 seek=20000 conv=notrunc status=none", file
        )
        result = drilled(web1, ok=False, command=OF_THE_FIRST)
    finally:
        web1.check_output("cp -p /root/kept %s", file)
    assert "pgbackrest restore ended with" in result["says"]
    assert drilled(web1, ok=True, command=OF_THE_FIRST)


def test_damage_that_was_backed_up_is_found_by_the_checksums(web1: Host):
    """A page of a table is broken on the live server's disk, and gets into the next backup."""
    server = "runuser -u postgres -- psql -Atc"
    fill = "create table rot with (autovacuum_enabled = off) as select generate_series(1, 1000) n"
    # Read once: nobody has a reason to write its pages again, over the damage.
    read = f'{server} "select count(*) from rot" -d probe'
    web1.check_output(f'{server} "{fill}" -d probe && {read} && {server} checkpoint')
    path = web1.check_output(f"{server} \"select pg_relation_filepath('rot')\" -d probe")
    version = web1.check_output("ls /var/lib/postgresql").split()[0]
    file = f"/var/lib/postgresql/{version}/main/{path}"
    try:
        web1.check_output(f"printf XX | dd of={file} bs=1 seek=9000 conv=notrunc status=none")
        web1.run("pergola-backup full")  # pgBackRest warns of it and goes on
        result = drilled(web1, ok=False, command=OF_THE_FIRST)
    finally:
        web1.check_output(f'{server} "drop table rot" -d probe')
        web1.check_output("pergola-backup full")
    assert "amcheck" in result["says"] or "checksum" in result["says"]
    assert drilled(web1, ok=True, command=OF_THE_FIRST)
