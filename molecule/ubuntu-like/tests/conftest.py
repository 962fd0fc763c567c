"""What the tests of this scenario look through."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
sys.path.insert(0, str(PROJECT / "molecule/shared"))
pytest_plugins = ["fixtures_of_web1"]

from scenario import Playbooks  # noqa: E402 - found through the line above


@pytest.fixture(scope="session")
def playbook() -> Callable[..., CompletedProcess[str]]:
    """Run one of Pergola's playbooks."""
    return Playbooks()
