"""What the tests of this scenario look through: the probe, and Pergola's playbooks."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
sys.path.insert(0, str(PROJECT / "molecule/shared"))
pytest_plugins = ["fixtures_of_web1"]

from load import Request, Result  # noqa: E402 - found through the line above
from scenario import (  # noqa: E402
    INVENTORY,
    Loading,
    Playbooks,
    Repository,
    Server,
    address,
    described,
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


PAIR = {
    "app_name": "pair",
    "app_domain": "pair.test",
    "app_asgi": "probe:app",
    "app_health_path": "/readyz",
    "app_schema_query": "",
    "app_migrate_command": 'echo "$PERGOLA_RELEASE" >>"$STATE_DIRECTORY/migrated"',
    "app_workers": 1,
    "app_drain_seconds": 5,
    "app_start_timeout_seconds": 15,
    "app_bake_seconds": 0,
    "app_certificates": "internal",
    "release_reconnect_seconds": 5,
}
# On these servers one that does not answer is given up sooner than the project does.
IMPATIENT = (
    "-o ControlMaster=auto -o ControlPersist=60s "
    "-o ConnectTimeout=5 -o ServerAliveInterval=3 -o ServerAliveCountMax=3"
)


@pytest.fixture(scope="session")
def pair_inventory(probe: Repository, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The inventory of the two servers that share an application."""
    settings = {**PAIR, "app_source": str(probe.path)}
    folder = tmp_path_factory.mktemp("pair")
    return described(folder, {"app": ["app1", "app2"]}, settings, ansible_ssh_args=IMPATIENT)


# The tests of the two servers have nothing to do with those of the other one, so they run beside
# them, in a process of their own, and count as one test here.
BESIDE = Path(__file__).parent / "beside/two_hosts.py"


@pytest.fixture(scope="session", autouse=True)
def tests_beside(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], tuple[int, str]]]:
    """Begins the other tests at once, when all are run; waits for their end: (code, output)."""
    if not any(item.name.startswith("test_two_servers_") for item in request.session.items):
        yield lambda: (0, "")
        return
    options = [f"--ansible-inventory={INVENTORY}", "--connection=ansible", "--sudo", "-v"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, str(BESIDE)]
    log = tmp_path_factory.mktemp("beside") / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )

    def ended() -> tuple[int, str]:
        code = process.wait(1200)
        return code, log.read_text()

    yield ended
    if process.poll() is None:
        process.terminate()
        process.wait()


@pytest.fixture(scope="session")
def load(
    tmp_path_factory: pytest.TempPathFactory, server: Server
) -> Callable[..., AbstractContextManager[Loading]]:
    """The load that never retries: `with load(rate=60) as running: ...; seen = running.end()`.

    What was seen counts into the scenario's last line; with `counted=False`, for what is meant to
    fail, it does not.
    """

    @contextmanager
    def start(
        name: str = "probe.test", host: str = "web1", counted: bool = True, **options: object
    ) -> Iterator[Loading]:
        options = {"requests": SHORT, "rate": 60, **options}
        before = server.switches()
        with loading(tmp_path_factory.mktemp("load"), name, address(host), **options) as running:
            yield running
        if counted:
            TOTAL.add(running.end(), server.switches() - before)

    return start


class Total:
    """All that counted loads have seen."""

    def __init__(self) -> None:
        self.requests = self.failed = self.switches = 0
        self.worst = 0.0

    def add(self, seen: Result, switches: int) -> None:
        self.requests += seen.ok + seen.failed
        self.failed += seen.failed
        self.switches += switches
        worst = [window["max"] for window in seen.windows.values() if "max" in window]
        self.worst = max([self.worst, *worst])

    def __str__(self) -> str:
        return (
            f"releases: {self.failed} failed of {self.requests} requests "
            f"in {self.switches} switches, worst {self.worst:.0f} ms"
        )


TOTAL = Total()


def pytest_unconfigure(config: pytest.Config) -> None:
    """The scenario's last line; scripts/test.sh repeats it after Molecule's own."""
    if BESIDE.name in " ".join(config.args):
        return
    print(TOTAL)
    if summary := os.environ.get("SCENARIO_SUMMARY"):
        Path(summary).write_text(f"{TOTAL}\n")
