"""What is acknowledged is in the archive in time: after each start, and while a copy is away."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import scenario
import testinfra
from rows import Rows
from scenario import INVENTORY, wait_for
from testinfra.host import Host

LOCAL, COPIES = "/var/lib/pgbackrest", "/var/lib/pgbackrest/copies"
TIMEOUT = 5  # archive_timeout, in seconds, for these tests
# A stop waited for a minute and more. This is on a machine that does much else.
STOP_SECONDS = 25


@pytest.fixture(scope="module")
def vault1() -> Host:
    return testinfra.get_host("ansible://vault1", ansible_inventory=INVENTORY, sudo=True)


@pytest.fixture(scope="module")
def unit(web1: Host) -> str:
    return f"postgresql@{web1.check_output('ls /etc/postgresql')}-main.service"


@pytest.fixture(scope="module")
def often(web1: Host, postgres: Callable[..., str]) -> Iterator[None]:
    """WAL is archived every few seconds from the next start on: a reload would wake who counts."""
    folder = "/etc/postgresql/*/main/conf.d"
    file = web1.check_output(f"echo {folder}") + "/zz-test.conf"
    web1.check_output(f"echo archive_timeout={TIMEOUT} > {file}")
    yield
    web1.check_output(f"rm {file}")
    postgres("select pg_reload_conf()")


def has(host: Host, repository: str, segment: str) -> bool:
    return host.run(f"ls {repository}/archive/web1/*/*/{segment}-*").rc == 0


def restart(host: Host, unit: str) -> None:
    host.check_output(f"systemctl restart {unit}")


def crash(host: Host, unit: str) -> None:
    """One process is killed: PostgreSQL starts all of them again, and systemd sees nothing."""
    host.check_output("kill -9 $(pgrep -f '^postgres: .*: walwriter')")


@pytest.mark.parametrize("start", [restart, crash])
def test_from_each_start_on_changes_reach_every_copy_in_time(
    start: Callable[[Host, str], None],
    often: None,
    web1: Host,
    vault1: Host,
    unit: str,
    rows: Rows,
    postgres: Callable[..., str],
):
    """Nothing but rows: no switch of WAL, no reload, no checkpoint."""
    if start is crash:
        restart(web1, unit)  # with the setting, where this test is run alone
    start(web1, unit)

    def written() -> bool:
        rows.add(rows.next())
        return True

    wait_for("the application's database", lambda: rows.site.get("/db").status_code == 200)
    wait_for("rows are taken again", written)
    segment = postgres("select pg_walfile_name(pg_current_wal_lsn())")

    def archived() -> bool:
        return written() and has(web1, LOCAL, segment) and has(vault1, COPIES, segment)

    # Without being woken PostgreSQL sleeps for 15 minutes.
    wait_for("it is in both repositories", archived, 60)


def checks(host: Host) -> dict[str, dict[str, Any]]:
    host.check_output("systemctl start pergola-monitoring.service")
    found = json.loads(host.run("pergola-status --json").stdout)["checks"]
    return {check["name"]: check for check in found}


@pytest.fixture(scope="module")
def away(
    web1: Host, vault1: Host, unit: str, rows: Rows, postgres: Callable[..., str]
) -> Iterator[dict[str, Any]]:
    """PostgreSQL is restarted while the copy's host does not answer: what was seen."""
    seen: dict[str, Any] = {}
    scenario.testhosts("cut", "vault1")
    try:
        rows.add(rows.next())
        seen["segment"] = postgres("select pg_walfile_name(pg_switch_wal())")
        waits = "pgrep -f '^pgbackrest .* archive-push '"
        wait_for("the archive is waited for", lambda: web1.run(waits).rc == 0)
        restart(web1, unit)
        times = "-P ActiveExitTimestampMonotonic -P InactiveEnterTimestampMonotonic"
        began, ended = web1.check_output(f"systemctl show {times} {unit}").split()
        seen["stop"] = (int(ended) - int(began)) / 1_000_000
        local = seen["segment"]
        wait_for("it is in the repository here", lambda: has(web1, LOCAL, local))
        seen["plan"] = web1.check_output("pergola-backup plan")
        seen["checks"] = checks(web1)
        yield seen
    finally:
        scenario.testhosts("join", "vault1")
        rows.add(rows.next())
        postgres("select pg_switch_wal()")  # PostgreSQL tries again now, not in a minute
        wait_for("what has waited arrives", lambda: has(vault1, COPIES, seen["segment"]))


def test_a_stop_does_not_wait_for_a_copy_that_is_away(away: dict[str, Any]):
    print(f"stopped in {away['stop']:.1f} s")
    assert away["stop"] < STOP_SECONDS


def test_a_restores_plan_says_which_copy_is_away(away: dict[str, Any]):
    assert "repository 2, vault1, does not answer" in away["plan"]
    assert f"of repository 1: {LOCAL}" in away["plan"]


def test_each_repository_is_told_for_itself(away: dict[str, Any]):
    here = away["checks"][f"repository {LOCAL}"]
    assert here["state"] == "ok"
    assert "the newest backup" in here["says"]
    assert "does not answer for" in away["checks"]["repository vault1"]["says"]
