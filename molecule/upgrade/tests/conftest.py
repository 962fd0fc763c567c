"""What the tests of this scenario look through: the probe, and Pergola's playbooks.

The server's life is told in fixtures, each of which needs the one before: any test can be run
alone, and brings the server as far as it must.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from testinfra.host import Host

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
sys.path.insert(0, str(PROJECT / "molecule/shared"))
pytest_plugins = ["fixtures_of_web1"]

from load import Request, Result  # noqa: E402 - found through the line above
from scenario import (  # noqa: E402
    Loading,
    Playbooks,
    Server,
    address,
    loading,
    testhosts,
)


@dataclass(frozen=True)
class Way:
    """From one release of a system to the next: their PostgreSQL, and what else is newer."""

    suite: str
    next_suite: str
    old: str
    new: str
    next_python: str
    openssl: str  # its library's package, before


DEBIAN = Way("bookworm", "trixie", "15", "17", "3.13", "libssl3")
UBUNTU = Way("noble", "resolute", "16", "18", "3.14", "libssl3t64")
WAY = UBUNTU if os.environ.get("UPGRADE_SUITE") == UBUNTU.suite else DEBIAN

ROWS = 200_000
REQUESTS = [Request("GET", "/"), Request("GET", "/db"), Request("POST", "/echo", body=b"whole")]
SQL = "runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -d probe -c %s"
# Of everything there is to lose: how many rows, and a digest over all of them in their order.
DIGEST = "select count(*), md5(string_agg(id || body, ',' order by id)) from kept"


@pytest.fixture(scope="session")
def playbook() -> Callable[..., CompletedProcess[str]]:
    """Run one of Pergola's playbooks; `fails=True`: it must be refused, else it must succeed."""
    return Playbooks().checked


@pytest.fixture(scope="session")
def upgrade(playbook: Callable[..., CompletedProcess[str]]) -> Callable[..., CompletedProcess[str]]:
    return lambda *arguments, **more: playbook("playbooks/upgrade.yml", *arguments, **more)


@pytest.fixture(scope="session")
def sql(web1: Host) -> Callable[[str], str]:
    """Ask the application's database as PostgreSQL's own account."""
    return lambda query: web1.check_output(SQL, query).strip()


@pytest.fixture(scope="session")
def digest(web1: Host, sql: Callable[[str], str]) -> str:
    """What the application's rows are, from the beginning; sorted columns are among them."""
    web1.check_output(
        "command -v locale-gen || apt-get -qqy install --no-install-recommends locales"
    )
    web1.check_output("echo 'de_DE.UTF-8 UTF-8' >>/etc/locale.gen && locale-gen")
    web1.check_output("systemctl restart postgresql")  # a running one does not see new locales
    sql("drop table if exists kept")
    sql(
        "create table kept as select id, md5(id::text) as body "
        f"from generate_series(1, {ROWS}) as id"
    )
    sql("create unique index on kept (body)")
    sql("create extension if not exists pg_trgm")
    sql("drop database if exists sorted")
    sql("create database sorted template template0 locale 'de_DE.UTF-8'")
    web1.check_output(SQL.replace("-d probe", "-d sorted"), "create table words (word text unique)")
    return sql(DIGEST)


@pytest.fixture(scope="session")
def load(
    tmp_path_factory: pytest.TempPathFactory, server: Server
) -> Callable[..., AbstractContextManager[Loading]]:
    """The load that never retries: `with load() as running: ...; seen = running.end()`."""

    @contextmanager
    def start(**options: object) -> Iterator[Loading]:
        options = {"requests": REQUESTS, "rate": 40, **options}
        folder = tmp_path_factory.mktemp("load")
        with loading(folder, "probe.test", address("web1"), **options) as running:
            yield running

    return start


# -- the server's life -----------------------------------------------------------------------------

# Packages of which dpkg is to think that an older version is installed: their update is a real one.
FORGET = """
import re, sys
from pathlib import Path
status = Path("/var/lib/dpkg/status")
stanzas = status.read_text().split("\\n\\n")
for name in sys.argv[1:]:
    for at, stanza in enumerate(stanzas):
        if f"Package: {name}\\n" in stanza + "\\n" and stanza.lstrip().startswith("Package:"):
            stanzas[at] = re.sub(r"(?m)^(Version: .*)$", r"\\1~before", stanza)
status.write_text("\\n\\n".join(stanzas))
"""
NEXT_SOURCES = f"sed -i s/{WAY.suite}/{WAY.next_suite}/g /etc/apt/sources.list.d/*.sources"
NEXT_RELEASE = f"""set -e
export DEBIAN_FRONTEND=noninteractive
{NEXT_SOURCES}
apt-get -q update
apt-get -qy -o Dpkg::Options::=--force-confold upgrade --without-new-pkgs
apt-get -qy -o Dpkg::Options::=--force-confold full-upgrade
"""


class Seen:
    """What a step left behind for the tests to look at."""

    def __init__(self) -> None:
        self.said: dict[str, str] = {}
        self.load: Result | None = None
        self.before: dict[str, str] = {}


@pytest.fixture(scope="session")
def updated(web1, server, upgrade, load, digest) -> Seen:
    """Updates of the server itself and of OpenSSL, which Python and much else uses, under load."""
    seen = Seen()
    upgrade()  # what the archive has brought since the image was made is not counted
    web1.check_output(f"python3 -c %s postgresql-{WAY.old} {WAY.openssl}", FORGET)
    seen.before = running(web1, server)
    seen.said["plan"] = upgrade("--check").stdout
    with load() as loaded:
        seen.said["update"] = upgrade().stdout
        seen.load = loaded.end()
    seen.said["again"] = upgrade().stdout
    return seen


def running(web1: Host, server: Server) -> dict[str, str]:
    """The processes of the slot and of PostgreSQL."""
    units = {"slot": server.slot(), "caddy": "caddy", "postgresql": f"postgresql@{WAY.old}-main"}
    show = "systemctl show --property=MainPID --value "
    return {name: web1.check_output(show + unit) for name, unit in units.items()}


@pytest.fixture(scope="session")
def next_release(updated: Seen, web1: Host, server: Server, playbook) -> Seen:
    """The next release of the system, by hand, as docs/upgrades.md says; and a reboot."""
    seen = Seen()
    seen.before = {"live": server.live()}
    web1.check_output(NEXT_SOURCES)
    seen.said["update"] = playbook("playbooks/upgrade.yml", fails=True).stdout
    web1.check_output(NEXT_RELEASE)
    testhosts("stop", "web1")
    testhosts("start", "web1")
    return seen


@pytest.fixture(scope="session")
def provisioned(next_release: Seen, playbook, server: Server, load) -> Seen:
    """site.yml on the new system, first with a version that would be an empty cluster."""
    seen = Seen()
    seen.before = {"live": server.live()}
    seen.said["refused"] = playbook("site.yml", fails=True, postgresql_version=int(WAY.new)).stdout
    with load() as loaded:
        seen.said["site"] = playbook("site.yml").stdout
        seen.load = loaded.end()
    return seen


@pytest.fixture(scope="session")
def upgraded(provisioned: Seen, upgrade, web1: Host) -> Seen:
    """PostgreSQL's version of the new system in the place of the old one's."""
    seen = Seen()
    seen.said["plan"] = upgrade("--check", postgresql="latest").stdout
    seen.said["upgrade"] = upgrade(postgresql="latest").stdout
    return seen
