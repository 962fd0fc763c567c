"""The checks on recorded looks, what is remembered between them, and who is told of changes."""

import copy
import http.server
import json
import platform
import re
import threading
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template
from looks import BACKUP, GB, MB, SERVER, WALL, Host
from pergola import apps, results
from pergola.errors import PergolaError
from pergola.results import Result
from pergola.status import (
    certificates,
    config,
    database,
    gather,
    journal,
    metrics,
    notify,
    page,
    report,
    store,
    watch,
)
from pergola.status import (
    host as host_checks,
)
from pergola.status import (
    wal as wal_module,
)
from pergola.status.files import Files
from pergola.status.look import hold
from pergola.status.memory import Notice, Reported, Waiting
from pergola.status.seen import Certificate

PROJECT = Path(__file__).parents[2]
init_plugin_loader()


@pytest.fixture
def host():
    host = Host()
    host.seen["results"] = {"backup": dict(BACKUP), "drill": {**BACKUP, "type": ""}}
    host.look()
    return host


def test_a_server_in_order_is_told_of_by_nothing(host):
    assert watch.worst(host.known.reported) == "ok"
    assert host.look() == {}


def test_no_check_fails_by_itself(host):
    assert not [one for one in host.known.reported.values() if "could not" in one.says]


# One number each: what is seen, the check, the state, a part of the sentence.

NUMBERS = [
    ({"wal_bytes": 3 * GB}, "wal", "ok", "3.0 GB in pg_wal"),
    ({"wal_bytes": 5 * GB}, "wal", "warning", "usually up to 2.0 GB; something holds it back"),
    ({"wal_bytes": 9 * GB}, "wal", "critical", "9.0 GB"),
    ({"wal_bytes": 5 * GB, "keep_wal_bytes": 2 * GB}, "wal", "ok", "usually up to 4.0 GB"),
    ({"connections": 79}, "connections", "ok", "79 of 100"),
    ({"connections": 80}, "connections", "warning", "80 of 100 in use; look for who"),
    ({"connections": 96}, "connections", "critical", "96 of 100"),
    ({"wraparound": {"age": 250 * 10**6, "database": "a"}}, "wraparound", "ok", "250 million"),
    ({"wraparound": {"age": 700 * 10**6, "database": "a"}}, "wraparound", "warning", "(freeze"),
    ({"wraparound": {"age": 1300 * 10**6, "database": "a"}}, "wraparound", "critical", "1300"),
    ({"prepared": {"gid": "x", "database": "a", "seconds": 30}}, "prepared", "ok", "30 seconds"),
    ({"prepared": {"gid": "x", "database": "a", "seconds": 700}}, "prepared", "warning", "'x'"),
    ({"prepared": {"gid": "x", "database": "a", "seconds": 4000}}, "prepared", "critical", "'x'"),
    ({"slots": [{"name": "s", "status": "reserved", "bytes": MB}]}, "slots", "ok", "1 inactive"),
    ({"slots": [{"name": "s", "status": "extended", "bytes": 2 * GB}]}, "slots", "warning", "2.0"),
    ({"slots": [{"name": "s", "status": "lost", "bytes": None}]}, "slots", "critical", "(lost)"),
    ({"pending_restart": ["max_connections"]}, "settings", "warning", "max_connections wait for"),
    ({"archive_mode": "off"}, "archive", "critical", "backups are watched but archive_mode is off"),
]  # fmt: skip


@pytest.mark.parametrize(("server", "name", "state", "says"), NUMBERS)
def test_what_postgresql_says_is_judged(host, server, name, state, says):
    host.server.update(server)
    for _ in range(hold(name)):
        host.look()
    assert host.state(name) == state
    assert says in host.says(name)


OLD = {"pid": 7, "user": "probe", "database": "probe"}


@pytest.mark.parametrize(
    ("working", "idle", "state", "says"),
    [
        (600, None, "ok", "none is old"),
        (2000, None, "warning", "process 7 of probe in probe is open for 33 minutes"),
        (20000, None, "critical", "is open for 6 hours"),
        (None, 200, "ok", "none is old"),
        (None, 320, "warning", "is idle in transaction for 5 minutes"),
        (2000, 2000, "critical", "is idle in transaction"),
    ],
)
def test_old_transactions_are_told_with_what_ends_them(host, working, idle, state, says):
    host.server["transaction"] = working and {**OLD, "seconds": working}
    host.server["idle_transaction"] = idle and {**OLD, "seconds": idle}
    host.look()
    assert host.state("transactions") == "ok", "a single look may lie"
    host.look()
    assert host.state("transactions") == state
    assert says in host.says("transactions")
    assert ("pg_terminate_backend(7)" in host.says("transactions")) == (state != "ok")


def test_a_disk_that_sways_around_its_limit_is_told_once(host):
    told = []
    for percent in (89, 91, 89, 91, 88, 91, 87.1, 86.9, 89.9):
        host.seen["disks"][0]["percent"] = percent
        told += [(change.state, percent) for change in host.look().values()]
    assert told == [("warning", 91), ("ok", 86.9)]


def test_a_full_disk_is_critical_and_says_what_to_do(host):
    host.seen["disks"][0] |= {"percent": 96.4, "free_bytes": 300 * MB}
    change = host.look()["disk /"]
    assert change.state == "critical"
    assert change.says.startswith(
        "96 % used, 300.0 MB free (PostgreSQL's data); find what grows with"
    )


def test_a_full_disk_says_what_takes_its_room(host):
    sizes = [["/var/lib/probe", 5 * GB], ["/var/log/journal", GB]]
    host.seen["largest"] = {"/": {"at": 0, "sizes": sizes, "too_many": None}}
    host.seen["disks"][0] |= {"percent": 96.4, "free_bytes": 300 * MB}
    says = host.look()["disk /"].says
    assert "; /var/lib/probe has 5.0 GB, /var/log/journal has 1.0 GB; find what grows with" in says


def test_inodes_are_told_only_when_they_run_out(host):
    assert "inodes /" not in host.known.reported
    host.seen["disks"][0]["inodes_percent"] = 99
    assert host.look()["inodes /"].state == "critical"
    host.seen["disks"][0]["inodes_percent"] = 10
    assert host.look()["inodes /"].state == "ok"
    assert host.look() == {}


# Units


def test_a_failed_unit_is_told_when_it_stays_failed(host):
    assert host.look(units=["certbot.service"]) == {}
    assert host.look()["unit certbot.service"].state == "warning"
    assert "systemctl status certbot.service" in host.says("unit certbot.service")


def test_a_second_unit_that_fails_is_told_too_and_each_when_it_is_over(host):
    host.look(units=["a.service"])
    assert list(host.look()) == ["unit a.service"]
    host.look(units=["a.service", "b.service"])
    assert list(host.look()) == ["unit b.service"]
    host.look(units=["b.service"])
    assert {name: one.state for name, one in host.look().items()} == {"unit a.service": "ok"}
    host.look()
    assert "unit a.service" not in host.known.reported


def test_a_job_that_failed_is_told_once_and_not_by_its_unit_too(host):
    host.seen["results"]["drill"] |= {"ok": False, "says": "amcheck: index broken", "ended": WALL}
    changes = host.look(units=["pergola-backup@drill.service"]) | host.look()
    assert list(changes) == ["job drill"]
    assert "FAILED: amcheck: index broken" in changes["job drill"].says


def test_a_job_whose_program_could_not_even_start_is_told_by_its_unit(host):
    host.look(units=["pergola-backup@drill.service"])
    assert host.look()["unit pergola-backup@drill.service"].state == "warning"


def test_what_stays_wrong_is_told_once_more_after_a_day_or_a_week():
    def entry(state):
        return Reported(state, "full", WALL)

    reported = {"disk /": entry("critical"), "reboot": entry("warning"), "clock": entry("ok")}
    change = watch.Change("disk /", "ok", "critical", "full")
    told, again = watch.to_be_repeated({}, reported, [change], 0.0)
    assert (told, again) == ({"disk /": 0.0, "reboot": 0.0}, [])
    hours = 3600
    assert watch.to_be_repeated(told, reported, [], 23 * hours) == (told, [])
    told, again = watch.to_be_repeated(told, reported, [], 24 * hours)
    assert again == ["disk /"]
    assert watch.to_be_repeated(told, reported, [], 25 * hours)[1] == []
    assert watch.to_be_repeated(told, reported, [], 168 * hours)[1] == ["disk /", "reboot"]
    said = notify.reminder("disk /", reported["disk /"], "web1", WALL + 86400)
    assert (said.event, said.state) == ("reminder", "critical")
    assert said.text.startswith("web1: still CRITICAL since 2026-11-24 ")
    assert said.text.endswith(" disk /: full")


# Jobs


def test_a_job_that_never_ran_is_overdue_when_its_time_has_passed_not_at_once():
    host = Host()
    host.look()
    assert host.state("job backup") == "ok"
    assert host.look(29 * 60) == {}
    assert host.look(61)["job backup"].state == "warning"
    assert "overdue: has never run in the 30 hours since it is watched" in host.says("job backup")
    assert host.look(30 * 60)["job backup"].state == "critical"


def test_a_job_that_stopped_running_is_overdue(host):
    assert "job backup" not in host.look(29 * 60)
    change = host.look(60)["job backup"]
    assert change.state == "warning"
    assert "overdue: ended 30 hours ago, and should every 30 hours" in change.says
    host.seen["results"]["backup"]["ended"] = host.seen["wall"]
    assert host.look()["job backup"].state == "ok"


def test_a_failed_job_is_critical_until_it_succeeds(host):
    host.seen["results"]["backup"] |= {"ok": False, "says": "repository full", "ended": WALL}
    change = host.look()["job backup"]
    assert (change.state, "FAILED: repository full" in change.says) == ("critical", True)
    assert host.look() == {}
    host.seen["results"]["backup"] |= {"ok": True, "ended": WALL + 100}
    assert host.look()["job backup"].state == "ok"


def test_a_result_that_cannot_be_read_is_told(host, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(results, "IN_RUN", tmp_path / "run")
    (tmp_path / "backup.json").write_text('{"ok": tr')
    (tmp_path / "drill.json").write_text(json.dumps(BACKUP))
    host.seen["results"] = gather.read_results()
    assert host.look()["job backup"].state == "warning"
    assert "backup.json" in host.says("job backup")
    assert host.state("job drill") == "ok"


# The clock


@pytest.mark.parametrize("step", [30 * 86400, -30 * 86400])
def test_a_step_of_the_clock_makes_no_job_overdue_and_hides_none(host, step):
    host.seen["wall"] += step
    assert host.look() == {}
    assert host.known.step == pytest.approx(step)
    assert host.look() == {}
    assert host.known.step == 0
    assert "job backup" not in host.look(28 * 60)
    assert host.look(3 * 60)["job backup"].state == "warning"


@pytest.mark.parametrize("step", [86400, -86400])
def test_a_step_of_the_clock_makes_no_archive_stuck_and_hides_none(host, step):
    host.server["ready"] = 1
    host.look()
    host.seen["wall"] += step
    assert host.look() == {}
    assert "archive" not in host.look(2)
    assert host.look(3)["archive"].state == "warning"
    host.server.update({"ready": 0, "archived": 43})
    assert host.look()["archive"].state == "ok"


def test_the_time_that_a_host_was_off_counts(host):
    host.seen |= {"boot": "two", "boottime": 5.0, "wall": host.seen["wall"] + 31 * 3600}
    assert host.look()["job backup"].state == "warning"


def test_a_clock_that_was_wrong_at_boot_turns_no_time_back(host):
    host.seen |= {"boot": "two", "boottime": 5.0, "wall": 0.0}
    assert host.look() == {}
    assert host.known.now >= 0


def test_a_clock_that_nobody_sets_is_told_but_not_right_after_boot(host):
    assert [host.look(clock_error_usec=16_000_000) for _ in range(9)] == [{}] * 9
    assert host.look()["clock"].state == "warning"


def test_a_container_has_no_clock_of_its_own(host):
    host.look(container=True, clock_error_usec=None)
    assert host.state("clock") == "skipped"
    assert watch.worst(host.known.reported) == "ok"


# The archive


def test_an_archive_that_fails_is_told_by_how_long_nothing_was_archived(host):
    for waiting in range(1, 5):
        host.server.update({"ready": waiting, "failed": 2 + waiting})
        assert host.look() == {}
    host.server["ready"] = 6
    change = host.look(2)["archive"]
    assert change.state == "warning"
    assert "nothing was archived for 6 minutes, 6 WAL files (96.0 MB) wait" in change.says
    assert host.look(25)["archive"].state == "critical"


def test_an_archive_that_is_slow_but_goes_on_is_not_told(host):
    for archived in range(41, 80):
        host.server.update({"ready": 3, "archived": archived})
        assert host.look(4) == {}


def test_postgresqls_counters_may_start_again(host):
    host.server.update({"ready": 1, "archived": 0})
    assert host.look() == {}
    host.server.update({"archived": 1})
    assert host.look(20) == {}


def test_a_restart_archives_nothing(host):
    host.server["ready"] = 1
    host.look(4)
    host.server["archived"] = 0
    assert host.look(2)["archive"].state == "warning"
    assert host.look() == {}


def wal(number, timeline=1):
    return f"{timeline:08X}{0:08X}{number:08X}"


def repository(full, why="", name="local"):
    """What is seen of one whose newest full backup begins with that WAL."""
    return {
        "name": name, "why": why, "archived": "", "backup": None, "lacks_since": None, "full": full
    }  # fmt: skip


def test_given_up_wal_is_told_until_a_newer_full_backup_has_succeeded(host):
    change = host.look(
        logs={"dropped": [wal(0xA1), wal(0xA2)], "at": {}}, archives=[repository(wal(0x90))]
    )["gap"]
    assert change.state == "critical"
    assert f"2 WAL files were given up, the last one {wal(0xA2)}" in change.says
    assert host.look(60) == {}
    assert host.look(archives=[repository("", why="it is away")]) == {}
    assert host.look(archives=[repository(wal(0xA2))]) == {}, "it began before the gap"
    assert host.look(archives=[repository(wal(0xA3))])["gap"].state == "ok"


def test_what_the_log_told_late_is_over_with_a_backup_that_was_made_before_the_look(host):
    """It was given up since the last look, and so was the full backup made."""
    gone = {"dropped": [wal(0xA1)], "at": {}}
    host.look(logs=gone, archives=[repository(wal(0xA3))])
    assert host.state("gap") == "ok"


def test_what_was_given_up_before_a_restore_is_over_with_a_full_backup_after_it(host):
    gone = {"dropped": [wal(0xA1)], "at": {}}
    host.look(logs=gone, archives=[repository(wal(0x90))])
    assert host.look(archives=[repository(wal(0x95, timeline=2))])["gap"].state == "ok"


def test_logs_are_read_from_where_the_last_look_ended(tmp_path, monkeypatch):
    log = tmp_path / "main-archive-push-async.log"
    line = "2026-11-24 19:00:00.123 P00   WARN: dropped WAL file '{}' because of the queue\n"
    log.write_text(line.format("OLD"))
    monkeypatch.setattr(wal_module, "LOGS", [str(tmp_path / "*archive-push*.log")])

    first = wal_module.logs(None)
    assert first.dropped == [], "what is older than the first look"
    assert wal_module.logs(first.at).dropped == []
    with log.open("a") as file:
        file.write(line.format("A1") + line.format("A2") + line.format("A3")[:60])
    second = wal_module.logs(first.at)
    assert second.dropped == ["A1", "A2"]
    with log.open("a") as file:
        file.write(line.format("A3")[60:])
    third = wal_module.logs(second.at)
    assert third.dropped == ["A3"]
    log.rename(tmp_path / "main-archive-push-async.log.1")
    log.write_text(line.format("A4"))
    assert wal_module.logs(third.at).dropped == ["A4"]
    log.write_text("")
    assert wal_module.logs(third.at).dropped == []


# PostgreSQL down


def test_a_server_that_is_back_within_a_minute_is_told_to_nobody(host):
    down = {"unit": "postgresql@17-main", "down": "connection refused"}
    assert host.look(postgresql=down) == {}
    assert host.look(postgresql=SERVER) == {}


def test_a_server_that_stays_down_is_told_once_and_what_it_knew_stays_as_it_was(host):
    host.server["wal_bytes"] = 9 * GB
    assert host.look()["wal"].state == "critical"
    down = {"unit": "postgresql@17-main", "down": "connection refused"}
    host.look(postgresql=down)
    changes = host.look()
    assert list(changes) == ["postgresql"]
    assert (
        "does not answer: connection refused; see `systemctl status" in changes["postgresql"].says
    )
    assert host.state("wal") == "critical"
    host.look(postgresql=copy.deepcopy(SERVER))
    assert {change.state for change in host.look().values()} == {"ok"}


def test_a_host_without_a_database_has_no_checks_of_one():
    host = Host()
    host.jobs = {}
    host.look(postgresql=None)
    assert not {"postgresql", *database.ASKED} & set(host.known.reported)


# Certificates


def certificate(left, life, kind="caddy"):
    return {"name": "probe.test", "kind": kind, "begins": WALL + left - life, "ends": WALL + left}


@pytest.mark.parametrize(
    ("left", "life", "kind", "state"),
    [
        (3 * 3600, 12 * 3600, "caddy", "ok"),  # due at 4 hours, and Caddy looks every ten minutes
        (1.5 * 3600, 12 * 3600, "caddy", "warning"),
        (0.5 * 3600, 12 * 3600, "caddy", "critical"),
        (20 * 86400, 90 * 86400, "caddy", "ok"),
        (13 * 86400, 90 * 86400, "caddy", "warning"),
        (6 * 86400, 90 * 86400, "caddy", "critical"),
        (-86400, 90 * 86400, "caddy", "critical"),
        (20 * 86400, 90 * 86400, "own", "ok"),
        (13 * 86400, 90 * 86400, "own", "warning"),
        (31 * 86400, 3650 * 86400, "backup", "ok"),
        (29 * 86400, 3650 * 86400, "backup", "warning"),
        (6 * 86400, 3650 * 86400, "backup", "critical"),
        (31 * 86400, 730 * 86400, "host", "ok"),
        (29 * 86400, 730 * 86400, "host", "warning"),
    ],
)
def test_a_certificate_is_told_when_its_renewal_is_overdue(host, left, life, kind, state):
    host.look(0, certificates=[certificate(left, life, kind)])
    assert host.state("certificate probe.test") == state


def test_a_certificate_of_ones_own_is_seen_while_a_site_shows_it(tmp_path, monkeypatch):
    for name in ("CADDY", "OF_CADDY", "OF_BACKUP", "OF_HOST"):
        monkeypatch.setattr(certificates, name, tmp_path)
    monkeypatch.setattr(certificates, "dates", lambda _: (1.0, 2.0))
    for app in ("notes", "shop"):
        (tmp_path / app).mkdir()
        (tmp_path / app / "certificate.pem").write_text("")
    path = tmp_path / "notes/certificate.pem"
    (tmp_path / "notes.caddy").write_text(f"tls {path} key.pem")
    (tmp_path / "shop.caddy").write_text("tls internal")
    assert certificates.seen() == [Certificate(str(path), "own", 1.0, 2.0)]


def test_certificates_between_hosts_are_seen_and_their_keys_are_not(tmp_path, monkeypatch):
    for name in ("CADDY", "OF_CADDY", "OF_BACKUP"):
        monkeypatch.setattr(certificates, name, tmp_path / "none")
    monkeypatch.setattr(certificates, "OF_HOST", tmp_path)
    monkeypatch.setattr(certificates, "dates", lambda _: (1.0, 2.0))
    for name in ("members.crt", "host.crt", "host.key"):
        (tmp_path / name).write_text("")
    assert [(one.name, one.kind) for one in certificates.seen()] == [
        (str(tmp_path / "host.crt"), "host"),
        (str(tmp_path / "members.crt"), "host"),
    ]


def test_a_certificate_that_is_gone_is_resolved(host):
    host.look(0, certificates=[certificate(0, 1000)])
    change = host.look(certificates=[])["certificate probe.test"]
    assert (change.before, change.state) == ("critical", "ok")


def test_openssls_dates_are_read():
    assert certificates.moment("Nov  4 19:07:42 2026 GMT") == 1793819262


# What could not be seen


def test_what_cannot_be_looked_at_is_told_and_resolves_nothing(host):
    host.seen["disks"][0]["percent"] = 99
    host.look()
    host.look(disks=None, errors={"disks": "OSError: no"})
    changes = host.look()
    assert list(changes) == ["errors"]
    assert host.state("disk /") == "critical"


def test_a_check_that_fails_hides_no_other(host, monkeypatch):
    monkeypatch.setattr(database, "wraparound", lambda *_: 1 / 0)
    host.seen["disks"][0]["percent"] = 99
    changes = host.look()
    assert changes["postgresql"].state if "postgresql" in changes else True
    assert changes["disk /"].state == "critical"


def test_a_required_reboot_names_the_packages(host):
    change = host.look(reboot=["linux-image-amd64"])["reboot"]
    assert (change.state, "linux-image-amd64" in change.says) == ("warning", True)


def test_services_that_run_what_was_replaced_are_named_after_a_while(host):
    old = ["dbus.service", "notes@blue.service", "postgresql@17-main.service"]
    changes = [host.look(replaced=old) for _ in range(hold("replaced"))]
    assert not any("replaced" in change for change in changes[:-1])
    says = changes[-1]["replaced"].says
    assert says.startswith("notes@blue.service, postgresql@17-main.service run what an update")
    assert "playbooks/upgrade.yml" in says
    after = [host.look(replaced=["dbus.service"]) for _ in range(hold("replaced"))]
    assert [change["replaced"].state for change in after if "replaced" in change] == ["ok"]


def test_what_restarted_since_an_update_is_not_named(tmp_path, monkeypatch):
    noted = tmp_path / "replaced.json"
    assert host_checks.replaced_services(noted) == []
    noted.write_text('{"format": 1, "services": {"a.service": "1", "b.service": "2"}}')
    monkeypatch.setattr(host_checks, "invocation_of", {"a.service": "1", "b.service": "3"}.get)
    assert host_checks.replaced_services(noted) == ["a.service"]


# Configuration


def test_the_parts_of_several_inventories_do_not_undo_each_other(tmp_path):
    first = {
        "jobs": [{"name": "backup", "within_hours": 30}],
        "urls": ["https://a"],
        "heartbeat": "h",
    }
    second = {
        "jobs": [{"name": "backup", "within_hours": 8}],
        "urls": ["https://b", "https://a"],
        "mail": {"to": ["ops@example.org"]},
        "limits": {"disk_percent": [50, 60]},
        "host": "web1",
    }
    assert config.read(tmp_path).host == platform.node()
    (tmp_path / "a.json").write_text(json.dumps(first))
    (tmp_path / "b.json").write_text(json.dumps(second))
    whole = config.read(tmp_path)
    assert whole.host == "web1"
    assert whole.jobs == {"backup": 8.0}
    assert whole.urls == ["https://a", "https://b"]
    assert whole.limits["disk_percent"] == (50, 60)
    assert whole.limits["slot_mb"] == config.LIMITS["slot_mb"]
    assert (len(whole.mails), whole.beats) == (1, {"h": []})
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(PergolaError, match=r"(?s)a\.json.*run site.yml again"):
        config.read(tmp_path)


def test_the_limits_of_the_setting_are_those_of_the_program():
    spec = yaml.safe_load((PROJECT / "roles/monitoring/meta/argument_specs.yml").read_text())
    options = spec["argument_specs"]["main"]["options"]["monitoring_limits"]["options"]
    assert set(options) == set(config.LIMITS)
    page = (PROJECT / "docs/monitoring.md").read_text()
    for name, (warning, critical) in config.LIMITS.items():
        assert f"| `{name}` | {warning} | {critical} |" in page


# Telling


CHANGE = watch.Change("disk /", "ok", "critical", "96 % used")


def test_a_message_says_where_what_and_how_bad():
    told = notify.notice(CHANGE, "web1", WALL)
    assert told.text == "web1: CRITICAL disk /: 96 % used"
    assert (told.event, told.before, told.time) == ("alert", "ok", "2026-11-24T19:07:42Z")
    back = notify.notice(watch.Change("disk /", "critical", "ok", "20 % used"), "web1", WALL)
    assert (back.event, back.text) == ("resolved", "web1: resolved disk /: 20 % used")


def numbered(*numbers):
    return [Notice("", "", "", "", "", number, "") for number in numbers]


def test_messages_that_could_not_be_sent_stay_in_order_and_hold_up_nobody_else():
    got, broken = {"a": [], "b": []}, {"a"}

    def send_to(name):
        def send(told):
            if name in broken:
                raise TimeoutError("timed out")
            got[name].append(told.time)

        return name, send

    people = {name: send_to(name) for name in got}
    outbox, _ = notify.queued([], numbered(1, 2), people)
    outbox, failed = notify.sent(outbox, people)
    assert got == {"a": [], "b": [1, 2]}
    assert failed == {"a": "a: TimeoutError: timed out"}
    outbox, _ = notify.queued(outbox, numbered(3), people)
    broken.clear()
    outbox, failed = notify.sent(outbox, people)
    assert (got, outbox, failed) == ({"a": [1, 2, 3], "b": [1, 2, 3]}, [], {})


def test_the_outbox_is_bounded_and_says_what_it_drops():
    outbox, dropped = notify.queued([], numbered(*range(250)), ["a"])
    assert (len(outbox), dropped, outbox[0].notice.time) == (notify.KEPT, 50, 50)


def test_sending_ends_when_the_look_has_no_time_left():
    times = iter([0, 1, 2, 30, 31])
    got = []
    people = {"a": ("a", got.append)}
    outbox, _ = notify.queued([], numbered(*range(4)), people)
    waits, _ = notify.sent(outbox, people, clock=lambda: next(times))
    assert (len(got), len(waits)) == (2, 2)


def test_messages_to_one_who_is_not_told_any_more_are_forgotten():
    assert notify.sent([Waiting("gone", numbered(1)[0])], {}) == ([], {})


@pytest.fixture
def web():
    """A web server that answers as told to, and what it was sent."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers.get("Content-Length") or 0)
            server.got.append((self.command, self.path, self.rfile.read(length)))
            self.send_response(server.answer)
            self.end_headers()

        do_GET = do_POST  # noqa: N815 - the name that is asked for

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.got, server.answer = [], 204
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_address[1]}/a-secret"
    yield server
    server.shutdown()
    server.server_close()


def test_an_address_that_refuses_is_tried_again_and_its_secret_is_in_no_error(web):
    people = notify.recipients(config.Config(urls=[web.url]))
    assert "secret" not in json.dumps(list(people))
    outbox, _ = notify.queued([], [notify.notice(CHANGE, "web1", WALL)], people)
    web.answer = 500
    outbox, failed = notify.sent(outbox, people)
    assert (len(outbox), "HTTP Error 500" in str(failed)) == (1, True)
    web.answer = 200
    assert notify.sent(outbox, people) == ([], {})
    assert json.loads(web.got[-1][2])["check"] == "disk /"
    for url in (
        "http://127.0.0.1:x/a-secret",
        "http://127.0.0.1/a secret",
        "ftp://example.org/a-secret",
        "a-secret",
    ):
        people = notify.recipients(config.Config(urls=[url]))
        _, failed = notify.sent([Waiting(next(iter(people)), numbered(1)[0])], people)
        assert len(failed) == 1
        assert "secret" not in str(failed)


@pytest.mark.parametrize(
    ("urls", "packages"),
    [([], []), (["https://a", "http://b"], []), (["https://a", "ntfy://b"], ["apprise"])],
)
@pytest.mark.parametrize(
    ("role", "variable", "told"),
    [
        ("monitoring", "__monitoring_packages", "monitoring_notify_urls"),
        # Deploys tell these themselves, also where the server tells others.
        ("app", "__app_order", "release_notify_urls"),
    ],
)
def test_apprise_comes_to_servers_whose_addresses_need_it(role, variable, told, urls, packages):
    """Those of the server, and those of an application, which its deploys bring."""
    said = yaml.safe_load((PROJECT / f"roles/{role}/vars/main.yml").read_text())[variable]
    text = trust_as_template(said if isinstance(said, str) else said["packages"])
    wiring = yaml.safe_load((PROJECT / "group_vars/all/wiring.yml").read_text())
    needs = trust_as_template(wiring["app_needs_apprise"])
    values = {"__monitoring_wanted": [], "app_needs_apprise": needs, told: urls}
    values |= {"app_build_packages": [], "app_database_url": "", "app_has_database": False}
    assert Templar(DataLoader(), values).template(text) == packages


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Apprise, which notes how it is called and ends as `code` says."""
    monkeypatch.setattr(store, "RUN", tmp_path / "run")
    file = tmp_path / "bin/apprise"
    file.parent.mkdir()
    file.write_text(f"""#!/bin/sh
printf '%s\\n' "$@" >{tmp_path}/called
cat >{tmp_path}/text
stat -c %a {tmp_path}/run/apprise-*.yml >{tmp_path}/mode
cp {tmp_path}/run/apprise-*.yml {tmp_path}/read
echo "ERROR - $(cat {tmp_path}/run/apprise-*.yml)"
exit $(cat {tmp_path}/code)
""")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{file.parent}:/usr/bin:/bin")
    (tmp_path / "code").write_text("0")
    return tmp_path


def test_another_url_is_apprises_and_its_secret_is_nowhere_but_in_a_file_of_roots(program):
    url = "slack://a-secret/b/c"
    people = notify.recipients(config.Config(urls=[url]))
    outbox, _ = notify.queued([], [notify.notice(CHANGE, "web1", WALL)], people)
    assert notify.sent(outbox, people) == ([], {})
    assert (program / "text").read_text() == "web1: CRITICAL disk /: 96 % used"
    file, *more = (program / "called").read_text().splitlines()
    assert re.fullmatch(rf"--config={program}/run/apprise-\w+[.]yml", file)
    assert more == ["--title=web1: disk /", "--notification-type=failure"]
    assert (program / "mode").read_text() == "600\n"
    assert yaml.safe_load((program / "read").read_text()) == {"urls": [url]}
    assert list((program / "run").iterdir()) == [], "it is gone afterwards"
    (program / "code").write_text("1")
    waits, failed = notify.sent(outbox, people)
    assert waits == outbox
    assert list(failed.values()) == ["slack:// of Apprise's: OSError: apprise ended with 1"]
    assert list((program / "run").iterdir()) == []


def test_mails_settings_may_have_numbers_where_texts_are_meant():
    said = {"to": "ops@example.org", "port": 25, "username": "web1", "password": 1234, "host": None}
    mail = notify.Mail.of({**said, "unknown": 1})
    assert mail == notify.Mail(["ops@example.org"], "", "", "25", "web1", "1234")
    assert "1234" not in repr(mail)


def test_the_heartbeat_is_a_get(web):
    assert notify.beaten([web.url]) == {}
    assert web.got[0][:2] == ("GET", "/a-secret")
    (failed,) = notify.beaten(["http://127.0.0.1:1/a-secret"]).items()
    assert failed[1] == "127.0.0.1: ConnectionRefusedError: [Errno 111] Connection refused"
    assert "secret" not in failed[0]


# Pages


def test_what_is_wrong_comes_first_on_the_page():
    entries = [
        report.Entry("units", "ok", "no unit has failed", WALL),
        report.Entry("reboot", "warning", "required", WALL),
        report.Entry("disk /", "critical", "96 %", WALL, alerted=False),
    ]
    drill = {**BACKUP, "type": "", "ok": False, "says": "no"}
    jobs = {"backup": Result(**BACKUP), "drill": Result(**drill)}
    status = report.Page(
        host="web1", wall=WALL, time="", state="critical", checks=entries, jobs={},
        system="Debian", releases=[("probe", "r1", "live")],
        files={"probe": Files(["/var/lib/probe"], 2, 3_000_000, True)},
    )  # fmt: skip
    text = page.page(status, jobs)
    lines = text.splitlines()
    assert lines[0] == "web1: 1 CRITICAL, 1 warning"
    assert text.index("CRITICAL: disk / (seen just now, no alert yet)") < text.index(
        "warning: reboot (since"
    )
    assert "  probe  r1  live, 2 files in /var/lib/probe (3.0 MB) are in no backup" in lines
    assert "  backup (full)  ok      2026-11-24 19:06  10.0 s  full, 22 MB" in lines
    assert "  drill          FAILED  2026-11-24 19:06  10.0 s  no" in lines
    text = metrics.page(status, jobs)
    assert 'pergola_check_state{check="disk /"} 2\n' in text
    assert 'pergola_job_ok{job="drill"} 0\n' in text
    assert text.endswith(f"pergola_look_timestamp_seconds {WALL:.0f}\n")


@pytest.mark.parametrize(
    ("intent", "at_work", "result", "state", "says"),
    [
        ({}, True, None, "ok", "a restore is at work since noon"),
        ({}, False, None, "critical", "which data is in force is not settled: sudo pergola-backup"),
        ({"says": "the page stays"}, False, None, "critical", "the page stays"),
        (None, False, {"cut": True, "ok": False}, "warning", "the previous data is in force"),
        (None, False, {"cut": True, "ok": True}, "ok", "the previous data is in force"),
        (None, False, {"ok": False}, "ok", "none was cut off"),
    ],
)
def test_a_restore_that_was_cut_off_is_told_with_the_data_in_force(
    host, intent, at_work, result, state, says
):
    if intent is not None:
        intent = {"kind": "restore", "words": "a moment", "began": "noon", **intent}
    if result:
        words = "the previous data is in force"
        host.seen["results"]["restore"] = {**BACKUP, **result, "says": words}
    for _ in range(2):
        host.look(restore={"intent": intent, "at_work": at_work})
    assert host.state("restore") == state
    assert says in host.says("restore")


def test_lines_that_journald_dropped_are_told_by_their_unit():
    said = [
        {"MESSAGE": "Suppressed 27000 messages from probe@blue.service", "N_DROPPED": "27000"},
        {"MESSAGE": "Suppressed 538 messages from probe@blue.service", "N_DROPPED": "538"},
        {"MESSAGE": "Suppressed 5 messages from noise.service", "N_DROPPED": "5"},
    ]
    counts = journal.counted([json.dumps(one) for one in said])
    assert counts == {"probe@blue.service": 27538, "noise.service": 5}
    host = Host()
    assert host.look(dropped_lines=counts)["journal"].state == "warning"
    assert "5 lines of noise.service, 27538 lines of probe@blue.service were dropped" in host.says(
        "journal"
    )
    assert host.look(dropped_lines={})["journal"].state == "ok"


@pytest.mark.parametrize("rest", ['{"outcome": "li', '{"seconds": {"gate": 1}', "\0\0"])
def test_a_ledger_that_a_power_loss_cut_off_still_tells_since_when(tmp_path, monkeypatch, rest):
    home = tmp_path / "probe"
    for folder in ("bin", "live", "slots", "releases/r1"):
        (home / folder).mkdir(parents=True)
    (home / "bin/release").touch()
    (home / "slots/blue").symlink_to(home / "releases/r1")
    line = {"outcome": "live", "to": "r1", "time": "2026-11-24T19:07:00+00:00"}
    (home / "ledger.jsonl").write_text(rest + "\n" + json.dumps(line) + "\n")
    monkeypatch.setattr(apps, "HOMES", tmp_path)
    monkeypatch.setattr(apps, "RUN", tmp_path)
    assert page.releases() == [("probe", "r1", "live since 2026-11-24 19:07")]
