from ipaddress import IPv4Network

import pytest

from testhosts import network
from testhosts.network import Network, choose_subnet
from testhosts.shell import HostsError


def networks(*texts):
    return [IPv4Network(text) for text in texts]


def test_preferred_subnet_if_free():
    assert str(choose_subnet("10.213", 7, [])) == "10.213.7.0/24"


def test_next_subnet_if_taken_and_round_the_end():
    taken = networks("10.213.255.0/24", "10.213.0.0/25", "192.168.0.0/16")
    assert str(choose_subnet("10.213", 255, taken)) == "10.213.1.0/24"


def test_no_subnet_left_says_what_to_do():
    with pytest.raises(HostsError, match=r"no free /24 in 10\.213\.0\.0/16.*TESTHOSTS_NETWORK"):
        choose_subnet("10.213", 0, networks("10.213.0.0/16"))


def test_taken_networks_are_addresses_and_routes_but_no_wide_ones(monkeypatch):
    answers = {
        "address": '[{"addr_info": [{"local": "192.0.2.2", "prefixlen": 24}]}, {}]',
        "route": '[{"dst": "default"}, {"dst": "10.0.0.0/8"}, {"dst": "10.213.4.0/24"},'
        ' {"dst": "10.9.9.9"}]',
    }
    monkeypatch.setattr(network, "run", lambda *argv: answers[argv[3]])
    assert network.taken_networks() == networks("192.0.2.0/24", "10.213.4.0/24", "10.9.9.9/32")


def test_addresses_of_a_run():
    net = Network("pg-00000000", IPv4Network("10.213.7.0/24"))
    assert (net.gateway, net.address(0), net.address(2)) == (
        "10.213.7.1",
        "10.213.7.10",
        "10.213.7.12",
    )
    assert "ip saddr 10.213.7.0/24" in network.nat_rules(net)


@pytest.mark.parametrize(("policy", "calls"), [("DROP", 2), ("ACCEPT", 0)])
def test_iptables_is_opened_only_where_it_drops(monkeypatch, policy, calls):
    inserted = []

    def run(*argv):
        if "-I" in argv:
            inserted.append(argv)
        return f"-P FORWARD {policy}\n"

    monkeypatch.setattr(network, "run", run)
    monkeypatch.setattr(network.shutil, "which", lambda _: "/usr/sbin/iptables")
    network.open_iptables("pg-00000000")
    assert len(inserted) == calls
