"""What is different on Ubuntu, by its effect on a server that Pergola has made."""

import json
import re

import pytest
from scenario import said, wait_for

UNITS = "probe.worker.blue.service postgresql@*-main.service caddy.service"
NIGHTLY, JOB = "probe.nightly.service", "pergola-job-at-work.service"
# As a backup: a job of Pergola's own that uses the library.
AT_WORK = (
    f"systemd-run --quiet --collect --unit={JOB} --property=Type=oneshot --no-block "
    "/usr/bin/python3 -c 'import ssl, time; time.sleep(900)'"
)
# The kernel's rules as some clouds' images have them.
CLOUD = """table ip cloud {
  chain INPUT {
    type filter hook input priority 0; policy accept;
    ct state established,related accept
    iifname "lo" accept
    tcp dport 22 accept
    reject
  }
}
"""


@pytest.fixture(scope="module")
def run(web1):
    return web1.check_output


def test_universe_is_on_wherever_the_archive_is_written_down_and_once(run):
    (line,) = run("cat /etc/apt/sources.list").splitlines()
    assert line.endswith("-security main universe"), line
    components = run("grep Components: /etc/apt/sources.list.d/ubuntu.sources")
    assert components == "Components: main universe"
    assert run("ls /etc/apt/sources.list.d") == "pergola-caddy.sources\nphased.list\nubuntu.sources"


def test_caddy_is_its_own_repositorys_from_the_first_run_on(run):
    installed = run("grep ' install caddy:' /var/log/dpkg.log")
    assert re.search(r" <none> \S+\+own1$", installed), installed


def test_ssh_is_held_by_its_socket(run):
    assert run("systemctl is-enabled ssh.socket") == "enabled"
    assert run("systemctl is-active ssh.socket") == "active"


def test_the_locale_is_in_a_file_of_its_own(run):
    assert "LANG=C.UTF-8" in run("cat /etc/locale.conf")


def test_what_the_systems_own_parts_say_stays(run):
    assert run("readlink /etc/resolv.conf") == "../run/systemd/resolve/stub-resolv.conf"
    assert run("readlink -f /usr/bin/sudo") == "/usr/lib/cargo/bin/sudo"
    assert run("readlink /usr/bin/df") == "/usr/lib/cargo/bin/coreutils/df"
    files = run("ls /etc/ssh/sshd_config.d")
    assert "50-cloud-init.conf\n60-cloudimg-settings.conf" in files


def test_an_update_that_is_phased_waits_for_its_day(run):
    assert re.search(r"deferred.* phasing:\s+phased-sample", run("apt-get -s upgrade"))
    assert run("dpkg-query -Wf '${Version}' phased-sample") == "1"


# -- the firewall ----------------------------------------------------------------------------------


def test_the_site_is_reached_from_outside_though_ufw_was_on(site, run):
    assert site.get("/").status_code == 200
    assert site.get("/", plain=True).status_code in (200, 308)
    assert run("ufw status") == "Status: inactive"
    assert "ENABLED=no" in run("cat /etc/ufw/ufw.conf")


def test_a_ufw_that_is_turned_on_is_told_and_turned_off_again(site, web1, run, playbook):
    run("ufw allow 8080/tcp; ufw --force enable")
    try:
        assert "CRITICAL: firewall" in web1.run("pergola-status").stdout
        refused = playbook("playbooks/provision.yml", "--tags=base", base_adopt=[])
        assert refused.returncode != 0
        assert re.search(r"- ufw: ufw is on \(.*ufw allow 8080/tcp\)", said(refused)), said(refused)
        assert run("ufw status").startswith("Status: active")
        done = playbook("playbooks/provision.yml", "--tags=base")
        assert done.returncode == 0, done.stdout
        assert re.search(r"WARNING: web1: ufw was turned off.*8080/tcp ALLOW", said(done))
    finally:
        run("ufw --force disable")
    assert site.get("/").status_code == 200
    assert "firewall ok" in re.sub(" +", " ", web1.run("pergola-status").stdout)
    again = playbook("playbooks/provision.yml", "--tags=base")
    assert "changed=0 " in again.stdout, again.stdout


def test_another_firewall_that_shuts_visitors_out_is_told_by_status_and_site(
    site, web1, run, playbook
):
    run("echo %s | nft -f -", CLOUD)
    try:
        for _ in range(2):  # a single look may lie
            run("systemctl start pergola-monitoring.service")
        # As the unit sees it, which may not ask for the rules itself.
        known = json.loads(run("cat /var/lib/pergola/status.json"))["checks"]
        states = {one["name"]: one["state"] for one in known}
        assert (states["firewall"], states["errors"]) == ("critical", "ok")
        status = web1.run("pergola-status").stdout
        assert "TCP 80 and 443 are shut over IPv4" in status
        assert "ip cloud INPUT" in status
        done = playbook("playbooks/provision.yml", "--tags=monitoring")
        assert "WARNING: web1 is not as it is set:" in said(done)
        assert "firewall: TCP 80 and 443 are shut over IPv4" in said(done)
    finally:
        run("nft delete table ip cloud")
    assert site.get("/").status_code == 200


# -- needrestart -----------------------------------------------------------------------------------


@pytest.fixture
def at_work(run):
    """A schedule and a job of Pergola's own, both at work."""
    run(f"systemctl start --no-block {NIGHTLY}; {AT_WORK}")
    for unit in (NIGHTLY, JOB):
        state = f"systemctl show --property=ActiveState --value {unit}"
        wait_for(unit, lambda state=state: run(state) == "activating")
    yield f"{NIGHTLY} {JOB}"
    run(f"systemctl stop {NIGHTLY} {JOB}; systemctl reset-failed {NIGHTLY}; true")


def test_a_library_that_is_replaced_restarts_nothing_and_ends_no_job(run, server, at_work):
    """In the mode that Ubuntu's hook chooses, which Debian's takes from the environment."""
    units = f"{server.slot()} {UNITS} {at_work}"
    show = f"systemctl show --property=Id,ActiveState,InvocationID {units}"
    before = run(show)
    assert before.count("InvocationID=") == 6
    file = run("ldconfig -p | sed -n 's/.*libssl.so.3.*=> //p' | head -n 1")
    package = run("dpkg -S $(readlink -f %s) | head -n 1 | cut -d: -f1", file)
    output = run(
        f"NEEDRESTART_MODE=a apt-get -qqy install --reinstall {package} zlib1g libexpat1 2>&1"
    )
    assert "being deferred" in output, output
    assert run(show) == before
