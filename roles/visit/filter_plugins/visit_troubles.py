"""Why a site does not answer as its visitors expect, by what the module `uri` said of it.

The module says what went wrong in the words of Python, OpenSSL and the kernel. Each rule below
knows some of them by what the three have had for decades.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any

# Names that no public authority gives certificates for, and no public name server knows: RFC 2606,
# 6761, 6762, 8375, and ICANN's.
NEVER_PUBLIC = ("test", "localhost", "example", "invalid", "local", "internal", "home.arpa")
MISDIRECTED, FAILED, UNAVAILABLE = 421, 500, 503
NO_NAME = re.compile(
    r"name or service not known|name resolution|nodename nor servname|no address", re.I
)
NO_WAY = re.compile(r"timed out|timeout|no route to host|unreachable", re.I)
REFUSED = re.compile(r"connection refused|connection reset", re.I)
UNTRUSTED = re.compile(r"certificate|ssl|tls", re.I)


def visit_public(domain: str) -> bool:
    """Whether that is a name for the public, and none of those for use at home."""
    return not any(domain == end or domain.endswith(f".{end}") for end in NEVER_PUBLIC)


def visit_asked(domain: str) -> bool:
    """Whether people could open a site by that name: it is public, or known in this network."""
    found = addresses_of(domain)
    return visit_public(domain) or any(not ip_address(one).is_loopback for one in found)


def addresses_of(name: str) -> list[str]:
    """The addresses that a name has here; none when it has none, or nobody could be asked."""
    try:
        found = socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def trouble(domain: str, answer: Mapping[str, Any], there: list[str], server: list[str]) -> str:
    """What is wrong with one answer, with the likely cause; empty when nothing is.

    `there` are the domain's addresses and `server` those of the server, both as seen here.
    """
    status, message = int(answer.get("status") or -1), str(answer.get("msg", ""))
    elsewhere = there and server and not set(there) & set(server)
    leads = f"{domain} leads to {', '.join(there) or 'no address'}"
    aside = f"; {leads}, and the server is {', '.join(server)}" if elsewhere else ""
    if status == UNAVAILABLE:
        return "503: the maintenance page, or an application that does not answer"
    if status == MISDIRECTED:
        return f"421: who answers does not know this name{aside}"
    if status >= FAILED:
        return f"{status}: the application fails; playbooks/status.yml says more"
    if status > 0:
        return ""
    if NO_NAME.search(message):
        return f"DNS: {domain} has no address; give it an A or AAAA record" + (
            f" of {', '.join(server)}" if server else ""
        )
    if UNTRUSTED.search(message):
        return (
            f"certificate: {reason(message)}{aside}. Caddy gets one when the name leads to the "
            "server and ports 80 and 443 can be reached from outside: `journalctl -u caddy` there"
        )
    if NO_WAY.search(message):
        return (
            f"firewall: nothing comes back from port 443 of {', '.join(there) or domain}{aside}. "
            "Open 80 and 443 in your hoster's firewall (security group) too"
        )
    if REFUSED.search(message):
        return f"nothing listens on port 443 of {', '.join(there) or domain}{aside}"
    return f"{reason(message) or 'no answer'}{aside}"


def reason(message: str) -> str:
    """What is said at the end of a message of `uri`: before it stands what it had wanted."""
    text = re.sub(r"^.*?Request failed: (<urlopen error )?", "", message, flags=re.S)
    return text.strip("<> \n").splitlines()[0] if text.strip("<> \n") else ""


def visit_troubles(domain: str, answers: Mapping[str, Any], server: str) -> str:
    """What is wrong with a site, asked from several places; empty when nothing is.

    `answers`: by place, what `uri` registered. `server`: the server's address in the inventory. The
    same trouble is said once for all places.
    """
    asked = {place: each for place, each in answers.items() if not each.get("skipped")}
    there, own = addresses_of(domain), addresses_of(server)
    places: dict[str, list[str]] = {}
    for place, answer in asked.items():
        if said := trouble(domain, answer, there, own):
            places.setdefault(said, []).append(place)
    return "\n".join(lines(domain, places))


def lines(domain: str, places: Mapping[str, list[str]]) -> Iterator[str]:
    for said, where in places.items():
        yield f"https://{domain}/, opened {' and '.join(where)}: {said}"


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "visit_asked": visit_asked,
            "visit_public": visit_public,
            "visit_troubles": visit_troubles,
        }
