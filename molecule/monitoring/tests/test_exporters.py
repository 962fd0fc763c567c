"""Metrics are there for whom they are meant, and were never for anybody else."""

import socket

import pytest
from scenario import address

PORTS = (9100, 9187)


def listening(host):
    """Addresses that the exporters listen on."""
    lines = host.check_output("ss -Hltn").splitlines()
    return sorted(a for a in (line.split()[3] for line in lines) if a.endswith((":9100", ":9187")))


def fetched(host, port):
    """The metrics of an exporter, as the host itself gets them."""
    code = f"print(urllib.request.urlopen('http://127.0.0.1:{port}/metrics').read().decode())"
    return host.check_output(f'python3 -c "import urllib.request; {code}"')


def test_they_listen_on_loopback_only(watched):
    assert listening(watched.host) == ["127.0.0.1:9100", "127.0.0.1:9187"]


def test_they_never_listened_on_anything_else(watched):
    """Debian starts them when it installs them: they found their address then."""
    for unit in ("prometheus-node-exporter", "prometheus-postgres-exporter"):
        journal = watched.host.check_output(f"journalctl -qo cat -u {unit}")
        started = [line for line in journal.splitlines() if "istening on" in line]
        assert "address=127.0.0.1:" in started[0]
        own = ("address=127.0.0.1:", f"address={address('web1')}:")
        assert all(any(one in line for one in own) for line in started), started


def test_they_tell_of_postgresql_the_host_and_the_checks(watched):
    watched.look()
    node = fetched(watched.host, 9100)
    assert 'pergola_check_state{check="postgresql"} 0' in node
    assert 'pergola_job_ok{job="backup"} 1' in node
    assert "node_memory_MemAvailable_bytes" in node
    server = fetched(watched.host, 9187)
    assert "\npg_up 1" in server
    assert "pg_stat_archiver_failed_count" in server


def test_the_exporters_role_may_read_statistics_only(watched):
    rights = (
        "select rolsuper, rolcreaterole, rolcreatedb from pg_roles where rolname = 'prometheus'"
    )
    assert watched.sql(rights) == "f|f|f"
    member = "select pg_has_role('prometheus', 'pg_monitor', 'member')"
    assert watched.sql(member) == "t"


def test_a_second_run_changes_nothing(watched, provision):
    watched.host.check_output("systemctl start pergola-monitoring.timer")
    assert provision(monitoring_exporters_address="127.0.0.1") == 0
    watched.host.check_output("systemctl stop pergola-monitoring.timer")


def test_on_the_networks_address_they_are_behind_the_firewall_and_go_when_not_wanted(
    watched, provision
):
    here = address("web1")
    provision(monitoring_exporters_address=here)
    assert listening(watched.host) == [f"{here}:9100", f"{here}:9187"]
    for port in PORTS:
        with pytest.raises(TimeoutError):
            socket.create_connection((here, port), timeout=1)
    provision()
    assert listening(watched.host) == []
    watched.host.check_output("systemctl stop pergola-monitoring.timer")
