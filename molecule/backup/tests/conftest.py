"""What the tests of this scenario look through: the probe's rows, and Pergola's playbooks."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
sys.path.insert(0, str(PROJECT / "molecule/shared"))
pytest_plugins = ["fixtures_of_web1"]

from rows import Rows  # noqa: E402
from scenario import (  # noqa: E402 - found through the line above
    INVENTORY,
    Playbooks,
    Site,
)


@pytest.fixture(scope="session")
def rows(web1: Host, site: Site) -> Rows:
    return Rows(web1, site)


@pytest.fixture(scope="session")
def vault1() -> Host:
    """The host that keeps the second copy."""
    return testinfra.get_host("ansible://vault1", ansible_inventory=INVENTORY, sudo=True)


@pytest.fixture(scope="session")
def playbook() -> Playbooks:
    return Playbooks()


@pytest.fixture(scope="session")
def pergola_backup(web1: Host) -> Callable[..., str]:
    """What `pergola-backup` on the server prints; it must succeed."""
    return lambda *words: web1.check_output(
        " ".join(["pergola-backup", *["%s"] * len(words)]), *words
    )


@pytest.fixture(scope="session")
def postgres(web1: Host) -> Callable[..., str]:
    """The answer of PostgreSQL's superuser's shell."""

    def ask(query: str, database: str = "postgres") -> str:
        command = "cd / && runuser -u postgres -- psql -XqAt -v ON_ERROR_STOP=1 -d %s -c %s"
        return web1.check_output(command, database, query)

    return ask


@pytest.fixture(scope="session")
def result(web1: Host) -> Callable[[str], dict[str, Any]]:
    """What became of a job: /var/lib/pergola/results/<job>.json."""
    return lambda job: json.loads(web1.file(f"/var/lib/pergola/results/{job}.json").content_string)


@pytest.fixture(scope="session")
def restore(playbook: Playbooks) -> Callable[..., CompletedProcess[str]]:
    """Restore through the playbook, confirmed; `fails=True`: it must be refused."""

    def run(*arguments: str, fails: bool = False, **more: object) -> CompletedProcess[str]:
        done = playbook("playbooks/restore.yml", *arguments, **{"confirm": "probe", **more})
        assert (done.returncode != 0) == fails, done.stdout
        return done

    return run


class Figures:
    """What the scenario's last line says; tests add what they saw."""

    def __init__(self) -> None:
        self.restored = self.acknowledged = self.lost = 0
        self.outage = 0.0  # seconds, the worst of restores in place as a client saw it

    def __str__(self) -> str:
        return (
            f"backup: restored {self.restored} rows exactly, lost {self.lost} of "
            f"{self.acknowledged} acknowledged, outage {self.outage:.1f} s"
        )


FIGURES = pytest.StashKey[Figures]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = Figures()


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    return pytestconfig.stash[FIGURES]


def pytest_unconfigure(config: pytest.Config) -> None:
    """The scenario's last line; scripts/test.sh repeats it after Molecule's own."""
    figures = config.stash[FIGURES]
    print(figures)
    if summary := os.environ.get("SCENARIO_SUMMARY"):
        Path(summary).write_text(f"{figures}\n")
