"""A server that an earlier Pergola has made, and this one takes over, while requests never stop.

The server's life is told in fixtures, each of which needs the one before: any test can be run
alone, and brings the server as far as it must.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml
from testinfra.host import Host

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
sys.path[:0] = [str(PROJECT / "molecule/shared"), str(PROJECT / "control")]
pytest_plugins = ["fixtures_of_web1"]

from load import Request, Result  # noqa: E402 - found through the line above
from scenario import (  # noqa: E402
    INVENTORY,
    Loading,
    Playbooks,
    Server,
    Site,
    address,
    described,
    loading,
)

# The Pergola that makes the server, and an earlier one, whose program of releases knows no pause.
BEFORE, FIRST = "44109d9", "a8c6ce6"
REQUESTS = [Request("GET", "/"), Request("GET", "/db"), Request("POST", "/echo", body=b"whole")]
LEDGER = "/srv/probe/ledger.jsonl"
MADE_BY = "/etc/pergola/made-by.json"
SETTINGS = PROJECT / "molecule/versions/inventory/group_vars/servers/settings.yml"
# What settings of today were called then.
CALLED = {"app_certificates": "caddy_certificates"}


def git(*words: str) -> bytes:
    """What git says of an earlier Pergola; a clone that does not have it is named."""
    done = subprocess.run(["git", *words], cwd=PROJECT, capture_output=True, check=False)
    if done.returncode:
        pytest.fail(
            f"git {' '.join(words)}: {done.stderr.decode().strip()}\nThis scenario makes a server "
            f"with the commit {BEFORE} of this repository: it needs the history, which a shallow "
            "clone lacks (git fetch --unshallow).",
            pytrace=False,
        )
    return done.stdout


@pytest.fixture(scope="session")
def playbook() -> Callable[..., CompletedProcess[str]]:
    """Run one of Pergola's playbooks; `fails=True`: it must be refused, else it must succeed."""
    return Playbooks().checked


@pytest.fixture(scope="session")
def load(
    tmp_path_factory: pytest.TempPathFactory, server: Server
) -> Callable[..., AbstractContextManager[Loading]]:
    """The load that never retries: `with load() as running: ...; seen = running.end()`."""

    @contextmanager
    def start(**options: object) -> Iterator[Loading]:
        options = {"requests": REQUESTS, "rate": 30, **options}
        folder = tmp_path_factory.mktemp("load")
        with loading(folder, "probe.test", address("web1"), **options) as running:
            yield running

    return start


# -- the server's life -----------------------------------------------------------------------------


class Seen:
    """What a step left behind for the tests to look at."""

    def __init__(self) -> None:
        self.said: dict[str, str] = {}
        self.live: dict[str, str] = {}
        self.load: Result | None = None


@pytest.fixture(scope="session")
def inventory_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scenario's inventory in the earlier Pergola's words, with the same key of backups."""
    settings = yaml.safe_load(SETTINGS.read_text())
    settings = {CALLED.get(name, name): value for name, value in settings.items()}
    settings["backup_key_file"] = str(Path(INVENTORY).parent / "backup.key")
    settings["backup_key_unattended"] = True
    folder = tmp_path_factory.mktemp("inventory-before")
    return described(folder, {"app": ["web1"], "db": ["web1"]}, settings)


@pytest.fixture(scope="session")
def made_before(inventory_before: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The server as an earlier Pergola's own site.yml makes it."""
    checkout = tmp_path_factory.mktemp("before")
    subprocess.run(["tar", "x"], cwd=checkout, input=git("archive", BEFORE), check=True)
    done = subprocess.run(
        ["ansible-playbook", "site.yml", "-i", inventory_before],
        cwd=checkout,
        env={**os.environ, "ANSIBLE_CONFIG": str(checkout / "ansible.cfg")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="session")
def server(made_before: None, web1: Host, server: Server) -> Server:
    """The probe, once there is one; see molecule/shared."""
    return server


@pytest.fixture(scope="session")
def first_form(server: Server, web1: Host) -> None:
    """Also with what the first Pergola left: its program, its ledger, settings without a number."""
    program = git("show", f"{FIRST}:roles/release/files/release.py").decode()
    web1.check_output("printf %%s %s >/srv/probe/bin/release", program)
    lines = server.ledger()
    for line in lines:
        line["release"] = line.pop("to")
        line.pop("schema", None)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    web1.check_output(f"printf %%s %s >{LEDGER}", text)
    web1.check_output("rm /srv/probe/slots/live")
    assert web1.run("/srv/probe/bin/release pause on").rc == 2


@pytest.fixture(scope="session")
def updated(
    first_form: None,
    server: Server,
    playbook: Callable[..., CompletedProcess[str]],
    load: Callable[..., AbstractContextManager[Loading]],
) -> Seen:
    """This Pergola's site.yml with a restart of PostgreSQL; a rollback; a deploy."""
    seen = Seen()
    seen.live["before"] = server.live()
    # Another release of the same source.
    another = {"app_environment": {"PROBE_DATABASE": "probe", "STEP": "after"}}
    with load() as loaded:
        done = playbook("site.yml", postgresql_settings={"max_wal_senders": 11}, **another)
        seen.said["site"] = done.stdout
        seen.live["site"] = server.live()
        loaded.mark("rollback")
        seen.said["rollback"] = playbook("playbooks/rollback.yml").stdout
        seen.live["rollback"] = server.live()
        loaded.mark("deploy")
        seen.said["deploy"] = playbook("playbooks/deploy.yml", **another).stdout
        seen.live["deploy"] = server.live()
        seen.load = loaded.end()
    seen.said["releases"] = playbook("playbooks/releases.yml").stdout
    return seen


@pytest.fixture(scope="session")
def sql(web1: Host) -> Callable[[str], str]:
    """Ask the application's database as PostgreSQL's own account."""
    command = "cd / && runuser -u postgres -- psql -XqAt -v ON_ERROR_STOP=1 -d probe -c %s"
    return lambda query: web1.check_output(command, query).strip()


@pytest.fixture(scope="session")
def restored(
    updated: Seen,
    site: Site,
    sql: Callable[[str], str],
    playbook: Callable[..., CompletedProcess[str]],
    load: Callable[..., AbstractContextManager[Loading]],
) -> Seen:
    """A restore to the moment between two rows, under load that takes the maintenance page."""
    seen = Seen()
    with site.client(http2=False) as client:
        client.post("/rows/1").raise_for_status()
        moment = sql("select replace(clock_timestamp()::text, ' ', 'T') from pg_sleep(0.1)")
        sql("select pg_sleep(0.1)")
        client.post("/rows/2").raise_for_status()
    page = [replace(request, expected=frozenset({200, 503})) for request in REQUESTS]
    with load(requests=page) as loaded:
        done = playbook("playbooks/restore.yml", to=moment, confirm="probe")
        seen.said["restore"] = done.stdout
        seen.load = loaded.end()
    return seen
