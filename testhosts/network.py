"""One bridge with its own /24 and NAT for each run."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from testhosts.shell import HostsError, lock, run, say, succeeds

# All state folders of this machine share its networks, so they share this lock.
LOCK = Path("/run/lock/pergola-testhosts.lock")
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
FIRST_HOST = 10
WIDE = 12  # prefix length; networks up to it are only ways to somewhere else


@dataclass(frozen=True)
class Network:
    """The network of one run."""

    bridge: str
    subnet: IPv4Network

    @property
    def gateway(self) -> str:
        """The bridge's own address."""
        return str(self.subnet[1])

    def address(self, index: int) -> str:
        """Return the address of the machine number `index`, from 0."""
        return str(self.subnet[FIRST_HOST + index])


def choose_subnet(prefix: str, preferred: int, taken: Iterable[IPv4Network]) -> IPv4Network:
    """Return a /24 of `prefix`.0.0/16 that overlaps none of `taken`; raise if all are in use.

    `preferred` makes a run's addresses mostly the same each time.
    """
    taken = list(taken)
    for step in range(256):
        subnet = IPv4Network(f"{prefix}.{(preferred + step) % 256}.0/24")
        if not any(subnet.overlaps(other) for other in taken):
            return subnet
    raise HostsError(f"no free /24 in {prefix}.0.0/16: `down` some runs, or set TESTHOSTS_NETWORK")


def taken_networks() -> list[IPv4Network]:
    """Return the networks that this machine has an address in or a route to."""
    addresses = [
        f"{address['local']}/{address['prefixlen']}"
        for link in json.loads(run("ip", "-json", "-4", "address", "show"))
        for address in link.get("addr_info", [])
        if "local" in address
    ]
    routes = [route["dst"] for route in json.loads(run("ip", "-json", "-4", "route", "show"))]
    networks = [
        IPv4Network(network, strict=False) for network in addresses + routes if network != "default"
    ]
    # A company's VPN routes all of 10.0.0.0/8: a /24 inside hides next to nothing of that.
    return [network for network in networks if network.prefixlen > WIDE]


def create(bridge: str, prefix: str, preferred: int, owner: str) -> Network:
    """Make the bridge and its NAT; `owner` is written on it for `bridges`."""
    with lock(LOCK):
        subnet = choose_subnet(prefix, preferred, taken_networks())
        network = Network(bridge, subnet)
        run("ip", "link", "add", bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0")
        run("ip", "link", "set", bridge, "alias", owner)
        run("ip", "address", "add", f"{network.gateway}/24", "dev", bridge)
    run("ip", "link", "set", bridge, "up")
    if FORWARDING.read_text().strip() == "0":
        say("switching on net.ipv4.ip_forward, so that the hosts reach the network")
        FORWARDING.write_text("1")
    run("nft", "-f", "-", stdin=nat_rules(network))
    open_iptables(bridge)
    warn_about_firewalls()
    return network


def nat_rules(network: Network) -> str:
    """Return the nftables text that hides the hosts behind this machine's address."""
    return (
        f"table ip {network.bridge} {{\n"
        "  chain postrouting {\n"
        "    type nat hook postrouting priority srcnat;\n"
        f'    ip saddr {network.subnet} oifname != "{network.bridge}" masquerade\n'
        "  }\n"
        "}\n"
    )


def open_iptables(bridge: str) -> None:
    """Let the bridge through where Docker or ufw drop what iptables forwards.

    An accept in a table of our own could not undo their drop.
    """
    if shutil.which("iptables") and "-P FORWARD DROP" in run("iptables", "-w", "-S", "FORWARD"):
        for direction in ("-i", "-o"):
            run("iptables", "-w", "-I", "FORWARD", direction, bridge, "-j", "ACCEPT")


def close_iptables(bridge: str) -> None:
    """Take back every rule of `open_iptables`, even if it was called twice."""
    if shutil.which("iptables"):
        for direction in ("-i", "-o"):
            while succeeds("iptables", "-w", "-D", "FORWARD", direction, bridge, "-j", "ACCEPT"):
                pass


def warn_about_firewalls() -> None:
    """Name nftables chains that drop forwarded traffic: only the user may open those."""
    for item in json.loads(run("nft", "--json", "list", "chains"))["nftables"]:
        chain = item.get("chain", {})
        by_iptables = (chain.get("table"), chain.get("name")) == ("filter", "FORWARD")
        if (chain.get("hook"), chain.get("policy")) == ("forward", "drop") and not by_iptables:
            name = f"{chain['family']} {chain['table']} {chain['name']}"
            say(f"warning: nftables chain `{name}` drops forwarded traffic; let pg-* through there")


def remove(bridge: str) -> None:
    """Remove whatever exists of a run's network."""
    if succeeds("nft", "list", "table", "ip", bridge):
        run("nft", "delete", "table", "ip", bridge)
    close_iptables(bridge)
    if bridge in bridges():
        run("ip", "link", "delete", bridge)


def bridges() -> dict[str, str]:
    """Return the bridges of all runs on this machine and who owns them."""
    links = json.loads(run("ip", "-json", "link", "show", "type", "bridge"))
    return {
        link["ifname"]: link.get("ifalias", "")
        for link in links
        if link.get("ifname", "").startswith("pg-")
    }


def set_cable(port: str, *, plugged: bool) -> None:
    """Pull a machine's cable or put it back; raise HostsError if the machine is off."""
    run("ip", "link", "set", port, "up" if plugged else "down")


def remove_port(port: str) -> None:
    """Remove a machine's end of the cable if power loss left it."""
    if Path("/sys/class/net", port).exists():
        # The kernel may be faster: it removes it together with the machine's last process.
        succeeds("ip", "link", "delete", port)
