"""The fixtures of every scenario whose server is web1, with the probe on it."""

import pytest
import testinfra
from scenario import AUTHORITY, INVENTORY, Server, Site, address
from testinfra.host import Host


@pytest.fixture(scope="session")
def web1() -> Host:
    return testinfra.get_host("ansible://web1", ansible_inventory=INVENTORY, sudo=True)


@pytest.fixture(scope="session")
def server(web1: Host) -> Server:
    """The probe on its server. The authority of its certificate is trusted from here on."""
    root = web1.file("/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt")
    AUTHORITY.write_bytes(root.content)
    return Server(web1)


@pytest.fixture(scope="session")
def site(server: Server) -> Site:
    """The probe as a browser sees it, which trusts what `server` brought."""
    return Site("probe.test", address("web1"))
