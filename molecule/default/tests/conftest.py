"""What the tests of this scenario look through."""

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "molecule/shared"))

from load import Request
from scenario import Loading, Playbooks, Repository, Site, address, loading


@pytest.fixture(scope="session")
def site() -> Site:
    return Site("linkboard.test", address("web1"))


@pytest.fixture(scope="session")
def playbook() -> Playbooks:
    return Playbooks()


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """The load that never retries: `with load(rate=60) as running: ...; seen = running.end()`."""
    wrong = Request("POST", "/login", frozenset({401, 429}), b"name=nobody&password=wrong")
    requests = [*(Request("GET", path) for path in ("/login", "/healthz", "/readyz")), wrong]

    def start(rate: float = 60, name: str = "linkboard.test") -> AbstractContextManager[Loading]:
        folder = tmp_path_factory.mktemp("load")
        return loading(folder, name, address("web1"), requests=requests, rate=rate)

    return start


@pytest.fixture(scope="session")
def application(tmp_path_factory: pytest.TempPathFactory) -> "Repository":
    """A clone of this repository, to make releases of linkboard in."""
    return Repository.clone(tmp_path_factory.mktemp("clone"))
