"""The site as the person who runs Ansible would open it, by whatever their name server says."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from scenario import INVENTORY, PROJECT, address, said

PLAYBOOK = """\
- hosts: app
  become: true
  gather_facts: false
  roles: [{role: visit, visit_domain: NAME}]
"""


@pytest.fixture
def visit(tmp_path: Path) -> Callable[[str, str], str]:
    """What the role says where a name has an address: in a mount namespace of its own."""

    def run(name: str, leads_to: str) -> str:
        hosts, playbook = tmp_path / "hosts", tmp_path / "visit.yml"
        hosts.write_text(f"127.0.0.1 localhost\n{leads_to} {name}\n")
        playbook.write_text(PLAYBOOK.replace("NAME", name))
        done = subprocess.run(
            [
                *("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"'),
                *(hosts, "ansible-playbook", playbook, "-i", INVENTORY),
            ],
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_STDOUT_CALLBACK": "default",
            },
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
        return said(done)

    return run


def test_a_site_that_answers_is_no_news(visit: Callable[[str, str], str]):
    assert "opened from here" not in visit("linkboard.test", address("web1"))


@pytest.mark.parametrize(
    ("name", "leads_to", "cause"),
    [
        # Nobody listens on that one of this machine's own addresses.
        (
            "nosuch.example.org",
            "127.0.77.1",
            "nothing listens on port 443 of 127.0.77.1; nosuch.example.org leads to 127.0.77.1",
        ),
        # The server has no certificate for a name that no site of it has.
        ("nosuch.example.org", "web1", "certificate: "),
    ],
)
def test_what_does_not_answer_is_said_with_its_cause(
    visit: Callable[[str, str], str], name: str, leads_to: str, cause: str
):
    text = visit(name, address(leads_to) if leads_to == "web1" else leads_to)
    assert f"WARNING: https://{name}/, opened from here: {cause}" in text
