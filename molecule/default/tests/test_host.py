"""The server itself: units, firewall, journal, time, updates, trust."""

import json
import re
import socket

import pytest
import scenario

testinfra_hosts = ["ansible://web1"]


@pytest.fixture(scope="module")
def slot(host):
    """The colour of the live slot."""
    return "green" if host.file("/srv/linkboard/live/green").exists else "blue"


def answers(port):
    """Whether a TCP port answers from outside, be it by a refusal."""
    try:
        socket.create_connection((scenario.address("web1"), port), 0.5).close()
    except TimeoutError:
        return "nothing"
    except ConnectionRefusedError:
        return "refused"
    return "open"


def test_what_serves_the_site_is_up_and_starts_at_boot(host, slot):
    cluster = "-".join(host.check_output("pg_lsclusters --no-header").split()[:2])
    units = ["caddy.service", f"linkboard@{slot}.socket", f"linkboard@{slot}.service"]
    units += ["postgresql.service", f"postgresql@{cluster}.service", "pergola-firewall.service"]
    # Debian starts a service, Ubuntu a socket, which starts the service.
    ssh = host.run("systemctl is-enabled ssh.socket").stdout.strip() == "enabled"
    units += ["ssh.socket" if ssh else "ssh.service"]
    units += ["apt-daily.timer", "apt-daily-upgrade.timer"]
    # The command prints a line for each, and fails when one is not.
    active = host.run(f"systemctl is-active {' '.join(units)}").stdout.split()
    enabled = host.run(f"systemctl is-enabled {' '.join(units)}").stdout.split()
    for unit, runs, starts in zip(units, active, enabled, strict=True):
        journal = host.run(f"journalctl --no-pager --lines 20 --unit {unit}").stdout
        assert runs == "active", f"{unit} is {runs}:\n{journal}"
        # Debian makes a cluster's unit part of postgresql.service at boot.
        assert starts in ("enabled", "enabled-runtime"), f"{unit} is {starts}"


def test_the_idle_slot_is_down_and_stays_so_at_boot(host, slot):
    idle = {"blue": "green", "green": "blue"}[slot]
    for kind in ("socket", "service"):
        unit = f"linkboard@{idle}.{kind}"
        assert host.run(f"systemctl is-active {unit}").stdout.strip() == "inactive"
        assert host.run(f"systemctl is-enabled {unit}").stdout.strip() == "disabled"


def test_no_unit_has_failed(host):
    assert host.check_output("systemctl list-units --failed --plain --no-legend") == ""


def test_unit_files_have_no_mistakes_and_are_the_loaded_ones(host, slot):
    units = f"caddy.service linkboard@{slot}.service linkboard@{slot}.socket"
    verified = host.run(f"systemd-analyze verify --man=no {units}")
    ours = [line for line in verified.stderr.splitlines() if "linkboard" in line or "caddy" in line]
    assert ours == []
    shown = host.check_output(f"systemctl show --property NeedDaemonReload --value {units}")
    assert set(shown.split()) == {"no"}


@pytest.mark.parametrize("port", [22, 80, 443])
def test_ports_of_ssh_and_the_web_answer_from_outside(port):
    assert answers(port) == "open"


@pytest.fixture(scope="module")
def listener(host):
    """A program that listens on a port of all addresses, as one started by mistake would."""
    listen = (
        "import socket, time; listener = socket.create_server(('', 8778)); "
        "open('/run/listener', 'w').close(); time.sleep(600)"
    )
    host.check_output(
        "systemd-run --quiet --collect --unit listener /usr/bin/python3 -I -c %s "
        "&& until test -e /run/listener; do sleep 0.05; done",
        listen,
    )
    yield 8778
    host.check_output("systemctl stop listener; rm /run/listener")


def test_no_other_port_answers_from_outside_though_somebody_listens(host, listener):
    connect = f"import socket; socket.create_connection(('127.0.0.1', {listener}), 1)"
    host.check_output("/usr/bin/python3 -I -c %s", connect)
    assert answers(listener) == "nothing"


def test_no_other_port_answers_the_neighbours(host, listener):
    authority = host.get_host(
        "ansible://authority", ansible_inventory=scenario.INVENTORY, sudo=True
    )
    connect = "import socket; socket.create_connection(('{}', {}), 1)"
    assert authority.run(
        "/usr/bin/python3 -I -c %s", connect.format(scenario.address("web1"), 443)
    ).succeeded
    refused = authority.run(
        "/usr/bin/python3 -I -c %s", connect.format(scenario.address("web1"), listener)
    )
    assert "TimeoutError" in refused.stderr


@pytest.mark.parametrize("port", [25, 111, 2019, 5432, 8000])
def test_well_known_ports_do_not_answer(port):
    assert answers(port) == "nothing"


def test_the_server_reaches_the_outside(host):
    connect = "import socket; socket.create_connection(('acme.test', 443), 5)"
    host.check_output("/usr/bin/python3 -I -c %s", connect)


def test_the_firewall_of_the_kernel_is_that_of_the_file(host):
    loaded = host.check_output("nft list table inet pergola")
    again = host.check_output(
        "unshare --net sh -c 'nft --file /etc/pergola/firewall.nft && nft list table inet pergola'"
    )
    assert loaded == again


def test_a_firewall_that_is_switched_off_is_gone_and_comes_back_when_it_is_on(
    host, playbook, listener
):
    # Each inventory of the server has a note; the one of test_foreign_app may be there as well.
    away, notes = "/run/notes-of-others", "/etc/pergola/firewall.d"
    host.check_output(f"echo {{}} >{notes}/another.json")
    done = playbook("playbooks/provision.yml", "--tags=base", base_firewall=False)
    try:
        assert done.returncode == 0, done.stdout
        assert re.search(r"the\s+firewall\s+stays\s+for\s+another", done.stdout), done.stdout
        assert answers(9) == "nothing"
        host.check_output(f"rm {notes}/another.json; mkdir {away}; mv -t {away} {notes}/* || true")
        done = playbook("playbooks/provision.yml", "--tags=base", base_firewall=False)
        assert done.returncode == 0, done.stdout
        assert answers(9) == "refused"
        assert not host.run("nft list table inet pergola").succeeded
        assert not host.service("pergola-firewall").is_enabled
    finally:
        host.run(f"rm -f {notes}/another.json; mv -t {notes} {away}/*; rmdir {away}")
        # Without a firewall the tests' own listener answers everybody, and is asked about.
        done = playbook("playbooks/provision.yml", "--tags=base", base_adopt=[f"tcp-{listener}"])
    assert done.returncode == 0, done.stdout
    assert answers(9) == "nothing"
    assert host.service("pergola-firewall").is_enabled


def test_the_journal_is_kept_on_disk_within_its_limit(host):
    lines = host.check_output(
        "journalctl --output json MESSAGE_ID=ec387f577b844b8fa948f33cad9a75e6 _BOOT_ID=%s",
        host.check_output("tr -d - < /proc/sys/kernel/random/boot_id"),
    )
    last = [json.loads(line) for line in lines.splitlines()][-1]
    assert last["JOURNAL_PATH"].startswith("/var/log/journal/")
    assert int(last["LIMIT"]) <= 2**30
    assert int(last["MAX_USE"]) == 2**30


def test_the_clock_is_in_utc_and_kept_right(host):
    assert host.check_output("date +%Z") == "UTC"
    assert host.check_output("timedatectl show --property Timezone --value") == "Etc/UTC"
    # One of the two programs that the distributions keep it with.
    states = host.run("systemctl is-enabled systemd-timesyncd chrony").stdout.split()
    assert states.count("enabled") == 1, states


def test_a_login_has_the_locale(host):
    assert "LANG=C.UTF-8" in host.check_output("su - ada -c locale").splitlines()
    assert host.check_output("su - ada -c 'locale charmap'") == "UTF-8"


def test_updates_install_themselves_and_never_reboot(host):
    dump = host.check_output("apt-config dump").splitlines()
    for line in (
        'APT::Periodic::Update-Package-Lists "1";',
        'APT::Periodic::Unattended-Upgrade "1";',
        'APT::Periodic::AutocleanInterval "7";',
        'Unattended-Upgrade::Automatic-Reboot "false";',
    ):
        assert line in dump


def test_security_updates_are_among_the_updates(host):
    dump = host.check_output("apt-config dump Unattended-Upgrade::Origins-Pattern")
    dump += host.check_output("apt-config dump Unattended-Upgrade::Allowed-Origins")
    assert "security" in dump.lower()


def test_the_private_authority_is_trusted(host):
    url = "https://acme.test/acme/local/directory"
    ask = f"import urllib.request; print(urllib.request.urlopen('{url}', timeout=5).status)"
    assert host.check_output("/usr/bin/python3 -I -c %s", ask) == "200"
