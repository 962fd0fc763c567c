"""The hosts of an environment, as they reach each other."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

# Networks of one's own: RFC 1918, RFC 6598 (clouds, and overlays such as Tailscale), RFC 4193.
PRIVATE = tuple(
    map(
        ipaddress.ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"),
    )
)


def address_of(host: Mapping[str, Any]) -> str:
    """Where other hosts reach one, by its variables: cluster_address, else where Ansible does."""
    found = host.get("cluster_address") or host.get("ansible_host") or host["inventory_hostname"]
    return str(found)


def cluster_addresses(
    names: Sequence[str], variables: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """The addresses of hosts, in their order."""
    return [address_of(variables[name]) for name in names]


def at_port(addresses: Sequence[str], port: int) -> list[str]:
    """The same with a port, as a URL writes it."""
    return [f"[{one}]:{port}" if ":" in one else f"{one}:{port}" for one in addresses]


def is_address(text: str) -> bool:
    """Whether it is an IP address, and no name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_private(text: str) -> bool:
    """Whether it is an address of a private network."""
    if not is_address(text):
        return False
    address = ipaddress.ip_address(text)
    return any(address in network for network in PRIVATE if network.version == address.version)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {
            "at_port": at_port,
            "cluster_addresses": cluster_addresses,
            "is_address": is_address,
            "is_private": is_private,
        }
