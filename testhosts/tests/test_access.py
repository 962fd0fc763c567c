import json
from pathlib import Path

import pytest

from testhosts import access
from testhosts.machine import Machine, hosts_file
from testhosts.runs import Run, describe, run_id


@pytest.fixture
def machines():
    return [
        Machine(
            name=name,
            aliases=aliases,
            suite="trixie",
            address=f"10.213.7.{10 + index}",
            unit=f"pg-{run_id('demo')}-{index}",
            image="/images/trixie",
            folder=f"/runs/{index}",
            host_key=f"ssh-ed25519 KEY{index}",
        )
        for index, (name, aliases) in enumerate([("app", ["app.example.test"]), ("db", [])])
    ]


def test_ssh_config_is_strict_and_names_every_file(machines):
    first, second = access.ssh_config(machines, Path("/tmp/with space")).split("\n\n")
    assert first.splitlines() == [
        "Host app app.example.test",
        "  HostName 10.213.7.10",
        "  User deploy",
        '  IdentityFile "/tmp/with space/id_ed25519"',
        "  IdentitiesOnly yes",
        '  UserKnownHostsFile "/tmp/with space/known_hosts"',
        "  StrictHostKeyChecking yes",
        "  LogLevel ERROR",
    ]
    assert second.startswith("Host db\n")


def test_known_hosts_under_address_name_and_aliases(machines):
    assert access.known_hosts(machines) == (
        "10.213.7.10,app,app.example.test ssh-ed25519 KEY0\n10.213.7.11,db ssh-ed25519 KEY1\n"
    )


def test_hosts_file_maps_names_to_the_network_address(machines):
    text = hosts_file(machines)
    assert "10.213.7.10 app app.example.test\n10.213.7.11 db\n" in text
    assert "127.0.1.1" not in text


def test_molecules_instance_config(machines):
    assert json.loads(access.instance_config(machines, Path("/tmp/x")))[1] == {
        "instance": "db",
        "address": "10.213.7.11",
        "user": "deploy",
        "port": 22,
        "identity_file": "/tmp/x/id_ed25519",
    }


def test_existing_key_is_kept(tmp_path):
    folder = tmp_path / "new"
    first = access.public_key(folder)
    (folder / "id_ed25519.pub").unlink()
    assert access.public_key(folder).split()[:2] == first.split()[:2]
    assert (folder / "id_ed25519").stat().st_mode & 0o777 == 0o600


def test_description_of_a_run(machines):
    run = Run("demo", 0.0, "/tmp/x", "", "10.213.7.0/24", machines)
    described = describe(run)
    assert described["gateway"] == "10.213.7.1"
    assert [host["name"] for host in described["hosts"]] == ["app", "db"]


def test_interface_names_fit_whatever_the_run_is_called(machines):
    name = run_id("/home/some one/.ansible/tmp/molecule.x.default")
    assert name == run_id("/home/some one/.ansible/tmp/molecule.x.default")
    assert len(name) == 8
    assert len(f"pg-{name}") <= 15
    machine = machines[0]
    machine.unit = f"pg-{name}-99"
    assert machine.port == f"vb-{name}-99"
    assert len(machine.port) <= 15
