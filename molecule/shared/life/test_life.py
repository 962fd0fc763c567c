"""A server's whole life, step by step, on a system that `default` does not see.

Each step is a fixture that needs the one before, so that any test can be run alone.
"""

import json
import re

import pytest
from scenario import NEWER, PROJECT, newer_packages, said, wait_for

NIGHT = "apt-daily-upgrade.service"
PHASED = "phased-sample"  # ubuntu-like has it: a newer version, which no server is to install yet
# All that is to be said of the server: its backups have no second copy.
ONE_COPY = "web1: 1 warning"
# What systemd says of a line in a unit that somebody has written here.
MISREAD = re.compile(r"^/(?:etc|run)/systemd/\S+:\d+: .*", re.MULTILINE)


@pytest.fixture(scope="session")
def sql(web1):
    """Ask the application's database as PostgreSQL's own account."""
    command = "cd / && runuser -u postgres -- psql -XqAt -v ON_ERROR_STOP=1 -d probe -c %s"
    return lambda query: web1.check_output(command, query).strip()


@pytest.fixture(scope="session")
def changed(server, site, pergola, probe, load):
    """Another release and the way back, under load."""
    seen = {"first": server.live()}
    probe.commit("note", "another", "Another release")
    with load() as running:
        pergola("playbooks/deploy.yml", app_source=str(probe.path), app_version="HEAD")
        seen["second"], seen["answers"] = server.live(), site.release()
        pergola("playbooks/rollback.yml")
        seen["load"] = running.end()
    return seen


@pytest.fixture(scope="session")
def restored(changed, web1, site, sql, pergola):
    """A backup, and a restore of it to the moment between two rows."""
    web1.check_output("pergola-backup full")
    with site.client(http2=False) as client:
        client.post("/rows/1").raise_for_status()
        moment = sql("select replace(clock_timestamp()::text, ' ', 'T') from pg_sleep(0.1)")
        sql("select pg_sleep(0.1)")
        client.post("/rows/2").raise_for_status()
    pergola("playbooks/restore.yml", to=moment, confirm="probe")
    rows = sql("select number from probe_rows order by 1").split()
    pergola("playbooks/restore.yml", undo=True, confirm="probe")
    return {"rows": rows, "undone": sql("select number from probe_rows order by 1").split()}


@pytest.fixture(scope="session")
def packages(web1):
    """The packages of PostgreSQL's server, and of the library that Python's ssl uses."""
    server = web1.check_output("basename $(ls -d /usr/lib/postgresql/*) | sed s/^/postgresql-/")
    file = web1.check_output("ldconfig -p | sed -n 's/.*libssl.so.3.*=> //p' | head -n 1")
    library = web1.check_output("dpkg -S $(readlink -f %s) | head -n 1 | cut -d: -f1", file)
    return [server, library]


@pytest.fixture(scope="session")
def night(restored, web1, server, packages, load):
    """The distribution's own nightly unit, as its timer starts it, under load."""
    before = web1.check_output(f"systemctl show --property=MainPID --value {server.slot()}")
    with newer_packages(web1, *packages), load() as running:
        web1.check_output("rm -f /var/lib/apt/periodic/upgrade-stamp")
        # Its end is waited for by looking: the system's manager starts again on the way.
        web1.check_output(f"systemctl start --no-block {NIGHT}")
        state = f"systemctl show --property=ActiveState --value {NIGHT}"
        wait_for("its end", lambda: web1.run(state).stdout.strip() in ("inactive", "failed"), 300)
        seen = running.end()
    after = web1.check_output(f"systemctl show --property=MainPID --value {server.slot()}")
    return {"load": seen, "restarted": before != after}


@pytest.fixture(scope="session")
def upgraded(night, web1, pergola):
    """The playbook's own update: its plan, itself, and once more."""
    with newer_packages(web1, "caddy", "libexpat1"):
        plan = said(pergola("playbooks/upgrade.yml", "--check"))
        pergola("playbooks/upgrade.yml")
        again = said(pergola("playbooks/upgrade.yml"))
    return {"plan": plan, "again": again}


@pytest.fixture(scope="session")
def rebooted(upgraded, web1, server, site):
    """The server after a reboot in order."""
    boot = "cat /proc/sys/kernel/random/boot_id"
    before, release = web1.check_output(boot), server.live()
    web1.run("systemctl reboot")
    wait_for("the next boot", lambda: web1.run(boot).stdout.strip() not in ("", before))
    wait_for("the site", lambda: site.get("/readyz").status_code == 200)
    return release


def versions(web1, *names):
    return web1.check_output(f"dpkg-query -Wf '${{Version}} ' {' '.join(names)}").split()


def test_sudo_finds_every_program_that_people_are_told_to_run(web1):
    told = "".join(path.read_text() for path in (PROJECT / "docs").glob("*.md"))
    names = sorted(set(re.findall(r"sudo (pergola-[a-z]+)", told)))
    assert len(names) > 1
    for name in names:
        web1.check_output("command -v %s", name)  # by the path that sudo sets


def test_a_deploy_and_a_rollback_lose_no_request(changed, server):
    assert changed["second"] not in (changed["first"], "")
    assert changed["answers"] == changed["second"]
    assert server.live() == changed["first"]
    assert changed["load"].ok > 50
    assert changed["load"].failed == 0, changed["load"].first_failures


def test_a_restore_ends_at_the_moment_that_was_named_and_is_undone(restored):
    assert restored["rows"] == ["1"]
    assert restored["undone"] == ["1", "2"]


def test_the_night_installs_the_systems_security_updates_and_no_request_fails(
    night, web1, packages
):
    assert all(version.endswith(NEWER) for version in versions(web1, *packages))
    assert night["restarted"], "it still uses the library that was replaced"
    result = json.loads(web1.file("/var/lib/pergola/results/updates.json").content_string)
    assert result["ok"], result
    assert night["load"].failed == 0, night["load"].first_failures


def test_an_update_installs_what_its_plan_says_and_nothing_is_left(upgraded, web1):
    assert re.search(rf"caddy \S+ -> \S+{re.escape(NEWER)}", upgraded["plan"]), upgraded["plan"]
    assert "Caddy restarts" in upgraded["plan"]
    assert PHASED not in upgraded["plan"]
    assert all(version.endswith(NEWER) for version in versions(web1, "caddy", "libexpat1"))
    assert "packages to update: none" in upgraded["again"]
    assert re.search(r"web1 +: .*changed=0 ", upgraded["again"])


def test_after_a_reboot_all_is_as_before(rebooted, web1, site, pergola):
    assert site.release() == rebooted
    assert web1.check_output("systemctl list-units --failed --plain --no-legend") == ""
    wait_for("its checks", lambda: web1.run("pergola-status").stdout.startswith(ONE_COPY))
    status = said(pergola("playbooks/status.yml"))
    assert ONE_COPY in status
    assert "warning: second copy" in status


def test_site_changes_nothing_on_a_server_that_has_lived(rebooted, pergola):
    assert re.search(r"web1 +: .*changed=0 ", said(pergola("site.yml", "--check")))


def test_systemd_understands_every_line_of_the_units(rebooted, web1):
    journal = web1.check_output("journalctl --boot --no-pager --output cat _PID=1")
    assert MISREAD.findall(journal) == []
