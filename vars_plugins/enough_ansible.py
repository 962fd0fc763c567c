"""Refuse an Ansible that Pergola's playbooks do not work with, and say how to get the right one.

A vars plugin beside a playbook is the first of its code that Ansible runs: before it reads the
playbook's roles, where an older one stops at "couldn't resolve module".
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import sys
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.plugins.vars import BaseVarsPlugin
from ansible.release import __version__ as version_of_ansible

DOCUMENTATION = r"""
name: enough_ansible
author: Pergola
short_description: Refuse an Ansible that is too old
description: It sets no variables.
options:
  stage:
    description: When it runs; at once, so that a playbook's roles have not been read.
    choices: [all, task, inventory]
    default: inventory
    type: str
    ini: [{section: enough_ansible, key: stage}]
"""

ROOT = Path(__file__).resolve().parent.parent
NEEDED = "2.19"  # core of the `ansible` package that requirements.txt pins


def numbers(version: str) -> tuple[int, ...]:
    """The first two numbers of a version, which order Ansible's."""
    return tuple(int(part) for part in version.split(".")[:2])


def collections(root: Path = ROOT) -> list[str]:
    """The collections that the playbooks use."""
    text = (root / "requirements.yml").read_text(encoding="utf-8")
    return re.findall(r"- name: (\S+)", text)


def is_there(collection: str) -> bool:
    """Whether this Ansible has a collection."""
    try:
        return importlib.util.find_spec(f"ansible_collections.{collection}") is not None
    except ImportError:
        return False


def lacking(version: str, names: list[str]) -> str:
    """What an Ansible lacks; empty when it is enough."""
    if numbers(version) < numbers(NEEDED):
        return f"and Pergola needs {NEEDED} or newer"
    missing = [name for name in names if not is_there(name)]
    return f"without {', '.join(missing)}" if missing else ""


def refusal(version: str, program: str, root: Path = ROOT) -> str:
    """Why this Ansible is not enough and what to type; empty when it is."""
    lacks = lacking(version, collections(root))
    if not lacks:
        return ""
    here = os.path.relpath(root)
    venv = os.path.relpath(root / ".venv")
    commands = [f". {shlex.quote(f'{venv}/bin/activate')}"]
    if not (root / ".venv/bin/ansible-playbook").exists():
        commands.insert(0, "make setup" if here == "." else f"make -C {shlex.quote(here)} setup")
    return (
        f"Nothing was changed: {program} is ansible-core {version}, {lacks}. "
        f"Pergola's own is in {venv}; run this, and then the same command again: "
        f"{' && '.join(commands)}"
    )


class VarsModule(BaseVarsPlugin):  # type: ignore[misc]
    """Look at Ansible's version as soon as the inventory has been read."""

    REQUIRES_ENABLED = False
    asked = False

    def get_vars(self, loader, path, entities, cache=True):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201, ARG002
        """No variables; AnsibleError when this Ansible is too old."""
        super().get_vars(loader, path, entities)
        if not VarsModule.asked and (why := refusal(version_of_ansible, sys.argv[0])):
            raise AnsibleError(why)
        VarsModule.asked = True
        return {}
