"""Services that the firewall would cut, web servers in the way, rules that keep visitors out."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import rules
from .finding import Finding, output, read
from .sockets import Listener, is_loopback

NOTES = Path("/etc/pergola/firewall.d")
UFW = Path("/etc/ufw/ufw.conf")
KINDS = ("tcp", "udp", "protocol")
# What the rules of role base let in whatever is set: ICMP, and the answers of DHCP.
ALWAYS = {"tcp": set(), "udp": {68, 546}, "protocol": {1, 58}}
# Debian 12's images answer for their name by LLMNR. The local network may go on asking.
LLMNR = (5355, "systemd-resolved.service")
WEB = {"tcp": (80, 443), "udp": (443,)}
TUNNELS = {
    "gre": 47,
    "gretap": 47,
    "ip6gre": 47,
    "ip6gretap": 47,
    "ipip": 4,
    "sit": 41,
    "ip6tnl": 41,
}
SETTING = {
    "tcp": "base_firewall_tcp_ports",
    "udp": "base_firewall_udp_ports",
    "protocol": "base_firewall_protocols",
}


def notes(inventory: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What this inventory let in so far, and what the others of this server do."""
    own: dict[str, Any] = {}
    others: dict[str, Any] = {"ssh": [], "tcp": [], "udp": [], "protocol": [], "peers": []}
    for path in sorted(NOTES.glob("*.json")):
        try:
            note = json.loads(read(path))
        except ValueError:
            continue
        if path.stem == inventory:
            own = note
        else:
            for kind, there in others.items():
                there += [one for one in note.get(kind, []) if one not in there]
    return own, others


def allowed(*of: dict[str, Any]) -> dict[str, set[int]]:
    """Ports and protocols that all of these let in."""
    found = {kind: set(ALWAYS[kind]) for kind in KINDS}
    for one in of:
        for kind in KINDS:
            found[kind] |= {int(port) for port in one.get(kind, [])}
        found["tcp"] |= {int(port) for port in one.get("ssh", [])}
    if 443 in found["tcp"]:
        found["udp"].add(443)
    return found


def ports_of_peers(of: dict[str, Any]) -> list[int]:
    """The TCP ports that are open to some addresses only."""
    return [int(one["port"]) for one in of.get("peers", []) if one["from"]]


@dataclass(frozen=True)
class Network:
    """What decides who reaches this server: rules, addresses."""

    tables: list[rules.Table]
    addresses: frozenset[str] = frozenset()
    loopback_is_led_to: bool = False

    @property
    def families(self) -> list[str]:
        """The families by which others reach this server at all."""
        has = {ipaddress.ip_address(one).version for one in self.addresses}
        return [family for family, version in (("ip", 4), ("ip6", 6)) if version in has] or [
            "ip",
            "ip6",
        ]

    @property
    def has_ours(self) -> bool:
        """Whether Pergola's own rules are loaded: it is no first run."""
        return any((table.family, table.name) == rules.OURS for table in self.tables)

    def is_reached(
        self, kind: str, port: int, address: str = "::", *, by_all: bool = False
    ) -> bool:
        """Whether somebody outside gets to a port of an address today, or everybody does."""
        version = ipaddress.ip_address(address).version
        families = ["ip"] if version == 4 else [*self.families] if address == "::" else ["ip6"]
        # By a port that leads here, whatever the rules say of this one. Pergola's own decide alone.
        if not self.has_ours and rules.led_here(self.tables, self.addresses, kind, port):
            return True
        return any(
            not rules.led_away(self.tables, self.addresses, kind, port, family)
            and not rules.shut_by(self.tables, rules.Packet(kind, port, family, by_all))
            for family in families
        )


def seen() -> Network:
    """The network as it is."""
    try:
        links = json.loads(output("ip", "-json", "address", "show") or "[]")
    except ValueError:
        links = []
    addresses = frozenset(
        one["local"]
        for link in links
        for one in link.get("addr_info", [])
        if one.get("scope") != "host" and one.get("scope") != "link"
    )
    led = Path("/proc/sys/net/ipv4/conf").glob("*/route_localnet")
    return Network(rules.kernel(), addresses, any(read(one).strip() == "1" for one in led))


def bare_protocols() -> Iterator[Listener]:
    """Tunnels and IPsec of the kernel, which have no socket."""
    try:
        links = json.loads(output("ip", "-json", "-details", "link", "show") or "[]")
    except ValueError:
        links = []
    for link in links:
        kind = link.get("linkinfo", {}).get("info_kind", "")
        # The kernel makes one of each kind by itself; it is up only where it is used.
        if kind in TUNNELS and "UP" in link.get("flags", []):
            yield Listener("protocol", TUNNELS[kind], "0.0.0.0", "", program=link["ifname"])  # noqa: S104
    if output("ip", "xfrm", "state"):
        yield Listener("protocol", 50, "0.0.0.0", "", program="IPsec")  # noqa: S104


def reachable(network: Network, there: list[Listener]) -> list[Listener]:
    """Those that somebody outside reaches today."""
    found = []
    for one in there:
        if is_loopback(one):
            led = rules.led_to_loopback(network.tables, one.kind, one.port)
            reached = network.loopback_is_led_to and led
        else:
            reached = one.kind == "protocol" or network.is_reached(one.kind, one.port, one.address)
        if reached:
            found.append(one)
    return found


def cut(
    network: Network,
    there: list[Listener],
    wanted: dict[str, Any],
    own: dict[str, Any],
    others: dict[str, Any],
) -> Iterator[Finding]:
    """Services that somebody outside reaches today and would not after the run."""
    # Before the first run a port for some addresses only is a new limit for whoever listens there.
    peers = [{"tcp": ports_of_peers(of)} for of in (wanted, others) if network.has_ours]
    after = allowed(wanted, others, *peers, {"tcp": wanted.get("limited", [])})
    # What this inventory let in and does no longer was taken out of its settings by a person. Ports
    # by which people log in are another matter: they are named whatever was let in before.
    before = allowed({**own, "ssh": [], "tcp": [*own.get("tcp", []), *ports_of_peers(own)]})
    named: dict[str, list[Listener]] = {}
    for one in reachable(network, there):
        if (one.port, one.unit) == LLMNR:
            continue
        if one.port not in after[one.kind] and one.port not in before[one.kind]:
            named.setdefault(one.name, []).append(one)
    for ones in sorted(named.values(), key=lambda ones: (ones[0].kind, ones[0].port)):
        kind = ones[0].kind
        same = {each[0].port for each in named.values() if each[0].kind == kind}
        by_all = kind == "protocol" or any(
            network.is_reached(one.kind, one.port, one.address, by_all=True) for one in ones
        )
        yield told(ones, sorted({*map(int, wanted.get(kind, [])), *same}), by_all=by_all)


def told(ones: list[Listener], every: list[int], *, by_all: bool) -> Finding:
    """What is said of one port or protocol, which everybody reaches, or some addresses."""
    one = ones[0]
    who = ", ".join(dict.fromkeys(each.who for each in ones))
    where = ", ".join(dict.fromkeys(each.address for each in ones))
    what = f"{one.kind.upper()} {one.port}" if one.kind != "protocol" else f"IP protocol {one.port}"
    way = f"to keep it, add {one.port} to {SETTING[one.kind]}"
    if len(every) > 1:
        way += f" (with all that are named here: {every})"
    if not by_all and one.kind == "tcp":
        way = (
            "today's rules let some in only. To keep it for them: base_firewall_tcp_from: "
            f"[{{port: {one.port}, from: [ADDRESS, …]}}]; for everybody: base_firewall_tcp_ports"
        )
    elif not by_all:
        way += "; that opens it to everybody, and today's rules let some in only"
    return Finding(
        one.name, f"{what} ({where}) is answered by {who}, and the firewall would cut it", way
    )


def in_the_way(there: list[Listener], unit: str = "caddy.service") -> Iterator[Finding]:
    """Programs that hold the web's ports, which Caddy needs."""
    for one in there:
        if one.port in WEB.get(one.kind, ()) and not is_loopback(one) and one.unit != unit:
            stop = (
                f"`systemctl disable --now {one.unit}`"
                if one.unit.endswith(".service")
                else "stop it"
            )
            yield Finding(
                f"port-{one.port}",
                f"{one.who} holds {one.kind.upper()} port {one.port}, on which Caddy must listen",
                f"serve its sites through Caddy (/etc/caddy/NAME.caddy for each), then {stop}",
                adoptable=False,
            )


def ufw() -> Iterator[Finding]:
    """ufw, by what it says of itself: its rules may not be the kernel's before the next boot."""
    at_boot = re.search(r"^ENABLED=yes", read(UFW), re.MULTILINE)
    if at_boot or "Status: active" in output("env", "LC_ALL=C", "ufw", "status"):
        added = [line for line in output("ufw", "show", "added").splitlines() if line[:4] == "ufw "]
        its = f" ({'; '.join(added)})" if added else ""
        yield Finding(
            "ufw",
            f"ufw is on{its}, and would be turned off, for one firewall decides",
            "what it lets in goes into base_firewall_tcp_ports, or base_firewall_tcp_from for some "
            "addresses; or keep ufw, open 80 and 443 there, and set base_firewall: false",
        )


def visitors(network: Network, ports: list[int]) -> Iterator[Finding]:
    """Rules of somebody else's that keep visitors away from a site that is new here.

    Not ufw's, which has a name of its own; later on the monitoring tells of them.
    """
    if network.has_ours:
        return
    closed: dict[str, set[int]] = {}
    for port in ports:
        for family in network.families:
            for table in rules.shut_by(network.tables, rules.Packet("tcp", port, family)):
                goes = any(chain.startswith("ufw") for chain in table.chains)
                if (table.family, table.name) != rules.OURS and not goes:
                    closed.setdefault(f"{table.family} {table.name}", set()).add(port)
    for where, which in closed.items():
        yield Finding(
            "firewall",
            f"rules that are not Pergola's (table {where}) keep TCP "
            f"{' and '.join(map(str, sorted(which)))} from everybody: nobody would reach the site",
            "let these ports in there, lastingly, or turn that firewall off: Pergola has its own",
        )
