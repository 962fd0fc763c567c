"""An environment whose inventory is edited as its team would: to four servers, and back."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import testinfra
import yaml
from testinfra.host import Host

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
sys.path.insert(0, str(PROJECT / "molecule/shared"))

from load import Request, Result  # noqa: E402 - found through the line above
from scenario import (  # noqa: E402
    AUTHORITY,
    INVENTORY,
    RUN,
    Loading,
    Playbooks,
    Repository,
    Server,
    Site,
    address,
    described,
    loading,
    said,
)

NAME = "probe.test"
REQUESTS = [Request("GET", "/db"), Request("POST", "/echo", body=b'{"a body": "whole"}')]
ROOT = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"


class Total:
    """What all loads have seen."""

    def __init__(self) -> None:
        self.failed, self.asked, self.worst = 0, 0, 0.0
        self.deploys = self.reboots = self.steps = 0

    def count(self, result: Result) -> None:
        """Count it. An answer that no release has given is none."""
        assert sum(result.releases.values()) == result.ok, result.releases
        self.failed += len(result.lost)
        self.asked += result.ok + result.failed
        slowest = [one["max"] for one in result.latency_ms.values() if "max" in one]
        self.worst = max([self.worst, *slowest])

    def __str__(self) -> str:
        return (
            f"machines: {self.failed} failed of {self.asked} requests over {self.deploys} deploys, "
            f"{self.reboots} reboots, {self.steps} growth steps; "
            f"worst gap {self.worst / 1000:.1f} s"
        )


TOTAL = Total()


def pytest_unconfigure() -> None:
    """The scenario's last line; scripts/test.sh repeats it after Molecule's own."""
    print(TOTAL)
    if summary := os.environ.get("SCENARIO_SUMMARY"):
        Path(summary).write_text(f"{TOTAL}\n")


class Environment:
    """The inventory, the playbooks run with it, and its hosts."""

    def __init__(self, folder: Path, source: Repository) -> None:
        text = (PROJECT / "molecule/machines/inventory/group_vars/servers/settings.yml").read_text()
        self.settings = {**yaml.safe_load(text), "app_source": str(source.path)}
        self.settings |= {
            "app_version": "HEAD",
            "backup_key_file": str(RUN / "backup.key"),
            "certificates_file": str(RUN / "authorities.pem"),
        }
        self.folder, self.source = folder, source
        self.groups: dict[str, list[str]] = {}
        self.inventory = folder / "hosts.yml"
        self.playbook = Playbooks()
        self.edge = ""
        self.total = TOTAL

    def become(self, **groups: list[str]) -> None:
        """Edit the inventory."""
        self.groups = groups
        described(self.folder, groups, self.settings)
        self.edge = groups.get("edge", groups["app"])[0]

    def run(self, book: str, *arguments: str, **more: object) -> str:
        """What a playbook said, in one line; it must succeed, or with fails=True be refused."""
        path = book if "/" in book or book == "site.yml" else f"playbooks/{book}.yml"
        return said(
            self.playbook.checked(path, *arguments, inventory=str(self.inventory), **more)  # type: ignore[arg-type]
        )

    def host(self, name: str) -> Host:
        return testinfra.get_host(f"ansible://{name}", ansible_inventory=INVENTORY, sudo=True)

    def server(self, name: str) -> Server:
        return Server(self.host(name))

    def site(self) -> Site:
        return Site(NAME, address(self.edge))

    def trust(self) -> None:
        """Trust the authorities of all hosts that have one."""
        hosts = [self.host(name) for name in ("db1", "app1", "app2", "edge1")]
        roots = [host.file(ROOT) for host in hosts]
        AUTHORITY.write_bytes(b"".join(root.content for root in roots if root.exists))

    def sql(self, query: str) -> str:
        """What the database's superuser is answered."""
        command = "cd / && runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -d probe -c %s"
        return self.host("db1").check_output(command, query)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    files = PROJECT / "molecule/releases/probe"
    source = Repository.of(files, tmp_path_factory.mktemp("probe"))
    made = Environment(tmp_path_factory.mktemp("inventory"), source)
    made.become(app=["db1"], db=["db1"])
    made.trust()
    return made


@pytest.fixture(scope="session")
def load(
    tmp_path_factory: pytest.TempPathFactory, world: Environment
) -> Callable[..., AbstractContextManager[Loading]]:
    """The load that never retries, by the site's name at the edge's address."""

    @contextmanager
    def start(**options: object) -> Iterator[Loading]:
        folder = tmp_path_factory.mktemp("load")
        chosen = {"rate": 20, "requests": REQUESTS, **options}
        with loading(folder, NAME, address(world.edge), **chosen) as running:
            yield running

    return start
