"""How the hosts of an environment reach each other (plugins/filter/cluster.py)."""

import importlib.util
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[2] / "plugins/filter/cluster.py"
spec = importlib.util.spec_from_file_location("cluster", PLUGIN)
plugin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plugin)

HOSTS = {
    "app1": {"inventory_hostname": "app1", "ansible_host": "198.51.100.8"},
    "db1": {
        "inventory_hostname": "db1",
        "ansible_host": "198.51.100.9",
        "cluster_address": "10.0.0.5",
    },
    "10.0.0.7": {"inventory_hostname": "10.0.0.7"},
}


def test_a_host_is_reached_in_the_private_network_or_else_as_ansible_reaches_it():
    found = plugin.cluster_addresses(["db1", "app1", "10.0.0.7"], HOSTS)
    assert found == ["10.0.0.5", "198.51.100.8", "10.0.0.7"]


def test_an_address_with_a_port_is_as_a_url_writes_it():
    assert plugin.at_port(["10.0.0.5", "fd00::5"], 8000) == ["10.0.0.5:8000", "[fd00::5]:8000"]


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("10.1.2.3", True),
        ("172.31.0.1", True),
        ("192.168.1.1", True),
        ("100.64.0.9", True),
        ("fd12:3456::1", True),
        ("172.32.0.1", False),
        ("203.0.113.4", False),
        ("2001:db8::1", False),
        ("db1.example.org", False),
        ("", False),
    ],
)
def test_which_networks_are_ones_own(address, private):
    assert plugin.is_private(address) is private
