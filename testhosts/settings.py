"""The environment variables that steer testhosts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from testhosts.shell import HostsError

# systemd-resolved's own list comes first: /etc/resolv.conf then names only its local stub.
RESOLVER_FILES = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf"))


@dataclass(frozen=True)
class Settings:
    """What the environment says; empty values count as unset."""

    state: Path
    network: str
    suite: str | None
    mirror: str | None
    mirror_security: str | None
    dns: tuple[str, ...]

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Settings":
        """Return the settings; raise HostsError naming the variable that is wrong."""
        state = environment.get("TESTHOSTS_STATE") or "/var/lib/pergola-testhosts"
        # The path ends up in overlayfs options, where these characters separate.
        if not state.startswith("/") or re.search(r"[\s,:\\]", state):
            raise HostsError(
                f"TESTHOSTS_STATE={state}: needs an absolute path without space, comma or colon"
            )
        network = environment.get("TESTHOSTS_NETWORK") or "10.213"
        if not is_ipv4(f"{network}.0.0") or network.count(".") != 1:
            raise HostsError(f"TESTHOSTS_NETWORK={network}: needs two numbers, as 10.213")
        return cls(
            state=Path(state),
            network=network,
            suite=environment.get("TESTHOSTS_SUITE") or None,
            mirror=environment.get("TESTHOSTS_MIRROR") or None,
            mirror_security=environment.get("TESTHOSTS_MIRROR_SECURITY") or None,
            dns=tuple(environment.get("TESTHOSTS_DNS", "").replace(",", " ").split()),
        )

    def nameservers(self, files: tuple[Path, ...] = RESOLVER_FILES) -> list[str]:
        """Return the name servers for the hosts; raise HostsError if there is none."""
        if self.dns:
            return list(self.dns)
        for file in files:
            if file.exists():
                named = re.findall(r"^nameserver\s+(\S+)", file.read_text(), re.MULTILINE)
                # The hosts have IPv4 only, and 127.* would be themselves.
                usable = [name for name in named if is_ipv4(name) and not name.startswith("127.")]
                if usable:
                    return usable
        raise HostsError(
            "no IPv4 name server in /etc/resolv.conf that the hosts can reach: set TESTHOSTS_DNS"
        )


def is_ipv4(text: str) -> bool:
    """Return whether `text` is an IPv4 address."""
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True
