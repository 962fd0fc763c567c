"""Two servers that had a life before Pergola came, and what their people see of it from outside.

Each server's story is told in fixtures, each of which needs the one before: any test can be run
alone, and brings the server as far as it must.
"""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess

import httpx
import pytest
import testinfra
from testinfra.host import Host

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
sys.path.insert(0, str(PROJECT / "molecule/shared"))

from scenario import (  # noqa: E402 - the line above
    PROBE,
    RUN,
    Playbooks,
    address,
    described,
    said,
)

SETTINGS = {
    "app_name": "probe",
    "app_domain": "probe.test",
    **PROBE,
    "app_environment": {"PROBE_DATABASE": "probe"},
    "backup_enabled": False,
}
# What the people of web1 decide when the run has named everything.
KEPT = {
    "base_adopt": ["caddyfile", "postgresql"],
    "base_firewall_tcp_ports": [25, 80, 443, 1883, 5432],
    "base_firewall_udp_ports": [51820],
    "postgresql_max_connections": 300,
    "postgresql_settings": {"listen_addresses": "*"},
}
SSH_PORT = 2222  # of web2, known to the operator's ssh only
SECONDS = 10


@dataclass
class Total:
    """What the scenario says of itself."""

    named: set[str] = field(default_factory=set)
    overwritten: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    tries: list[str] = field(default_factory=list)
    locked_out: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"brownfield: {len(self.named)} things named before the first change, "
            f"{len(self.overwritten)} overwritten, {len(self.cut)} cut, "
            f"locked out {len(self.locked_out)} of {len(self.tries)}"
        )


TOTAL = Total()


def pytest_unconfigure() -> None:
    """The scenario's last line; scripts/test.sh repeats it after Molecule's own."""
    print(TOTAL)
    if summary := os.environ.get("SCENARIO_SUMMARY"):
        Path(summary).write_text(f"{TOTAL}\n")


def inventory(folder: Path, name: str, settings: dict, port: int = 0) -> Path:
    """An inventory of one of the servers, whose SSH port only the operator's ssh knows."""
    hosts = described(folder, {"app": [name], "db": [name]}, {**SETTINGS, **settings})
    if port:
        text = hosts.read_text()
        hosts.write_text(
            text.replace("-o IdentitiesOnly=yes", f"-o IdentitiesOnly=yes -o Port={port}")
        )
    known = RUN / "known_hosts"
    if f"[{address(name)}]:{port}" not in known.read_text() and port:
        key = next(
            host["host_key"]
            for host in json.loads((RUN / "hosts.json").read_text())["hosts"]
            if host["name"] == name
        )
        with known.open("a") as file:
            file.write(f"[{address(name)}]:{port} {key}\n")
    return hosts


@pytest.fixture(scope="session")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return inventory(tmp_path_factory.mktemp("one"), "web1", {})


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return inventory(tmp_path_factory.mktemp("other"), "web2", {}, SSH_PORT)


@pytest.fixture(scope="session")
def web1(one: Path) -> Host:
    return testinfra.get_host("ansible://web1", ansible_inventory=str(one), sudo=True)


@pytest.fixture(scope="session")
def web2(other: Path) -> Host:
    return testinfra.get_host("ansible://web2", ansible_inventory=str(other), sudo=True)


@pytest.fixture(scope="session")
def playbook() -> Callable[..., CompletedProcess[str]]:
    """Run one of Pergola's playbooks; `fails=True`: it must be refused, else it must succeed."""
    return Playbooks().checked


def named(done: CompletedProcess[str]) -> set[str]:
    """The names in a refusal; each has a way on."""
    found = re.findall(r"^\s*- ([\w.-]+): .*\n\s*way on: \S", done.stdout, re.MULTILINE)
    TOTAL.named |= {
        f"{re.search(r'(web[12]) has a life', done.stdout)[1]} {name}" for name in found
    }
    return set(found)


def changed(done: CompletedProcess[str]) -> list[str]:
    """The tasks that changed something."""
    found, task = [], ""
    for line in done.stdout.splitlines():
        if named_task := re.match(r"(?:TASK|RUNNING HANDLER) \[(.*)\]", line):
            task = named_task[1]
        elif line.startswith("changed: "):
            found.append(task)
    # Whatever the output looks like: the recap counts them.
    counted = sum(map(int, re.findall(r"changed=(\d+)", done.stdout)))
    return found if len(found) == counted else [*found, f"{counted} in the recap"]


def tcp(server: str, port: int) -> str:
    """What a service says to whoever connects; empty: nobody answers."""
    try:
        with socket.create_connection((server, port), SECONDS) as connection:
            connection.settimeout(SECONDS)
            return connection.recv(99).decode()
    except OSError:
        return ""


def udp(server: str, port: int) -> str:
    """The same by a datagram, three times at most."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.settimeout(SECONDS / 3)
        for _ in range(3):
            try:
                connection.sendto(b"?", (server, port))
                return connection.recv(99).decode()
            except OSError:
                continue
    return ""


def page(server: str, name: str, path: str = "/", *, plain: bool = False) -> tuple[int, str]:
    """A page of a site as a visitor gets it who trusts any certificate; 0: nobody answers."""
    url = f"{'http' if plain else 'https'}://{server}{path}"
    try:
        with httpx.Client(verify=False, trust_env=False, timeout=SECONDS) as client:
            request = client.build_request(
                "GET", url, headers={"Host": name}, extensions={"sni_hostname": name}
            )
            answer = client.send(request)
    except httpx.HTTPError:
        return 0, ""
    return answer.status_code, answer.text


def gets_in(name: str, port: int) -> bool:
    """Whether somebody who connects now, by no connection of before, can log in."""
    command = ["ssh", "-i", RUN / "id_ed25519", "-p", str(port), "-o", "ControlPath=none"]
    command += ["-o", f"UserKnownHostsFile={RUN}/known_hosts", "-o", "BatchMode=yes"]
    command += ["-o", "IdentitiesOnly=yes", "-o", f"ConnectTimeout={SECONDS}"]
    done = subprocess.run(
        [*command, f"deploy@{address(name)}", "true"], stdin=subprocess.DEVNULL, capture_output=True
    )
    TOTAL.tries.append(name)
    if done.returncode:
        TOTAL.locked_out.append(name)
    return done.returncode == 0


def database(host: Host, query: str) -> str:
    return host.check_output("cd / && runuser -u postgres -- psql -XAtqc %s", query).strip()


# -- the life of web1 ------------------------------------------------------------------------------


@dataclass
class Seen:
    """What a step left behind for the tests to look at."""

    names: set[str] = field(default_factory=set)
    text: str = ""
    changes: list[str] = field(default_factory=list)


def state(host: Host) -> list[str]:
    """All that could have been touched: files by their digests, packages, rules, who runs."""
    return host.check_output(
        "{ find /etc /usr/local -type f -not -name '*.lock' -exec sha256sum {} + | sort; "
        "dpkg-query --show; nft list ruleset 2>/dev/null || iptables-save; "
        "systemctl show --property=MainPID,Id caddy nginx postgresql@\\* nftables ssh chrony; } "
        "| sed 's/packets [0-9]* bytes [0-9]*//; /^[#:[]/d'"
    ).splitlines()


@pytest.fixture(scope="session")
def refused(one: Path, web1: Host, playbook: Callable[..., CompletedProcess[str]]) -> Seen:
    """A first run, with --check and without: it names all and changes nothing."""
    before = state(web1)
    checked = playbook("site.yml", "--check", inventory=one, fails=True)
    done = playbook("site.yml", inventory=one, fails=True)
    assert named(checked) == named(done)
    assert state(web1) == before
    return Seen(named(done), said(done), changed(done) + changed(checked))


@pytest.fixture(scope="session")
def adopted(refused: Seen, one: Path, playbook: Callable[..., CompletedProcess[str]]) -> Seen:
    """The run that its people have said yes to."""
    done = playbook("site.yml", inventory=one, **KEPT)
    return Seen(text=said(done))


@pytest.fixture(scope="session")
def again(adopted: Seen, one: Path, playbook: Callable[..., CompletedProcess[str]]) -> Seen:
    """A second run needs no yes, and changes nothing."""
    done = playbook("site.yml", inventory=one, **{**KEPT, "base_adopt": []})
    return Seen(text=said(done), changes=changed(done))


@pytest.fixture(scope="session")
def beside(
    refused_other: Seen, other: Path, web2: Host, playbook: Callable[..., CompletedProcess[str]]
) -> Seen:
    """The second server, once its people have done what they were told."""
    web2.check_output("systemctl disable --now nginx")
    for tables in ("iptables", "ip6tables"):
        web2.check_output(f"{tables} -I INPUT -p tcp -m multiport --dports 80,443 -j ACCEPT")
    done = playbook("site.yml", inventory=other)
    return Seen(text=said(done))


@pytest.fixture(scope="session")
def refused_other(other: Path, web2: Host, playbook: Callable[..., CompletedProcess[str]]) -> Seen:
    """The second server: a web server in the way, and rules that keep visitors out."""
    before = state(web2)
    done = playbook("site.yml", inventory=other, fails=True)
    assert state(web2) == before
    return Seen(named(done), said(done), changed(done))
