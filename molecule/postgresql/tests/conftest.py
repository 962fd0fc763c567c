"""What the tests of this scenario look through: the probe, its database, and the playbooks."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from testinfra.host import Host

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
sys.path.insert(0, str(PROJECT / "molecule/shared"))
pytest_plugins = ["fixtures_of_web1"]

from load import Request, Result  # noqa: E402 - found through the line above
from scenario import (  # noqa: E402
    PROBE,
    Loading,
    Playbooks,
    Server,
    address,
    described,
    loading,
    said,
)

REQUESTS = [Request("GET", "/db"), Request("POST", "/echo", body=b'{"a body": "whole"}')]
# The probe once more, as a team would have it that only deploys: ten lines, none of the server's.
SECOND = {
    "app_name": "second",
    "app_domain": "second.test",
    **PROBE,
    "app_database_connections": 5,
    "app_environment": {"PROBE_DATABASE": "second"},
}
# 150 for each of two slots: with the probe's 20 and the server's own 20 more than its 250.
MANY = {"app_database_connections": 150}


class Database:
    """The server's PostgreSQL, asked as whoever is named."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.version = host.check_output("ls /etc/postgresql")
        folder = f"/etc/postgresql/{self.version}/main/conf.d"
        self.file = f"{folder}/pergola.conf"
        self.needs = f"{folder}/pergola_applications.conf"

    def run(self, query: str, database: str = "postgres", user: str = "postgres"):
        command = f"cd / && runuser -u {user} -- psql -XAtq -v ON_ERROR_STOP=1 -d {database} -c %s"
        return self.host.run(command, query)

    def __call__(self, query: str, **more: str) -> str:
        done = self.run(query, **more)
        assert done.rc == 0, done.stderr
        return done.stdout.strip()

    def began(self) -> str:
        """When the running server was started: another moment after a restart."""
        return self("select pg_postmaster_start_time()")

    def text(self) -> str:
        """The file of its settings, and that of what applications need beyond them."""
        return self.host.check_output(f"cat {self.file}; cat {self.needs} 2>/dev/null || true")


@pytest.fixture(scope="session")
def database(web1: Host) -> Database:
    return Database(web1)


@pytest.fixture(scope="session")
def playbook() -> Playbooks:
    return Playbooks()


@pytest.fixture(scope="session")
def provision(playbook: Playbooks) -> Callable[..., str]:
    """Run the part of provision.yml that is about PostgreSQL; what it said, in one line.

    `fails=True`: it must be refused, else it must succeed.
    """

    def run(*arguments: str, fails: bool = False, **more: object) -> str:
        done = playbook("playbooks/provision.yml", "--tags=postgresql", *arguments, **more)
        assert (done.returncode != 0) == fails, done.stdout
        return said(done)

    return run


@pytest.fixture(scope="session")
def deploy(playbook: Playbooks) -> Callable[..., str]:
    """Run deploy.yml, by itself the probe's; what it said, in one line.

    `fails=True`: it must be refused, else it must succeed.
    """

    def run(*arguments: str, fails: bool = False, **more: object) -> str:
        done = playbook("playbooks/deploy.yml", *arguments, **more)
        assert (done.returncode != 0) == fails, done.stdout
        return said(done)

    return run


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The inventory of another application on the same server: its own settings only."""
    folder = tmp_path_factory.mktemp("second")
    return described(folder, {"app": ["web1"], "db": ["web1"]}, SECOND)


@pytest.fixture(scope="session")
def load(
    tmp_path_factory: pytest.TempPathFactory, server: Server
) -> Callable[..., AbstractContextManager[Loading]]:
    """The load that never retries, on the probe."""

    @contextmanager
    def start(**options: object) -> Iterator[Loading]:
        options = {"requests": REQUESTS, "rate": 60, **options}
        folder = tmp_path_factory.mktemp("load")
        with loading(folder, "probe.test", address("web1"), **options) as running:
            yield running
        TOTAL.add(running.end())

    return start


class Total:
    """All that the loads have seen."""

    def __init__(self) -> None:
        self.requests = self.failed = self.restarts = 0
        self.away: list[float] = []

    def add(self, seen: Result) -> None:
        self.requests += seen.ok + seen.failed
        self.failed += seen.failed

    def restart(self, output: str) -> None:
        """Note a restart of which a run told."""
        self.away += [float(found) for found in re.findall(r"was away for ([\d.]+) s", output)]

    def __str__(self) -> str:
        return (
            f"postgresql: {self.failed} failed of {self.requests} requests in {len(self.away)} "
            f"restarts, which took {max(self.away, default=0)} s at most"
        )


TOTAL = Total()


def pytest_unconfigure() -> None:
    """The scenario's last line; scripts/test.sh repeats it after Molecule's own."""
    print(TOTAL)
    if summary := os.environ.get("SCENARIO_SUMMARY"):
        Path(summary).write_text(f"{TOTAL}\n")
