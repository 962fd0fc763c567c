"""What rules of the kernel's firewall do with a new packet from anywhere, whoever's they are.

They are followed as `nft` writes them; iptables' (ufw's, firewalld's) are among these. What cannot
be decided counts as let in. Role preflight has this file too, so it imports nothing of its package.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

NAMES = {"http": 80, "https": 443}
FAMILIES = {"ip": "IPv4", "ip6": "IPv6"}
MOST_JUMPS = 32
OPEN, SHUT, BACK = "open", "shut", "back"
VERDICT = re.compile(
    r"(?:^|\s)(accept|drop|return|continue|reject(?: with .*)?|(?:jump|goto) \S+|queue.*)$"
)
HOOKED = re.compile(r"type filter hook (input|prerouting) .*?policy (accept|drop);")
# What is true of every packet.
ANY = (
    r'counter(?: packets \d+ bytes \d+)?|comment "[^"]*"|'
    r'log(?: prefix "[^"]*")?(?: (?:level|group|snaplen|flags) \S+)*'
)
# What a rule may ask of a packet: how it is written, and the answer for ours. None: it depends.
YES, NO, MAYBE = True, False, None


NUMBERS = {"tcp": "6", "udp": "17"}
OURS = ("inet", "pergola")  # set by base_firewall_*: what it shuts is wanted


@dataclass(frozen=True)
class Packet:
    """The first of a connection: tcp or udp, to a port, over ip or ip6.

    `by_all`: whoever sent it. What lets some in only does not count then.
    """

    kind: str
    port: int
    family: str
    by_all: bool = False

    @property
    def others(self) -> str:
        """The kind that it is not."""
        return "udp" if self.kind == "tcp" else "tcp"


@dataclass
class Table:
    """A table, with the rules of its chains and the policies of those that the kernel asks."""

    family: str
    name: str
    chains: dict[str, list[str]] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)


def tables(text: str) -> list[Table]:
    """What `nft list ruleset` says, without sets."""
    found: list[Table] = []
    chain = begun = ""
    for part in map(str.strip, text.splitlines()):
        line = f"{begun} {part}".strip()
        begun = line if chain and line.count("{") > line.count("}") else ""
        if begun:  # a long set goes over several lines
            continue
        if opened := re.fullmatch(r"table (\S+) (\S+) \{(?: #.*)?", line):
            found.append(Table(opened[1], opened[2]))
            chain = ""
        elif opened := re.fullmatch(r"chain (\S+) \{(?: #.*)?", line):
            chain = opened[1]
            found[-1].chains[chain] = []
        elif line == "}":
            chain = ""
        elif chain and (hooked := HOOKED.match(line)):
            found[-1].policies[chain] = hooked[2]
        elif chain and line and not line.startswith(("#", "comment ", "type ")):
            found[-1].chains[chain] += ruled(line)
    return found


def ruled(line: str) -> list[str]:
    """A rule, or those that a map of verdicts stands for."""
    before, mapped, verdicts = line.partition(" vmap ")
    if not mapped:
        return [line]
    if not verdicts.startswith("{"):
        return ["vmap accept"]  # a named map: it depends
    pairs = (pair.rpartition(" : ") for pair in verdicts.strip("{} ").split(","))
    return [f"{before} {value.strip()} {verdict.strip()}" for value, _, verdict in pairs]


def holds(values: str, wanted: int) -> bool | None:
    """Whether a value, a range or a set of them has a number; None for a named set."""
    if values.startswith("@"):
        return MAYBE
    for value in values.strip("{} ").split(","):
        first, _, last = value.strip().partition("-")
        ends = [NAMES.get(end, end) for end in (first, last or first)]
        try:
            if int(ends[0]) <= wanted <= int(ends[1]):
                return YES
        except ValueError:
            continue  # another service's name
    return NO


def words(values: str, *wanted: str) -> bool:
    return bool({*re.findall(r"[\w-]+", values)} & {*wanted})


def asked(condition: str, packet: Packet) -> tuple[bool | None, str]:
    """The first thing that a rule asks, answered for a visitor's packet, and the rest of it."""

    def is_it(pattern: str) -> re.Match[str] | None:
        return re.match(rf"(?:{pattern})(?:\s+|$)", condition)

    def answer(found: re.Match[str], value: bool | None) -> tuple[bool | None, str]:
        no = found.groupdict().get("no")
        return (value if value is None or not no else not value), condition[found.end() :]

    no = r"(?P<no>!= )?"
    if found := is_it(ANY):
        return answer(found, YES)
    if is_it({"ip": "ip6", "ip6": "ip"}[packet.family]):
        return NO, ""
    if found := is_it(rf"(?:{packet.kind}|th) dport {no}(?P<is>\{{[^}}]*\}}|\S+)"):
        return answer(found, holds(found["is"], packet.port))
    if found := is_it(rf"(?:meta l4proto|ip protocol|ip6 nexthdr) {no}(?P<is>\{{[^}}]*\}}|\S+)"):
        return answer(found, words(found["is"], packet.kind, NUMBERS[packet.kind]))
    if found := is_it(rf"ct state {no}(?P<is>\{{[^}}]*\}}|\S+)"):
        return answer(found, words(found["is"], "new"))
    if found := is_it(rf"meta nfproto {no}(?P<is>\S+)"):
        return answer(found, found["is"] == {"ip": "ipv4", "ip6": "ipv6"}[packet.family])
    if found := is_it(rf'(?:meta )?iif(?:name)? {no}"?lo"?'):
        return answer(found, NO)
    if found := is_it(rf"fib daddr type {no}(?P<is>\{{[^}}]*\}}|\S+)"):
        return answer(found, words(found["is"], "local"))
    if is_it("ct status dnat"):
        return NO, ""
    if re.match(rf"(?:{packet.others}|icmp|icmpv6|igmp|sctp|dccp|esp|ah) ", condition):
        return NO, ""
    # An address, an interface, a rate: not everybody. What is asked beside that may still say no.
    return MAYBE, condition.partition(" ")[2].strip()


def matches(condition: str, packet: Packet) -> bool | None:
    """Whether a rule is for a visitor's packet."""
    whole: bool | None = YES
    while condition:
        one, condition = asked(condition, packet)
        if one is NO:
            return NO
        whole = whole and one
    return whole


def through(table: Table, chain: str, packet: Packet, depth: int = 0) -> str:
    """What a chain does with the packet: lets it in, shuts it out, or hands it back."""
    if depth > MOST_JUMPS:
        return OPEN
    for rule in table.chains.get(chain, []):
        found = VERDICT.search(re.sub(r' comment "[^"]*"$', "", rule))
        if not found:
            continue
        verdict = found[1].split()
        matched = matches(rule[: found.start()].strip(), packet)
        if matched is NO or verdict[0] == "continue":
            continue
        result = {"accept": OPEN, "drop": SHUT, "reject": SHUT, "return": BACK}.get(
            verdict[0], OPEN
        )
        if verdict[0] in ("jump", "goto"):
            result = through(table, verdict[1], packet, depth + 1)
            if result == BACK and verdict[0] == "jump":
                continue
        if matched is YES:
            return result
        if result != SHUT and not packet.by_all:
            return OPEN  # some are let in, or go on elsewhere
    return BACK
