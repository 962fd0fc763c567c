"""What a server's life needs: the probe in a repository, Pergola's playbooks, the load."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from subprocess import CompletedProcess

import pytest

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
sys.path.insert(0, str(PROJECT / "molecule/shared"))
pytest_plugins = ["fixtures_of_web1"]

from load import Request  # noqa: E402 - found through the line above
from scenario import Loading, Playbooks, Repository, Server, address, loading  # noqa: E402

REQUESTS = [Request("GET", "/"), Request("GET", "/db"), Request("POST", "/echo", body=b"whole")]
# What lets Pergola run on a system that it does not know.
SYSTEMS = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"], "vars/systems.yml")


@pytest.fixture(scope="session")
def pergola() -> Callable[..., CompletedProcess[str]]:
    """Run one of Pergola's playbooks, which must succeed."""
    more = [f"--extra-vars=@{SYSTEMS}"] if SYSTEMS.exists() else []
    playbooks = Playbooks()
    return lambda name, *words, **settings: playbooks.checked(name, *more, *words, **settings)


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository of the probe, to make releases in."""
    return Repository.of(PROJECT / "molecule/releases/probe", tmp_path_factory.mktemp("probe"))


@pytest.fixture(scope="session")
def load(
    tmp_path_factory: pytest.TempPathFactory, server: Server
) -> Callable[..., AbstractContextManager[Loading]]:
    """The load that never retries: `with load() as running: ...; seen = running.end()`."""

    @contextmanager
    def start() -> Iterator[Loading]:
        folder = tmp_path_factory.mktemp("load")
        options = {"requests": REQUESTS, "rate": 20}
        with loading(folder, "probe.test", address("web1"), **options) as running:
            yield running

    return start
