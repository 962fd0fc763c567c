"""What the tests of this scenario look through: the probe, and Pergola's playbooks."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import testinfra
import yaml
from testinfra.host import Host

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
sys.path.insert(0, str(PROJECT / "molecule/shared"))

from load import Request  # noqa: E402 - found through the line above
from scenario import (  # noqa: E402
    AUTHORITY,
    INVENTORY,
    Loading,
    Playbooks,
    Repository,
    Server,
    Site,
    address,
    loading,
)

SETTINGS = yaml.safe_load(
    (PROJECT / "molecule/releases/inventory/group_vars/servers/settings.yml").read_text()
)
HOME = "/srv/probe"
SHORT = [
    Request("GET", "/"),
    Request("GET", "/db"),
    Request("POST", "/echo", body=b'{"a body": "that must arrive whole"}'),
    Request("POST", "/echo", body=b"x" * 20_000),
]


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
    return Site("probe.test", address("web1"))


@pytest.fixture(scope="session")
def playbook() -> Playbooks:
    return Playbooks()


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository of the probe, to make releases in."""
    return Repository.of(PROJECT / "molecule/releases/probe", tmp_path_factory.mktemp("probe"))


@pytest.fixture(scope="session")
def deploy(playbook: Playbooks, probe: Repository) -> Callable[..., CompletedProcess[str]]:
    """Deploy a commit of the probe; with settings of its own for this one deploy.

    `fails=True`: it must be refused, else it must succeed.
    """

    def run(
        version: str = "HEAD", *arguments: str, fails: bool = False, **more: object
    ) -> CompletedProcess[str]:
        more = {"app_source": str(probe.path), "app_version": version, **more}
        done = playbook("playbooks/deploy.yml", "--tags=release", *arguments, **more)
        assert (done.returncode != 0) == fails, done.stdout
        return done

    return run


@pytest.fixture(scope="session")
def rollback(playbook: Playbooks) -> Callable[..., CompletedProcess[str]]:
    """Roll the probe back."""

    def run(*arguments: str, fails: bool = False, **more: object) -> CompletedProcess[str]:
        done = playbook("playbooks/rollback.yml", *arguments, **more)
        assert (done.returncode != 0) == fails, done.stdout
        return done

    return run


@pytest.fixture(scope="session")
def environment() -> Callable[..., dict]:
    """The probe's usual environment with something added: another configuration."""
    return lambda **more: {"app_environment": {**SETTINGS["app_environment"], **more}}


@pytest.fixture(scope="session")
def load(
    tmp_path_factory: pytest.TempPathFactory, server: Server
) -> Callable[..., AbstractContextManager[Loading]]:
    """The load that never retries: `with load(rate=60) as running: ...; seen = running.end()`."""

    def start(name: str = "probe.test", host: str = "web1", **options: object) -> Iterator[Loading]:
        options = {"requests": SHORT, "rate": 60, **options}
        return loading(tmp_path_factory.mktemp("load"), name, address(host), **options)

    return start
