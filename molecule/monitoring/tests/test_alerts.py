"""What goes wrong on a server is told once, and once more when it is well again."""

import json
import re
import time

import pytest
from scenario import umount, wait_for

PGBACKREST = "/var/lib/pgbackrest"


def test_all_is_well_on_a_new_server(watched, playbook):
    # A segment on its way to the archive is late after seconds here (conftest.py, LIMITS).
    for _ in range(5):
        done = playbook("playbooks/status.yml")
        assert done.returncode == 0, done.stdout
        if "web1: all is well" in done.stdout:
            break
    assert "web1: all is well" in done.stdout
    assert re.search(r"probe +\S+ +live since 20", done.stdout)
    assert re.search(r"backup \(full\) +ok ", done.stdout)


def test_files_that_are_in_no_backup_are_a_fact_of_the_page_and_no_alert(watched, told):
    run, folder = watched.host.check_output, "/var/lib/probe/uploads"
    before = json.loads(run("pergola-status --json"))["files"]["probe"]
    run(f"mkdir {folder} && truncate --size=3M {folder}/one {folder}/two")
    # What is in the others' places counts for nobody.
    run(f"ln -s /usr/bin {folder}/link")
    try:
        count, bytes_ = before["count"] + 2, before["bytes"] + 6 * 2**20
        wanted = {**before, "count": count, "bytes": bytes_, "whole": True}
        status = json.loads(run("pergola-status --json"))
        assert status["files"] == {"probe": wanted}
        assert status["state"] == "ok"
        kept = rf"{count} files in /var/lib/probe \(6\.3 MB\) are in no backup"
        row = rf"probe +\S+ +live since .*, {kept}"
        page = run("pergola-status")
        assert page.startswith("web1: all is well")
        assert re.search(row, page), page
        watched.look(2)
        assert told.heard() == []
    finally:
        run(f"rm -r {folder}")


def test_a_server_without_the_role_is_told_as_such(watched, playbook):
    program = "/usr/local/sbin/pergola-status"
    watched.host.check_output(f"mv {program} {program}.away")
    try:
        done = playbook("playbooks/status.yml")
    finally:
        watched.host.check_output(f"mv {program}.away {program}")
    assert done.returncode != 0
    assert "web1 has no /usr/local/sbin/pergola-status yet" in done.stdout


def test_the_timer_looks_every_minute(watched):
    unit = watched.host.check_output("systemctl cat pergola-monitoring.timer")
    assert "OnUnitActiveSec=60" in unit
    assert watched.host.check_output("systemctl is-enabled pergola-monitoring.timer") == "enabled"


def test_a_failed_unit_is_one_message_to_each_and_one_when_it_is_resolved(watched, told):
    beats = told.beats
    watched.host.run("systemd-run --quiet --wait --unit=breaks false")
    watched.look(3)
    told.hears(("unit breaks.service", "warning"), looks=3)
    post = told.last["unit breaks.service"]
    assert post["text"].startswith("web1: WARNING unit breaks.service: failed; see why with")
    assert (post["event"], post["before"], post["host"]) == ("alert", "ok", "web1")
    watched.host.check_output("systemctl reset-failed breaks.service")
    watched.look(3)
    assert told.heard() == [("unit breaks.service", "ok")]
    assert told.last["unit breaks.service"]["event"] == "resolved"
    over = "web1: resolved unit breaks.service: has not failed any more"
    assert told.mails == [post["text"], over]
    assert told.beats == beats + 6
    journal = watched.host.check_output("journalctl -qo cat -u pergola-monitoring -n 30")
    assert 'check="unit breaks.service" state=warning before=ok says="failed; see' in journal
    assert "summary state=warning checks=" in journal


@pytest.fixture
def apprised(watched, told, provision):
    """What is told through Apprise, beside those who are told as usual."""
    usual = {"monitoring_exporters_address": "127.0.0.1"}
    urls = [*told.settings["release_notify_urls"], f"json://{told.here}:{told.web}/apprise"]
    provision(**usual, monitoring_notify_urls=urls)
    watched.host.check_output("systemctl stop pergola-monitoring.timer")
    yield told.apprised
    provision(**usual)
    watched.host.check_output("systemctl stop pergola-monitoring.timer")


def test_a_url_of_apprises_is_told_the_same(watched, told, apprised):
    watched.host.check_output("touch /run/reboot-required")
    watched.look()
    watched.host.check_output("rm /run/reboot-required")
    watched.look()
    assert told.heard() == [("reboot", "ok"), ("reboot", "warning")]
    assert [(one["title"], one["type"]) for one in apprised] == [
        ("web1: reboot", "warning"), ("web1: reboot", "success")
    ]  # fmt: skip
    assert apprised[0]["message"].startswith("web1: WARNING reboot: required: updates take effect")
    assert apprised[1]["message"] == told.last["reboot"]["text"]
    assert not watched.host.file("/run/pergola-monitoring/apprise.yml").exists


def test_a_deploy_that_failed_is_told_through_apprise(told, apprised, playbook):
    there = f"json://{told.here}:{told.web}/apprise"
    nobody = f"json://{told.here}:{told.web}/a-secret-token/where-nobody-is"
    told.answers["/a-secret-token/where-nobody-is"] = 404

    done = playbook(
        "playbooks/deploy.yml", "--tags=release", app_static_url="/s", app_static_command="false",
        release_notify_urls=[there, nobody], release_notify_mail={},
    )  # fmt: skip

    assert done.returncode != 0
    (notice,) = apprised
    assert (notice["title"], notice["type"]) == ("probe", "failure")
    assert re.match("probe: deploy of .* failed", notice["message"])
    assert "WARNING: nobody was told by json://" in done.stdout
    assert "a-secret-token" not in done.stdout


def test_what_could_not_be_sent_is_sent_later_and_holds_nobody_up(watched, told):
    told.answer = 500
    watched.host.check_output("touch /run/reboot-required")
    watched.host.check_output("echo linux-image >/run/reboot-required.pkgs")
    watched.look(2)
    assert told.heard() == []
    assert len(told.mails) == 1, "the other way is not held up"
    watched.host.check_output("rm /run/reboot-required*")
    watched.look(2)
    assert watched.state("messages") == "warning"
    status = watched.host.check_output("pergola-status")
    assert "HTTP Error 500" in status
    assert "a-secret-token" not in status
    told.answer = 204
    watched.look(4)
    assert [(post["check"], post["state"]) for post in told.posts] == [
        ("reboot", "warning"),
        ("reboot", "ok"),
    ]
    assert len(told.mails) == 2
    assert watched.state("messages") == "ok"


def test_those_who_do_not_answer_make_no_look_late(watched, told):
    """Nothing listens any more; what cannot be connected to is given up in seconds."""
    watched.host.check_output("nft add table inet silent")
    watched.host.check_output(
        "nft 'add chain inet silent out { type filter hook output priority 0; }'"
    )
    watched.host.check_output(f"nft add rule inet silent out tcp dport {told.web} drop")
    try:
        watched.host.check_output("touch /run/reboot-required")
        began = time.monotonic()
        watched.look()
        # Each is given up after five seconds; the next look comes after a minute.
        assert time.monotonic() - began < 40
        assert watched.state("reboot") == "warning"
    finally:
        watched.host.check_output("nft delete table inet silent")
    watched.host.check_output("rm /run/reboot-required")
    watched.look()
    assert [post["state"] for post in told.posts] == ["warning", "ok"]


def test_a_job_that_fails_is_told_by_what_it_says(watched, told):
    result = {"job": "drill", "ok": False, "ended": time.time(), "seconds": 12.3}
    result |= {"began": "2026-11-24T19:00:00Z", "says": "amcheck: index probe_pkey is broken"}

    def ends(**more):
        text = json.dumps(result | more)
        watched.host.check_output("echo %s >/var/lib/pergola/results/drill.json", text)
        watched.look()

    ends()
    told.hears(("job drill", "critical"), looks=1)
    assert "FAILED: amcheck: index probe_pkey is broken" in told.last["job drill"]["text"]
    ends(ok=True, ended=time.time() + 1, says="restored and checked")
    assert told.heard() == [("job drill", "ok")]
    watched.host.check_output("rm /var/lib/pergola/results/drill.json")


def test_a_postmaster_that_is_killed_is_back_before_anybody_is_told(watched, told, site):
    unit = watched.host.check_output("ls /run/postgresql").split("-main.pid")[0].split()[-1]
    pid = watched.host.check_output(f"head -1 /run/postgresql/{unit}-main.pid")
    assert site.get("/db").status_code == 200
    watched.host.check_output(f"kill -9 {pid}")
    watched.look()
    began = time.monotonic()
    while site.get("/db").status_code != 200:
        assert time.monotonic() - began < 60
        time.sleep(0.2)
    # It answers a moment before systemd knows that it has started.
    wait_for("PostgreSQL", lambda: watched.host.service(f"postgresql@{unit}-main").is_running, 20)
    watched.look(2)
    assert told.heard() == []
    assert watched.host.check_output(f"head -1 /run/postgresql/{unit}-main.pid") != pid


def test_a_postgresql_that_stays_down_is_told_once(watched, told, playbook):
    watched.host.check_output("systemctl stop 'postgresql@*'")
    watched.look(3)
    told.hears(("postgresql", "critical"), looks=3)
    assert "does not answer" in told.last["postgresql"]["text"]
    done = playbook("playbooks/status.yml")
    assert done.returncode != 0
    assert done.stdout.index("CRITICAL: postgresql") < done.stdout.index("jobs (UTC)")
    assert "something is critical; it is told above" in done.stdout
    watched.host.check_output("systemctl start postgresql")
    watched.look(2)
    assert told.heard() == [("postgresql", "ok")]


def test_transactions_slots_and_settings_that_wait_are_told(watched, told):
    watched.sql("select pg_create_physical_replication_slot('gone', true)")
    watched.sql("create table grows as select generate_series(1, 300000) as n")
    watched.sql("alter system set max_connections = 120")
    watched.sql("select pg_reload_conf()")
    psql = "runuser -u postgres -- psql -Xqc 'begin' -c '\\! sleep 300'"
    watched.host.check_output(f"systemd-run --quiet --unit=forgets {psql}")
    time.sleep(3)
    watched.look(5)
    drift = "drift postgresql max_connections"
    broken = (drift, "settings", "slots", "transactions")
    told.hears(*((name, "warning") for name in broken), looks=5)
    assert "is idle in transaction for" in told.last["transactions"]["text"]
    assert "slot 'gone'" in told.last["slots"]["text"]
    assert "max_connections wait for a restart" in told.last["settings"]["text"]
    watched.host.check_output("systemctl stop forgets")
    watched.sql("select pg_drop_replication_slot('gone')")
    watched.sql("drop table grows")
    watched.sql("alter system reset max_connections")
    watched.sql("select pg_reload_conf()")
    watched.look(5)
    assert told.heard() == [(name, "ok") for name in broken]


def test_a_certificate_that_nobody_renewed_is_told(watched, told):
    folder = "/etc/pergola/backup-tls"
    there = watched.host.file(folder).exists
    watched.host.check_output(f"mkdir -p {folder}")
    watched.host.check_output(
        f"openssl req -x509 -newkey ed25519 -nodes -days 5 -subj /CN=x -keyout /dev/null "
        f"-out {folder}/test.crt 2>/dev/null"
    )
    watched.look()
    told.hears((f"certificate {folder}/test.crt", "critical"), looks=1)
    watched.host.check_output(f"rm {folder}/test.crt")
    if not there:
        watched.host.check_output(f"rmdir {folder}")
    watched.look()
    assert told.heard() == [(f"certificate {folder}/test.crt", "ok")]


@pytest.fixture
def full_repository(watched):
    """The first repository on a disk of its own that is full."""
    run = watched.host.check_output
    run(f"cp -a {PGBACKREST} /var/tmp/repository")
    run(f"mount -t tmpfs -o size=64m,mode=0750 tmpfs {PGBACKREST}")
    run(f"chown postgres:postgres {PGBACKREST} && mv /var/tmp/repository/* {PGBACKREST}")
    watched.host.run(f"dd if=/dev/zero of={PGBACKREST}/fills bs=4k status=none")
    yield umount(PGBACKREST)
    watched.host.run(f"{umount(PGBACKREST)}; rm -rf /var/tmp/repository")


def switch_wal(watched, times):
    for n in range(times):
        watched.sql(f"create table if not exists fills (n int); insert into fills values ({n})")
        watched.sql("select pg_switch_wal()")


def until(watched, condition, seconds=60):
    """Look until something is so."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, watched.status()
        time.sleep(1)
        watched.look()


def test_a_full_repository_is_told_as_disk_archive_and_gap_until_a_new_full_backup(
    watched, told, full_repository
):
    heard = []

    def has(*wanted):
        heard.extend(told.heard())
        return set(wanted) <= set(heard)

    watched.look()
    assert has((f"disk {PGBACKREST}", "critical"))
    assert re.search(
        rf"; {PGBACKREST}/fills has [\d.]+ MB, {PGBACKREST}/\w+ has",
        watched.says(f"disk {PGBACKREST}"),
    )
    switch_wal(watched, 1)
    until(watched, lambda: has(("archive", "warning")))
    assert "nothing was archived for" in told.last["archive"]["text"]
    assert "1 WAL files (16.8 MB) wait" in told.last["archive"]["text"]
    # More than may wait: pgBackRest gives it up so that the data's disk does not fill.
    switch_wal(watched, 6)
    until(watched, lambda: has(("gap", "critical")))
    assert "were given up" in told.last["gap"]["text"]

    watched.host.check_output(full_repository)
    switch_wal(watched, 1)
    until(watched, lambda: has(("archive", "ok"), (f"disk {PGBACKREST}", "ok")))
    watched.look(2)
    assert watched.state("gap") == "critical", "only a full backup closes it"
    watched.host.check_output("pergola-backup full")
    until(watched, lambda: has(("gap", "ok")))
    assert len(heard) == len(set(heard)) == 6
    watched.sql("drop table fills")
