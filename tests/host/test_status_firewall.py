"""Whether rules of the kernel shut visitors out, read from what `nft` says of real firewalls."""

import textwrap

import pytest
from looks import Host
from pergola.documents import converted
from pergola.errors import PergolaError
from pergola.status import firewall
from pergola.status.look import Look
from pergola.status.memory import Memory
from pergola.status.seen import Application, Seen
from test_status_site import APP, ASKED

PROBE = converted(APP, Application, "APP")
# ufw as it writes itself (through iptables-nft), cut down.
UFW = """
table ip filter { # handle 1
	chain ufw-before-input {
		iifname "lo" counter packets 0 bytes 0 accept
		ct state related,established counter packets 2 bytes 104 accept
		ct state invalid counter packets 0 bytes 0 drop
		ip protocol icmp icmp type echo-request counter packets 0 bytes 0 accept
		udp sport 67 udp dport 68 counter packets 0 bytes 0 accept
		counter packets 0 bytes 0 jump ufw-not-local
		ip daddr 224.0.0.251 udp dport 5353 counter packets 0 bytes 0 accept
		counter packets 0 bytes 0 jump ufw-user-input
	}
	chain ufw-after-input {
		tcp dport 445 counter packets 0 bytes 0 jump ufw-skip-to-policy-input
		fib daddr type broadcast counter packets 0 bytes 0 jump ufw-skip-to-policy-input
	}
	chain ufw-after-logging-input {
		limit rate 3/minute burst 10 packets counter packets 0 bytes 0 log prefix "[UFW BLOCK] "
	}
	chain INPUT {
		type filter hook input priority filter; policy drop;
		counter packets 2 bytes 104 jump ufw-before-input
		counter packets 0 bytes 0 jump ufw-after-input
		counter packets 0 bytes 0 jump ufw-after-logging-input
	}
	chain OUTPUT {
		type filter hook output priority filter; policy drop;
	}
	chain ufw-skip-to-policy-input {
		counter packets 0 bytes 0 drop
	}
	chain ufw-not-local {
		fib daddr type local counter packets 0 bytes 0 return
		limit rate 3/minute burst 10 packets counter packets 0 bytes 0 jump ufw-logging-deny
		counter packets 0 bytes 0 drop
	}
	chain ufw-logging-deny {
	}
	chain ufw-user-input {
		tcp dport 22  counter packets 0 bytes 0 accept
		# more
	}
}
"""
ALLOWED = UFW.replace("\t\t# more", "\t\ttcp dport { 80, 443 } counter packets 0 bytes 0 accept")
# The images of some clouds.
REJECT = """
table ip filter {
	chain INPUT {
		type filter hook input priority filter; policy accept;
		ct state related,established counter packets 9 bytes 5 accept
		ip protocol icmp counter packets 0 bytes 0 accept
		iifname "lo" counter packets 0 bytes 0 accept
		ct state new tcp dport 22 counter packets 0 bytes 0 accept
		counter packets 0 bytes 0 reject with icmp host-prohibited
	}
}
"""
FIREWALLD = """
table inet firewalld {
	chain filter_PREROUTING {
		type filter hook prerouting priority filter + 10; policy accept;
		icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept
		meta nfproto ipv6 fib saddr . mark . iif oif missing drop
	}
	chain filter_INPUT {
		type filter hook input priority filter + 10; policy accept;
		ct state { established, related } accept
		ct status dnat accept
		iifname "lo" accept
		ct state invalid drop
		jump filter_INPUT_ZONES
		reject with icmpx admin-prohibited
	}
	chain filter_INPUT_ZONES {
		iifname "eth0" goto filter_IN_public
		goto filter_IN_public
	}
	chain filter_IN_public {
		jump filter_IN_public_allow
		meta l4proto { icmp, ipv6-icmp } accept
		reject with icmpx admin-prohibited
	}
	chain filter_IN_public_allow {
		tcp dport 22 accept
		ip6 daddr fe80::/64 udp dport 546 accept
	}
}
"""
BY_HAND = """
table inet own {
	set friends {
		type ipv4_addr
	}
	chain input {
		type filter hook input priority filter; policy drop;
		ct state vmap { invalid : drop, established : accept, related : accept }
		iif "lo" accept
		RULE
	}
}
"""


def shut(text):
    return {(one.family, *one.ports) for one in firewall.shut(firewall.tables(text))}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", set()),
        (UFW, {("ip", 80, 443)}),
        (ALLOWED, set()),
        (ALLOWED.replace("{ 80, 443 }", "443"), {("ip", 80)}),
        (UFW.replace("policy drop", "policy accept"), set()),
        (REJECT, {("ip", 80, 443)}),
        (FIREWALLD, {("ip", 80, 443), ("ip6", 80, 443)}),
        (FIREWALLD.replace("dport 22", "dport { 22, 80-443 }"), set()),
        # Our own is as it is set.
        (UFW.replace("ip filter", "inet pergola"), set()),
    ],
)
def test_a_firewall_that_shuts_visitors_out_is_found(text, wrong):
    assert shut(text) == wrong


BOTH = {("ip", 80, 443), ("ip6", 80, 443)}


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        ("tcp dport 22 accept", BOTH),
        ('tcp dport { 22, 80,\n\t\t\t443 } accept comment "the web; drop"', set()),
        ("tcp dport vmap { 22 : accept, 80 : accept, 443 : accept }", set()),
        ("tcp dport vmap { 22 : accept, 25 : drop }", BOTH),
        ("tcp dport != 25 accept", set()),
        ("udp dport 443 accept", BOTH),
        ("ip6 nexthdr tcp accept", {("ip", 80, 443)}),
        ('log prefix "web " level info tcp dport 22 accept', BOTH),
        # Some get in, and who they are cannot be known: no alarm.
        ("ip saddr 192.0.2.0/24 tcp dport { 80, 443 } accept", {("ip6", 80, 443)}),
        ("ip saddr @friends accept", {("ip6", 80, 443)}),
        ('iifname "eth0" accept', set()),
        ("tcp dport vmap @services", set()),
        ("meta mark 0x1 accept", set()),
        # Some are kept out.
        ("ip saddr @friends drop\n\t\taccept", set()),
        ("limit rate 5/second accept", set()),
    ],
)
def test_rules_are_read_as_a_visitors_packet_meets_them(rule, wrong):
    assert shut(BY_HAND.replace("RULE", rule)) == wrong


@pytest.fixture
def host():
    host = Host()
    host.seen |= {"apps": [APP], "asked": ASKED}
    return host


def found(**seen):
    now = Seen("", 0, 0, "", **{"apps": [PROBE], "addresses": ["192.0.2.10"], **seen})
    return [*firewall.firewall(Look(now, {}, {}, Memory(), {}))]


def test_what_shuts_visitors_out_is_critical_and_named_with_what_to_do():
    (finding,) = found(firewall=firewall.shut(firewall.tables(UFW)))
    assert (finding.name, finding.state) == ("firewall", "critical")
    assert "TCP 80 and 443 are shut over IPv4" in finding.says
    assert "nft list chain ip filter INPUT" in finding.says


def test_ipv6_counts_where_the_host_has_it():
    six = firewall.shut(firewall.tables(UFW.replace("ip filter", "ip6 filter")))
    assert found(firewall=six)[0].state == "ok"
    (finding,) = found(firewall=six, addresses=["192.0.2.10", "2001:db8::10"])
    assert finding.state == "critical"
    assert "over IPv6," in finding.says


def test_a_host_without_a_site_is_not_asked():
    assert found(apps=[], firewall=[]) == []
    assert firewall.seen([]) == []


def test_rules_that_cannot_be_read_are_no_open_door(monkeypatch, tmp_path):
    monkeypatch.setattr(firewall, "WRITTEN", tmp_path / "none")
    nft = tmp_path / "nft"
    nft.write_text("#!/bin/sh\necho Operation not permitted >&2; exit 1\n")
    nft.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(PergolaError, match="not permitted"):
        firewall.seen([PROBE])


def test_the_unit_reads_what_was_written_for_it(monkeypatch, tmp_path):
    monkeypatch.setattr(firewall, "WRITTEN", tmp_path / "ruleset")
    (tmp_path / "ruleset").write_text(textwrap.dedent(REJECT))
    monkeypatch.setenv("INVOCATION_ID", "1")
    assert firewall.seen([PROBE])[0].chain == "ip filter INPUT"
