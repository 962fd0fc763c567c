"""What the tests of this scenario look through: HTTPS from outside, and Pergola's own playbooks."""

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
RUN = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
AUTHORITY = RUN / "authority.crt"

sys.path.insert(0, str(PROJECT / "molecule/shared"))


def address(name: str) -> str:
    """The address of a test host on the test network."""
    hosts = json.loads((RUN / "hosts.json").read_text())["hosts"]
    return next(host["address"] for host in hosts if host["name"] == name)


class Site:
    """One site as a browser sees it: by its name, at the server's address, with a trusted CA.

    Redirects are not followed. Each request is a new connection unless made through `client`.
    """

    def __init__(self, name: str, server: str) -> None:
        self.name, self.server = name, server

    def client(self, *, plain: bool = False, http2: bool = True) -> httpx.Client:
        trust = ssl.create_default_context(cafile=str(AUTHORITY))
        client = httpx.Client(
            base_url=f"{'http' if plain else 'https'}://{self.server}",
            headers={"Host": self.name},
            verify=trust,
            http2=http2,
            timeout=30,
            trust_env=False,
        )
        client.event_hooks["request"].append(self._name_it)
        return client

    def _name_it(self, request: httpx.Request) -> None:
        request.extensions["sni_hostname"] = self.name

    def get(self, path: str, *, plain: bool = False, **options) -> httpx.Response:
        with self.client(plain=plain) as client:
            return client.get(path, **options)

    def release(self) -> str:
        """The id of the release that answers."""
        return self.get("/readyz").raise_for_status().json()["release"]


class Playbooks:
    """Runs the project's playbooks as a user does, against the scenario's inventory or another."""

    def __call__(
        self, playbook: str, *arguments: str, inventory: str | Path = INVENTORY, **more: object
    ) -> subprocess.CompletedProcess[str]:
        """Run `ansible-playbook`; `more` are extra variables. Both streams end up in stdout."""
        process = self.start(playbook, *arguments, inventory=inventory, **more)
        try:
            output, _ = process.communicate(timeout=600)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    def start(
        self, playbook: str, *arguments: str, inventory: str | Path = INVENTORY, **more: object
    ) -> subprocess.Popen[str]:
        """The same without waiting for its end."""
        command = ["ansible-playbook", playbook, "-i", str(inventory), *arguments]
        for name, value in more.items():
            command += ["-e", json.dumps({name: value})]
        return subprocess.Popen(
            command,
            cwd=PROJECT,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_FORCE_COLOR": "0",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def testhosts(verb: str, name: str) -> None:
    """Do something to a test host: stop, start, kill, cut, join."""
    run = json.loads((RUN / "hosts.json").read_text())["run"]
    subprocess.run(
        [sys.executable, PROJECT / "molecule/shared/testhosts", verb, run, name],
        check=True,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="session")
def site() -> Site:
    return Site("linkboard.test", address("web1"))


@pytest.fixture(scope="session")
def playbook() -> Playbooks:
    return Playbooks()


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """The load that never retries: `with load(rate=60) as end: ...; seen = end()`."""
    from load import Options, Request, Result, run

    network = json.loads((RUN / "hosts.json").read_text())["network"]
    wrong = Request("POST", "/login", frozenset({401, 429}), b"name=nobody&password=wrong")
    requests = [*(Request("GET", path) for path in ("/login", "/healthz", "/readyz")), wrong]

    @contextmanager
    def running(rate: float = 60, name: str = "linkboard.test") -> Iterator[Callable[[], Result]]:
        stop = tmp_path_factory.mktemp("load") / "stop"
        options = Options(
            address("web1"),
            name,
            600,
            requests,
            ca=AUTHORITY,
            rate=rate,
            until=stop,
            networks=[network],
        )
        with ThreadPoolExecutor(1) as pool:
            result = pool.submit(run, options)

            def end() -> Result:
                stop.touch()
                return result.result()

            try:
                yield end
            finally:
                stop.touch()

    return running


@pytest.fixture(scope="session")
def application(tmp_path_factory: pytest.TempPathFactory) -> "Repository":
    """A clone of this repository, to make releases of linkboard in."""
    return Repository(tmp_path_factory.mktemp("clone"))


class Repository:
    """A clone of the project whose linkboard can be changed and committed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.git("clone", "--quiet", str(PROJECT), ".")
        self.git("config", "user.email", "tests@example.org")
        self.git("config", "user.name", "Tests")

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=self.path, check=True, capture_output=True, text=True
        ).stdout.strip()

    def commit(self, file: str, text: str, message: str) -> str:
        """Write a file below sample_app/, commit it, return the commit."""
        (self.path / "sample_app" / file).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def reset(self, commit: str = "origin/HEAD") -> None:
        self.git("reset", "--quiet", "--hard", commit)
