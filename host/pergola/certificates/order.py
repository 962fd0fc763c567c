"""Which certificates the control node wants this host to have."""

import hashlib
import ipaddress
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pergola.documents import Form
from pergola.errors import PergolaError

HOME = Path("/etc/pergola/certificates")
NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
BLOCK = re.compile(
    r"-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n", re.ASCII
)


@dataclass(frozen=True)
class Wanted:
    """One certificate.

    `name`: of its files; `trust`: members (servers and clients) or clients; `addresses`: names and
    IP addresses by which others reach the host; `group`: who may read the key beside root.
    """

    name: str
    trust: str
    common_name: str
    group: str
    addresses: list[str] = field(default_factory=list)

    @property
    def key(self) -> Path:
        return HOME / f"{self.name}.key"

    @property
    def certificate(self) -> Path:
        return HOME / f"{self.name}.crt"


@dataclass(frozen=True)
class Trusted:
    """The authorities of each trust, in PEM form; the first one of each signs."""

    members: str
    clients: str

    def bundles(self) -> dict[str, str]:
        return {"members": self.members, "clients": self.clients}


@dataclass(frozen=True)
class Order:
    """All that is wanted. `signed`: the certificates that were asked for, by name."""

    certificates: list[Wanted]
    authorities: Trusted
    signed: dict[str, str] = field(default_factory=dict)

    def first(self, trust: str) -> str:
        """The authority that signs for a trust."""
        return next(blocks(self.authorities.bundles()[trust]))


ORDER = Form(Order)


def checked(order: Order) -> Order:
    """The order itself; PergolaError when it cannot be meant."""
    for trust, text in order.authorities.bundles().items():
        if not list(blocks(text)) or "PRIVATE KEY" in text:
            raise PergolaError(f"the order has no authorities of the {trust} in PEM form")
    known = order.authorities.bundles()
    for one in order.certificates:
        names = [what for what in one.addresses if not is_address(what)]
        for what in (one.name, one.common_name, one.group, *names):
            if not NAME.fullmatch(what):
                raise PergolaError(f"'{what}' cannot stand in a certificate's order")
        if one.trust not in known or one.name in known:
            raise PergolaError(f"{one.name} cannot be a certificate of the {one.trust}")
    names = [one.name for one in order.certificates]
    if twice := {name for name in names if names.count(name) > 1}:
        raise PergolaError(f"{', '.join(sorted(twice))} is wanted twice")
    return order


def is_address(text: str) -> bool:
    """Whether it is one that a certificate can hold: without the name of an interface."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def blocks(text: str) -> Iterator[str]:
    """The certificates of a text, each in PEM form."""
    return (found[0] for found in BLOCK.finditer(text))


def fingerprints(text: str) -> set[str]:
    """SHA-256 of the certificates of a text."""
    return {hashlib.sha256(ssl.PEM_cert_to_DER_cert(one)).hexdigest() for one in blocks(text)}
