"""Whom the kernel's firewall keeps out, and whom it sends elsewhere."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass

from .finding import output, read
from .packets import BACK, HOOKED, OURS, SHUT, Packet, Table, holds, ruled, tables, through

__all__ = ["OURS", "Packet", "Table", "added", "kernel", "led_away", "shut_by", "tables"]
LED = re.compile(
    r"\b(?P<kind>tcp|udp) dport (?P<ports>\{[^}]*\}|\S+) .*?\b(?:"
    r"dnat (?:ip6? )?to (?P<to>\[[\da-f:.]+\]|[\d.]+|[\da-f:]+)(?::(?P<dnat>\d+))?"
    r"|redirect(?: to :(?P<own>\d+))?)(?=\s|$)"
)


def shut_by(found: list[Table], packet: Packet) -> list[Table]:
    """The tables of which a chain keeps a packet out."""
    wrong = []
    for table in found:
        if table.family not in (packet.family, "inet"):
            continue
        for chain, policy in table.policies.items():
            end = through(table, chain, packet)
            if end == SHUT or (end == BACK and policy == "drop"):
                wrong.append(table)
    return list({id(table): table for table in wrong}.values())


@dataclass(frozen=True)
class Led:
    """A rule that gives packets another destination; `address` is empty for the server itself."""

    kind: str
    ports: str  # as the rule has them: a number, a range or a set
    address: str
    port: int  # 0: the same

    def goes_to(self, kind: str, port: int) -> bool:
        if self.port:
            return (self.kind, self.port) == (kind, port)
        return self.kind == kind and bool(holds(self.ports, port))


def led(found: list[Table]) -> Iterator[Led]:
    """The rules of all tables that do so."""
    for table in found:
        for rule in (rule for chain in table.chains.values() for rule in chain):
            if one := LED.search(rule):
                address = (one["to"] or "").strip("[]")
                yield Led(one["kind"], one["ports"], address, int(one["dnat"] or one["own"] or 0))


def led_away(found: list[Table], own: frozenset[str], kind: str, port: int, family: str) -> bool:
    """Whether packets to a port are sent on, to a container or the like: they are no input."""
    return any(
        one.kind == kind
        and holds(one.ports, port)
        and (":" in one.address) == (family == "ip6")
        and one.address not in own
        and not ipaddress.ip_address(one.address).is_loopback
        for one in led(found)
        if one.address
    )


def led_to_loopback(found: list[Table], kind: str, port: int) -> bool:
    """Whether packets from outside are sent to a port of the loopback."""
    return any(one.address.startswith("127.") and one.goes_to(kind, port) for one in led(found))


def led_here(found: list[Table], own: frozenset[str], kind: str, port: int) -> bool:
    """Whether packets to another port are sent to this one."""
    return any(
        (not one.address or one.address in own) and one.goes_to(kind, port) for one in led(found)
    )


def kernel() -> list[Table]:
    """The kernel's tables, those of iptables that nft cannot show too."""
    listed = output("nft", "--terse", "list", "ruleset")
    found = tables(listed)
    for version, six in (("iptables", ""), ("ip6tables", "6")):
        old = read(f"/proc/net/ip{six}_tables_names").strip()
        saved = output(f"{version}-legacy-save") if old else ""
        if not listed and not saved:
            saved = output(f"{version}-save")
        if saved:
            found += added(output(f"{version}-restore-translate", "-f", "/dev/stdin", text=saved))
    return found


def added(text: str) -> list[Table]:
    """Tables as commands of nft that would make them."""
    made: dict[str, Table] = {}
    for line in text.splitlines():
        words = line.split(None, 4)
        if len(words) < 4 or words[0] not in ("add", "insert"):
            continue
        table = made.setdefault(f"{words[2]} {words[3]}", Table(words[2], words[3]))
        rest = words[4] if len(words) > 4 else ""
        chain, _, rule = rest.partition(" ")
        if words[1] == "chain":
            table.chains.setdefault(chain, [])
            if hooked := HOOKED.search(rule):
                table.policies[chain] = hooked[2]
        elif words[1] == "rule":
            table.chains.setdefault(chain, []).extend(ruled(rule))
    return [*made.values()]
