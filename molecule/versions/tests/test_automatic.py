"""The night's automatic update of what serves, with packages that are really newer, under load."""

import json
import re

import pytest
from scenario import NEWER, newer_packages, wait_for

NIGHT = "apt-daily-upgrade.service"
RESULT = "/var/lib/pergola/results/updates.json"
# A job at work that uses the library: whoever restarts it ends it.
JOB = (
    "systemd-run --quiet --collect --unit=pergola-job-at-work --property=Type=oneshot --no-block "
    "/usr/bin/python3 -c 'import ssl, time; time.sleep(900)'"
)


@pytest.fixture(scope="module")
def server_package(web1):
    return web1.check_output("basename $(ls -d /usr/lib/postgresql/*) | sed s/^/postgresql-/")


@pytest.fixture(scope="module")
def library(web1):
    """The package of the library that Python's ssl uses."""
    file = web1.check_output("ldconfig -p | sed -n 's/.*libssl.so.3.*=> //p' | head -n 1")
    return web1.check_output("dpkg -S $(readlink -f %s) | head -n 1 | cut -d: -f1", file)


@pytest.fixture(scope="module")
def newer(restored, web1, server_package, library):
    """Newer packages of PostgreSQL, the web server and a library, and needrestart, wait."""
    web1.check_output("apt-get -qqy install --no-install-recommends needrestart")
    with newer_packages(web1, server_package, "caddy", library):
        yield
    web1.check_output("apt-get -qqy purge needrestart")


def versions(web1, *packages):
    names = " ".join(packages)
    return web1.check_output(f"dpkg-query -Wf '${{Version}} ' {names}").split()


def pids(web1, server):
    units = f"{server.slot()} caddy 'postgresql@*-main'"
    return web1.check_output(f"systemctl show --property=MainPID --value {units}").split()


@pytest.fixture(scope="module")
def night(newer, web1, server, load):
    """The distribution's own nightly unit, as its timer starts it, under load."""
    before = pids(web1, server)
    web1.check_output(JOB)
    job = "systemctl show --property=ActiveState --value pergola-job-at-work"
    wait_for("the job", lambda: web1.check_output(job) == "activating")
    web1.check_output("rm -f /var/lib/apt/periodic/upgrade-stamp")
    with load() as loaded:
        # Its end is waited for by looking: the system's manager starts again on the way.
        web1.check_output(f"systemctl start --no-block {NIGHT}")
        state = f"systemctl show --property=ActiveState --value {NIGHT}"
        ended = ("inactive", "failed")
        wait_for("the night's end", lambda: web1.run(state).stdout.strip() in ended, 300)
        seen = loaded.end()
    after = pids(web1, server)
    still = web1.check_output(job)
    web1.check_output("systemctl stop pergola-job-at-work")
    return {"before": before, "after": after, "load": seen, "job": still}


def test_the_night_updates_postgresql_caddy_and_a_library_and_no_request_fails(
    night, web1, server_package, library
):
    assert all(found.endswith(NEWER) for found in versions(web1, server_package, library, "caddy"))
    seen = night["load"]
    worst = max(window.get("max", 0) for window in seen.windows.values())
    print(f"night: {seen.failed} failed of {seen.ok + seen.failed}, worst {worst:.0f} ms")
    assert seen.lost == []
    assert seen.ok > 200
    assert worst > 1000, "nothing was held"


def test_what_runs_the_old_library_restarted_and_a_job_at_work_did_not(night, web1):
    for before, after in zip(night["before"], night["after"], strict=True):
        assert before != after
    assert night["job"] == "activating", "needrestart or the update has ended it"


def test_the_result_is_told_by_status(night, web1):
    result = json.loads(web1.file(RESULT).content_string)
    assert result["ok"], result
    assert "updated " in result["says"]
    assert "restarted " in result["says"]
    assert re.search(r"updates +ok +\d{4}-", web1.run("pergola-status").stdout)


def test_the_distributions_run_alone_leaves_what_serves_alone(night, web1, server_package):
    held = web1.check_output("apt-config dump Unattended-Upgrade::Package-Blacklist")
    for name in (server_package, "caddy"):
        assert f'"^{re.escape(name)}$"' in held.replace("\\\\", "\\"), held


def test_an_automatic_update_is_put_off_while_a_deploy_is_at_work(night, web1, server, library):
    web1.check_output("echo %s >/run/probe/deploy.json", json.dumps({
        "run": "elsewhere/1", "who": "ann", "since": "now", "what": "deploy of x",
        "phase": "bake", "until": 1e12,
    }))  # fmt: skip
    before = pids(web1, server)
    # Something to do: the library once more, as if it had just been replaced.
    web1.check_output(f"NEEDRESTART_SUSPEND=1 apt-get -qqy install --reinstall {library}")
    try:
        done = web1.run("pergola-upgrade automatic --wait 1")
        assert done.rc == 1
        assert "ann is at work on probe since now: deploy of x" in done.stderr
        assert pids(web1, server) == before
    finally:
        web1.check_output("rm /run/probe/deploy.json")
    said = web1.run("pergola-status").stdout
    assert "FAILED" in said, said
    web1.check_output("pergola-upgrade automatic")
    assert pids(web1, server) != before
    assert json.loads(web1.file(RESULT).content_string)["ok"]
