"""What the tests of this scenario look through: many applications, and the probe beside them."""

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
BIN = Path(sys.executable).parent
os.environ["PATH"] = f"{BIN}:{os.environ['PATH']}"  # Pergola's own uv
sys.path[:0] = [str(PROJECT / "molecule/shared"), str(PROJECT / "control")]
pytest_plugins = ["fixtures_of_web1"]

from load import Request, Result  # noqa: E402 - found through the line above
from pergola_control.source import exports  # noqa: E402
from scenario import RUN, Playbooks, Repository, Server, Site, address, described, loading, said  # noqa: E402
from shapes import DAY  # noqa: E402

# What all of them have: nobody would wait for the drain of somebody else's test.
BASE = {
    "app_health_path": "/",
    "app_certificates": "internal",
    "app_workers": 1,
    "app_drain_seconds": 5,
}
REQUESTS = [Request("GET", "/db"), Request("POST", "/echo", body=b'{"a body": "whole"}')]
TOOLS = {tool.name: tool for tool in exports.KNOWN}


def made(
    folder: Path,
    files: Mapping[str, str],
    lock: Sequence[str],
    prepare: Callable[[Path], None] | None,
    environment: Mapping[str, str] | None = None,
) -> Repository:
    """A repository of some files, with its lock made as its developer would."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, newline="")
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main"], cwd=folder, check=True)
    for command in lock:
        words = shlex.split(command)
        if words[0] in TOOLS:
            python = exports.installed(TOOLS[words[0]], RUN / "tools")
            words[:1] = [str(python), "-m", words[0]]
        own = {"UV_EXCLUDE_NEWER": DAY, "WORKON_HOME": str(RUN / "virtualenvs")}
        given = {**os.environ, **own, **(environment or {})}
        env = {name: value for name, value in given.items() if value}
        done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    if prepare:
        prepare(folder)
    identity = ["-c", "user.email=tests@example.org", "-c", "user.name=Tests"]
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    subprocess.run(["git", *identity, "commit", "--quiet", "-m", "First"], cwd=folder, check=True)
    return Repository(folder)


class App:
    """One of the applications: its repository, inventory and site."""

    def __init__(self, name: str, repository: Repository, folder: Path, settings: dict) -> None:
        self.name, self.repository, self.settings = name, repository, settings
        # What has no database is in the group `app` alone.
        groups = ["app", "db"] if "app_database_connections" in settings else ["app"]
        self.inventory = described(folder, {group: ["web1"] for group in groups}, settings)
        self.site = Site(settings["app_domain"], address("web1"))

    def update(self) -> None:
        """What says hello says it another time."""
        for name in self.repository.git("ls-files", "-z").split("\0"):
            path = self.repository.path / name
            if path.is_file() and not path.is_symlink() and b"hello 1" in path.read_bytes():
                path.write_bytes(path.read_bytes().replace(b"hello 1", b"hello 2"))
        self.repository.git("commit", "--quiet", "--all", "--message", "Two")


@pytest.fixture(scope="session")
def playbook() -> Playbooks:
    return Playbooks()


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Callable[..., App]:
    """Make an application of its files and settings."""

    def make(one: Any, environment: Mapping[str, str] | None = None) -> App:
        name = re.sub(r"[^a-z0-9]+", "", one.name)[:20]
        folder = tmp_path_factory.mktemp(name)
        (folder / "app").mkdir()
        repository = made(folder / "app", one.files, one.lock, one.prepare, environment)
        for tag in getattr(one, "tags", ()):
            repository.git("tag", tag)
        own = {"app_name": name, "app_domain": f"{name}.test", "app_asgi": "main:app"}
        source = {"app_source": str(folder / "app"), "app_version": "main"}
        settings = {**BASE, **own, **source, **one.settings}
        return App(name, repository, folder / "inventory", settings)

    return make


class Totals:
    """What the scenario has seen, for its last line."""

    def __init__(self) -> None:
        self.served: dict[str, tuple[App, str]] = {}
        self.refused: list[float] = []
        self.requests = self.failed = 0

    def add(self, seen: Result) -> None:
        self.requests += seen.ok + seen.failed
        self.failed += len(seen.lost)

    def __str__(self) -> str:
        served, refused = len(self.served), len(self.refused)
        return (
            f"apps: {served + refused} applications, {served} served, "
            f"{refused} refused in {max(self.refused, default=0):.0f} s at most, "
            f"{self.failed} of {self.requests} requests of the others failed"
        )


TOTALS = Totals()


@pytest.fixture(scope="session")
def totals() -> Totals:
    return TOTALS


@pytest.fixture
def beside(tmp_path: Path, server: Server) -> Iterator[None]:
    """The probe is under load meanwhile; none of its requests fails, and nobody restarts it."""
    live = server.live()
    with loading(tmp_path, "probe.test", address("web1"), requests=REQUESTS, rate=40) as running:
        time.sleep(0.5)
        yield
        seen = running.end()
    TOTALS.add(seen)
    assert seen.lost == []
    assert set(seen.releases) == {live}


@pytest.fixture(scope="session")
def run(playbook: Playbooks) -> Callable[..., str]:
    """A playbook with an application's inventory; what it said, in one line."""

    def start(name: str, one: App, fails: bool = False, **more: object) -> str:
        done = playbook(f"playbooks/{name}.yml", inventory=one.inventory, **more)
        assert (done.returncode != 0) == fails, done.stdout
        return said(done)

    return start


def pytest_unconfigure() -> None:
    """The scenario's last line; scripts/test.sh repeats it after Molecule's own."""
    print(TOTALS)
    if summary := os.environ.get("SCENARIO_SUMMARY"):
        Path(summary).write_text(f"{TOTALS}\n")
