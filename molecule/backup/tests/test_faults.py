"""What goes wrong around backups costs backups, and neither the site nor a deploy's safety."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import scenario
from rows import Rows
from scenario import RUN, Playbooks, Server, said, umount, wait_for
from testinfra.host import Host

REPOSITORY = "/var/lib/pgbackrest"
CONFIGURATION = "/etc/pgbackrest/pgbackrest.conf"
POINTS = "/var/lib/pergola/points.jsonl"
QUEUE_MB, FILE_MB = 48, 16
FILES_GIVEN_UP = 12


@pytest.fixture(scope="module", autouse=True)
def whole_copy(vault1: Host) -> Iterator[None]:
    """The copy lacks the WAL that was given up here; afterwards its newest backup is later."""
    yield
    vault1.check_output("pergola-backup incr")


@contextmanager
def unwritable(host: Host) -> Iterator[None]:
    """Nothing can be written to the first repository, nor read from it."""
    host.check_output(f"mount -t tmpfs -o ro,size=1m nothing {REPOSITORY}")
    try:
        yield
    finally:
        host.check_output(umount(REPOSITORY))


@contextmanager
def small_queue(host: Host) -> Iterator[None]:
    """Little WAL may wait to be archived."""
    before = host.check_output(f"grep ^archive-push-queue-max= {CONFIGURATION}")
    change = f"sed -i s/^archive-push-queue-max=.*/%s/ {CONFIGURATION}"
    host.check_output(change, f"archive-push-queue-max={QUEUE_MB}MiB")
    try:
        yield
    finally:
        host.check_output(change, before)


def state_of_gap(host: Host) -> dict[str, Any]:
    """What the server's status says of WAL that was given up."""
    host.check_output("systemctl start pergola-monitoring.service")
    checks = json.loads(host.run("pergola-status --json").stdout)["checks"]
    return next(check for check in checks if check["name"] == "gap")


@pytest.fixture(scope="module")
def gap(
    web1: Host, rows: Rows, postgres: Callable[..., str], pergola_backup: Callable[..., str]
) -> dict[str, Any]:
    """WAL was given up, and the archive works again: what was seen, and moments around it."""
    seen: dict[str, Any] = {"first": rows.next()}
    pergola_backup("point", "before-gap")
    with small_queue(web1), unwritable(web1):
        for _ in range(FILES_GIVEN_UP):
            rows.add(rows.next())
            postgres("select pg_switch_wal()")
        given_up = "grep -qs 'dropped WAL file' /var/log/postgresql/*.log"
        wait_for("WAL is given up", lambda: web1.run(given_up).rc == 0)
        rows.add(rows.next())
        seen["inside"] = rows.moment()
        rows.add(rows.next())
        waiting = "select count(*) from pg_ls_archive_statusdir() where name like '%.ready'"
        wait_for("little waits", lambda: int(postgres(waiting)) <= QUEUE_MB // FILE_MB)
        seen["last"] = rows.next() - 1
        seen["status"] = state_of_gap(web1)
    pergola_backup("point", "after-gap")
    return seen


def test_a_full_queue_of_wal_costs_the_archive_and_not_the_site(gap: dict[str, Any], rows: Rows):
    """Every row was accepted while WAL was given up, and its files did not pile up."""
    written = range(gap["first"], gap["last"] + 1)
    assert len(written) == FILES_GIVEN_UP + 2
    assert set(written) <= rows.there()


def test_wal_that_was_given_up_is_told_as_critical(gap: dict[str, Any]):
    assert gap["status"]["state"] == "critical"
    assert "WAL files were given up" in gap["status"]["says"]


@pytest.mark.parametrize("verb", ["plan", "scratch", "restore"])
def test_a_moment_within_the_gap_is_refused_before_anything_stops(
    verb: str, gap: dict[str, Any], web1: Host
):
    """Recovery could only find out at its end, during the outage."""
    began = web1.check_output("systemctl show -P ActiveEnterTimestampMonotonic 'postgresql@*'")
    for target in (f"--to={gap['inside']}", "--point=after-gap"):
        done = web1.run(f"pergola-backup {verb} {target}")
        assert done.rc == 1, done.stdout
        assert "cannot be reached" in done.stderr
        assert "are not in the archive" in done.stderr
    after = web1.check_output("systemctl show -P ActiveEnterTimestampMonotonic 'postgresql@*'")
    assert after == began


def test_a_restore_without_a_target_says_that_it_would_end_at_the_gap(
    gap: dict[str, Any], pergola_backup: Callable[..., str]
):
    assert "this ends at" in pergola_backup("plan")
    assert "this ends at" not in pergola_backup("plan", "--point=before-gap")


def test_after_a_full_backup_all_is_well_again(
    gap: dict[str, Any], web1: Host, rows: Rows, pergola_backup: Callable[..., str]
):
    pergola_backup("full")
    assert state_of_gap(web1)["state"] == "ok"
    rows.add(rows.next())
    now = rows.moment()
    assert "mind" not in pergola_backup("plan")
    assert "the full backup" in pergola_backup("plan", f"--to={now}")
    pergola_backup("scratch", f"--to={now}")
    sockets = "/var/lib/postgresql/pergola-scratch/sockets"
    found = web1.check_output(
        "cd / && runuser -u postgres -- psql -XqAt -h %s -d probe -c %s",
        sockets,
        "select count(*) from probe_rows",
    )
    pergola_backup("scratch", "--remove")
    assert int(found) == len(rows.there())


def points(host: Host) -> list[dict[str, Any]]:
    return [json.loads(line) for line in host.file(POINTS).content_string.splitlines()]


def deployed(playbook: Playbooks, wish: str) -> tuple[int, str]:
    """Deploy a new release: another environment makes one. Its exit code and what it said."""
    environment = {"PROBE_DATABASE": "probe", "PROBE_WISH": wish}
    done = playbook("playbooks/deploy.yml", app_environment=environment)
    return done.returncode, said(done)


def test_without_a_writable_repository_backups_and_migrations_fail_loudly(
    web1: Host, server: Server, playbook: Playbooks, result: Callable[[str], dict[str, Any]]
):
    """The timer's job fails, and a deploy migrates nothing. Afterwards both work."""
    live, known = server.live(), points(web1)
    with unwritable(web1):
        assert web1.run("systemctl start pergola-backup@incr.service").rc != 0
        assert not result("backup")["ok"]
        code, output = deployed(playbook, "refused")
        assert code != 0
        assert "no backup could be made before the migration" in output
        assert "nothing was migrated" in output
        assert server.live() == live
        assert points(web1) == known
    web1.check_output("systemctl start pergola-backup@incr.service")
    assert result("backup")["ok"]
    code, output = deployed(playbook, "granted")
    assert code == 0, output
    assert server.live() != live
    assert points(web1)[-1]["name"] == f"before-{server.live()}"


def changes(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The tasks with which a run changed something, and the counts of its recap that are not 0."""
    counts = [count for count in re.findall(r"changed=\d+", done.stdout) if count != "changed=0"]
    tasks = re.split(r"^(?:TASK|RUNNING HANDLER) ", done.stdout, flags=re.MULTILINE)
    return [t.splitlines()[0] for t in tasks if re.search("^changed: ", t, re.MULTILINE)] + counts


@pytest.fixture
def booted(vault1: Host) -> None:
    """The other host has lost its power: systemd has started its daemon, not a run."""
    scenario.testhosts("kill", "vault1")
    scenario.testhosts("start", "vault1")
    wait_for("it answers", lambda: vault1.run("pgbackrest server-ping").rc == 0)


@pytest.mark.usefixtures("booted")
def test_the_key_may_be_kept_encrypted(
    playbook: Playbooks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """`ansible-vault encrypt` the key's file: the next run reads it and changes nothing."""
    key, password = tmp_path / "backup.key", tmp_path / "password"
    shutil.copy(RUN / "backup.key", key)
    password.write_text("a password\n")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(password))
    subprocess.run(["ansible-vault", "encrypt", key], check=True, capture_output=True)
    assert key.read_text().startswith("$ANSIBLE_VAULT")
    done = playbook("playbooks/provision.yml", "--tags=backup", backup_key_file=str(key))
    assert done.returncode == 0, done.stdout
    assert changes(done) == []


def switched(playbook: Playbooks, enabled: bool) -> subprocess.CompletedProcess[str]:
    """Switch backups on or off as a user does."""
    tags = "--tags=base,postgresql,backup"
    done = playbook("playbooks/provision.yml", tags, backup_enabled=enabled)
    assert done.returncode == 0, done.stdout
    return done


def test_backups_may_be_switched_off_and_on_again(
    web1: Host, postgres: Callable[..., str], playbook: Playbooks, rows: Rows
):
    """Off: no timers, no archiving, a warning. On: what was written in between is in a backup."""
    timers = "systemctl list-unit-files --state=enabled 'pergola-backup-*.timer' --no-legend"
    try:
        output = said(switched(playbook, enabled=False))
        assert "WARNING: web1 makes no backups" in output
        assert "PostgreSQL of web1 restarts" in output
        assert web1.run(timers).stdout == ""
        assert postgres("show archive_mode") == "off"
        assert changes(switched(playbook, enabled=False)) == []
        for _ in range(3):
            rows.add(rows.next())
            postgres("select pg_switch_wal()")
    finally:
        switched(playbook, enabled=True)
    assert postgres("show archive_mode") == "on"
    assert len(web1.check_output(timers).splitlines()) == 5
    rows.add(rows.next())
    plan = web1.check_output(f"pergola-backup plan --to={rows.moment()}")
    assert "cannot be reached" not in plan
