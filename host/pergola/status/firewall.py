"""Whether the kernel's firewall lets visitors in, whoever's rules they are.

The rules of every table but our own are followed for a new connection from anywhere to the web's
ports, as `nft` writes them; iptables' (ufw's, firewalld's) are among them. What cannot be decided
counts as let in: nobody is woken for a guess.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pergola.status.config import SECONDS
from pergola.status.look import CRITICAL, OK, UNKNOWN, Finding, Look
from pergola.status.packets import (
    BACK,
    FAMILIES,
    OPEN,
    OURS,
    SHUT,
    Packet,
    Table,
    tables,
    through,
)
from pergola.status.seen import Application, Shut
from pergola.system import run

# The unit has no right to ask for the rules itself, and has them written before it starts.
WRITTEN = Path("/run/pergola-monitoring/ruleset")
PORTS = (80, 443)


def ruleset() -> str:
    """The kernel's rules as nft writes them; empty: there is no nft."""
    if "INVOCATION_ID" in os.environ and WRITTEN.exists():
        return WRITTEN.read_text()
    try:
        return run("nft", "--terse", "list", "ruleset", timeout=SECONDS, what="nft")
    except FileNotFoundError:
        return ""


def shut(found: Iterable[Table]) -> list[Shut]:
    """Which tables shut the web's ports, and for whom."""
    wrong = []
    for table in found:
        if (table.family, table.name) == OURS or table.family not in (*FAMILIES, "inet"):
            continue
        families = [*FAMILIES] if table.family == "inet" else [table.family]
        for chain, policy in table.policies.items():
            for family in families:
                ends = {port: through(table, chain, Packet("tcp", port, family)) for port in PORTS}
                last = SHUT if policy == "drop" else OPEN
                ports = [
                    port for port, end in ends.items() if (last if end == BACK else end) == SHUT
                ]
                if ports:
                    wrong.append(Shut(f"{table.family} {table.name} {chain}", family, ports))
    return wrong


def seen(apps: Iterable[Application]) -> list[Shut]:
    """The chains that shut visitors out; nothing where there is no site to visit."""
    return shut(tables(ruleset())) if list(apps) else []


def firewall(look: Look) -> Iterator[Finding]:
    if not look.seen.apps:
        return
    wrong = look.seen.firewall
    if wrong is None:
        yield Finding("firewall", UNKNOWN, "could not be asked for")
        return
    # Of IPv6 nobody knows where the host has no address of it.
    has = {"ip6" if ":" in address else "ip" for address in look.seen.addresses or []}
    told = [one for one in wrong if one.family in has or not has]
    if not told:
        yield Finding("firewall", OK, "no rules of the kernel shut visitors out")
        return
    ports = sorted({port for one in told for port in one.ports})
    shut_families = {one.family for one in told}
    families = [name for family, name in FAMILIES.items() if family in shut_families]
    chains = sorted({one.chain for one in told})
    says = (
        f"TCP {' and '.join(map(str, ports))} are shut over {' and '.join(families)}, by rules "
        f"that are not Pergola's ({', '.join(chains)}; see `nft list chain {chains[0]}`): visitors "
        "do not get in. Let these ports in there, or turn that firewall off: Pergola has its own"
    )
    yield Finding("firewall", CRITICAL, says)


CHECKS = (firewall,)
