"""A server that grows old: updates, the system's next release, PostgreSQL's and back."""

import re

import pytest
import scenario
from conftest import DIGEST, SQL, WAY, running

CLUSTERS = "pg_lsclusters --no-header"
OLD, NEW = f"{WAY.old}/main", f"{WAY.new}/main"
# What the role has the server do, without a rehearsal.
ALONE = (
    "systemd-run --quiet --wait --pipe --collect --unit=pergola-upgrade "
    "--property=ExecStopPost='/usr/local/sbin/pergola-upgrade undo' "
    f"/usr/local/sbin/pergola-upgrade postgresql {WAY.new}"
)
SECONDS_CLOSED = 90  # 11 on two idle cores; other tests may run beside this one


def alone(web1):
    """Begin an upgrade on the server, and wait until PostgreSQL's own program is at it."""
    web1.check_output("echo %s >/run/order.json", '{"rehearsal": false}')
    web1.check_output(f"nohup {ALONE} </run/order.json >/run/killed.log 2>&1 &")
    web1.check_output("timeout 60 sh -c 'until pgrep -x pg_upgrade; do sleep 0.1; done'")


def clusters(web1):
    """version -> (port, state) of every cluster."""
    lines = [line.split() for line in web1.check_output(CLUSTERS).splitlines()]
    return {f"{line[0]}/{line[1]}": (line[2], line[3]) for line in lines}


# -- updates ---------------------------------------------------------------------------------------


def test_what_only_a_reboot_renews_is_said(updated):
    assert "web1 needs a reboot (updated, but cannot be restarted: " in folded(
        updated.said["update"]
    )


def test_the_plan_of_an_update_says_what_restarts_and_changes_nothing(updated):
    plan = updated.said["plan"]
    assert "packages to update: 2" in plan
    old = WAY.old
    assert re.search(rf"postgresql-{old} {old}\.\S+~before -> {old}\.", plan)
    assert f"PostgreSQL restarts (postgresql-{old}) while the requests wait" in folded(plan)


def folded(text):
    return re.sub(r"\s+", " ", text)


def test_an_update_of_postgresql_and_of_a_library_loses_no_request(updated, web1, server):
    now = running(web1, server)
    assert now["postgresql"] != updated.before["postgresql"]
    assert now["slot"] != updated.before["slot"]
    assert now["caddy"] == updated.before["caddy"], "it uses nothing of what was updated"
    seen = updated.load
    worst = max(window["max"] for window in seen.windows.values() if "max" in window)
    print(f"update: {seen.failed} failed of {seen.ok + seen.failed}, worst {worst:.0f} ms")
    assert seen.ok > 200
    assert seen.failed == 0, seen.first_failures
    assert worst > 1000, "nothing was held"


def test_a_second_update_finds_nothing_to_do(updated):
    assert "restarted, as they run what was replaced" not in folded(updated.said["again"])
    assert "packages to update: none" in updated.said["again"]
    assert re.search(r"web1 +: .*changed=0 ", updated.said["again"])


# -- the next release of the system ----------------------------------------------------------------


def test_updates_do_not_turn_into_the_next_release(next_release):
    assert f"apt's sources name another release of the system ({WAY.next_suite})" in folded(
        next_release.said["update"]
    )


def test_the_old_release_serves_after_the_next_release_of_the_system(next_release, web1, site):
    assert f"VERSION_CODENAME={WAY.next_suite}\n" in web1.file("/etc/os-release").content_string
    assert site.release() == next_release.before["live"]


def test_the_cluster_stays_and_another_version_is_refused(provisioned, web1):
    refused = folded(provisioned.said["refused"])
    told = f"Its cluster of PostgreSQL has version {WAY.old}, and postgresql_version says {WAY.new}"
    assert told in refused
    assert re.search(r"web1 +: ok=\d+ +changed=0 ", provisioned.said["refused"])
    stays = f"PostgreSQL {WAY.old} stays; this release of the system has {WAY.new}"
    assert stays in folded(provisioned.said["site"])


def test_the_application_is_made_anew_for_the_new_python(provisioned, web1, server, site):
    assert server.live() != provisioned.before["live"]
    assert site.release() == server.live()
    python = web1.check_output("readlink /srv/probe/slots/live/venv/bin/python")
    assert python == f"/usr/bin/python{WAY.next_python}"
    assert provisioned.load.failed == 0, provisioned.load.first_failures


def test_sorted_columns_are_made_anew_for_the_new_library(provisioned, upgrade, web1):
    query = SQL.replace("-d probe", "-d sorted")
    differs = (
        "select datcollversion <> pg_database_collation_actual_version(oid) "
        "from pg_database where datname = 'sorted'"
    )
    assert web1.check_output(query, differs).strip() == "t"
    plan = folded(upgrade("--check").stdout)
    assert "sorted: 1 indexes, sorted by another C library, made again" in plan
    upgrade()
    assert web1.check_output(query, differs).strip() == "f"


# -- another major version of PostgreSQL -----------------------------------------------------------


@pytest.fixture
def as_before(provisioned, web1, sql, site, digest):
    """What must hold after an upgrade that failed: all as if it had never been begun."""

    def check():
        assert clusters(web1) == {OLD: ("5432", "online")}
        assert sql(DIGEST) == digest
        assert site.get("/db").status_code == 200
        assert "auto" in web1.file(f"/etc/postgresql/{OLD}/start.conf").content_string
        assert not web1.file("/var/lib/pergola/upgrade.json").exists

    return check


def test_what_speaks_against_an_upgrade_is_told_at_once(upgrade, as_before, sql):
    sql("select pg_create_physical_replication_slot('left_behind')")
    try:
        refused = folded(upgrade(postgresql="99", fails=True).stdout)
    finally:
        sql("select pg_drop_replication_slot('left_behind')")
    assert "not available from apt's sources: postgresql-99" in refused
    assert "replication slots, which would be lost: left_behind" in refused
    as_before()


def test_an_upgrade_waits_for_a_deploy_at_work(upgrade, as_before, web1, monkeypatch):
    # A phase at work holds the kernel's lock.
    at_work = "flock /run/probe/.lock sleep 40"
    web1.check_output(f"systemd-run --quiet --collect --unit=at-work {at_work}")
    monkeypatch.setenv("PERGOLA_UPGRADE_FAIL_AT", "packages")
    done = upgrade(postgresql=WAY.new, fails=True, upgrade_rehearsal=False)
    assert "made to fail at packages" in folded(done.stdout)
    assert not web1.service("at-work").is_running
    as_before()


def test_an_upgrade_that_fails_after_the_change_of_ports_is_undone(upgrade, as_before, monkeypatch):
    monkeypatch.setenv("PERGOLA_UPGRADE_FAIL_AT", "ready")
    done = upgrade(postgresql=WAY.new, fails=True, upgrade_rehearsal=False)
    assert f"{NEW} takes port 5432" in folded(done.stdout)
    assert "everything is as before" in folded(done.stdout)
    as_before()


def test_an_upgrade_whose_program_is_killed_is_undone(upgrade, as_before, web1):
    alone(web1)
    web1.check_output("kill -KILL $(systemctl show --property=MainPID --value pergola-upgrade)")
    web1.check_output(
        "timeout 60 sh -c 'while systemctl is-active pergola-upgrade || "
        "test -e /var/lib/pergola/upgrade.json; do sleep 0.5; done'"
    )
    assert "everything is as before" in web1.file("/run/killed.log").content_string
    as_before()


def test_an_upgrade_that_a_power_loss_cuts_off_stays_closed_until_it_is_undone(
    upgrade, as_before, web1, site
):
    alone(web1)
    scenario.testhosts("kill", "web1")
    scenario.testhosts("start", "web1")
    assert site.get("/db").status_code == 503
    assert "what was cut off before is put back first" in folded(
        upgrade("--check", postgresql=WAY.new).stdout
    )
    assert "everything is as before" in web1.check_output("pergola-upgrade undo")
    as_before()


def test_the_upgrade_keeps_every_row(upgraded, web1, sql, site, digest, server):
    assert clusters(web1) == {OLD: ("5433", "down"), NEW: ("5432", "online")}
    assert sql("show server_version_num").startswith(WAY.new)
    assert sql(DIGEST) == digest
    assert sql("select count(*) from kept where body % 'c4ca4238'") != ""
    assert site.get("/db").text == "42"
    closed = float(re.search(r"open again after ([0-9.]+) s", upgraded.said["upgrade"])[1])
    print(upgraded.said["upgrade"])
    print(f"upgrade: closed for {closed} s; {server.live()} serves")
    assert closed < SECONDS_CLOSED


def test_the_plan_and_the_rehearsal_come_first(upgraded):
    assert f"PostgreSQL {WAY.old} -> {WAY.new}" in upgraded.said["plan"]
    done = folded(upgraded.said["upgrade"])
    assert done.index("rehearsal: copy") < done.index("the applications are closed")
    assert re.search(r"rehearsal: \d+ MB, copied in [0-9.]+ s, upgraded in [0-9.]+ s", done)


def test_the_new_cluster_is_as_the_old_one_was(upgraded, web1, sql):
    assert sql("show data_checksums") == "on"
    assert sql("select datcollate from pg_database where datname = 'probe'") == "C.UTF-8"
    old, new = (f"/etc/postgresql/{one}/conf.d" for one in (OLD, NEW))
    web1.check_output(f"diff -r {old} {new}")
    assert "manual" in web1.file(f"/etc/postgresql/{OLD}/start.conf").content_string
    assert sql("select count(*) from pg_extension where extname = 'amcheck'") == "0"
    assert sql("select count(*) > 0 from pg_stats where tablename = 'kept'") == "t"


def test_the_new_cluster_has_a_backup_and_archives(upgraded, web1):
    newest = web1.check_output("pergola-backup status")
    assert '"job": "backup"' in newest
    web1.check_output("pergola-backup point after-the-upgrade")
    assert web1.check_output("pergola-backup incr") is not None


def test_site_changes_nothing_after_an_upgrade(upgraded, playbook):
    assert re.search(r"web1 +: .*changed=0 ", playbook("site.yml").stdout)


def test_the_way_back_is_confirmed_and_works_and_so_does_forward_again(
    upgraded, upgrade, web1, sql, site, digest
):
    sql("insert into kept values (0, 'written on the new one')")
    refused = folded(upgrade(postgresql="back", fails=True).stdout)
    assert "ROWS WRITTEN SINCE ARE LOST" in refused
    assert "-e confirm=probe" in refused
    assert clusters(web1)[NEW] == ("5432", "online")
    upgrade(postgresql="back", confirm="probe")
    assert clusters(web1) == {OLD: ("5432", "online"), NEW: ("5433", "down")}
    assert sql(DIGEST) == digest
    assert site.get("/db").text == "42"
    upgrade(remove_old=True, confirm="probe")
    assert clusters(web1) == {OLD: ("5432", "online")}
    upgrade(postgresql=WAY.new, upgrade_rehearsal=False)
    upgrade(remove_old=True, confirm="probe")
    assert clusters(web1) == {NEW: ("5432", "online")}
    assert not web1.package(f"postgresql-{WAY.old}").is_installed
    assert sql(DIGEST) == digest
