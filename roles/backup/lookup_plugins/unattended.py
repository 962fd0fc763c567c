"""Ansible lookup: why nobody would see and keep what this run writes on the control node."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = r"""
---
name: unattended
author: Pergola
short_description: Why nobody would see and keep what this run writes on the control node
description:
  - Empty when a person runs C(ansible-playbook) in a terminal. Otherwise the reason, as the
    middle of a sentence. The environment variable C(CI) is set, or the run has no terminal.
options: {}
"""

EXAMPLES = r"""
- name: Refuse to make a key that nobody would keep
  ansible.builtin.assert:
    that: lookup('unattended') | length == 0
"""

RETURN = r"""
_raw:
  description: One text, which may be empty.
  type: list
  elements: str
"""

NOT_SET = ("", "0", "false", "no")
PS_LIMIT = 10  # seconds


def has_terminal(pid: int, proc: Path = Path("/proc")) -> bool:
    """Whether a process has a controlling terminal."""
    try:
        # Field 7 of stat, counted from 1 with two before the parenthesis: the terminal, or 0.
        fields = (proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return fields[4] != "0"
    except (OSError, IndexError):  # macOS has no /proc
        pass
    try:
        asked = ("ps", "-o", "tty=", "-p", str(pid))
        done = subprocess.run(asked, capture_output=True, check=True, timeout=PS_LIMIT)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.stdout.decode(errors="replace").strip().strip("?-") != ""


def reason(environment: Mapping[str, str], terminal: bool) -> str:
    """Why a run is unattended; empty when it is not."""
    if environment.get("CI", "").lower() not in NOT_SET:
        return "CI is set"
    return "" if terminal else "it has no terminal"


class LookupModule(LookupBase):
    """The lookup `unattended`."""

    def run(
        self,
        terms: list[Any],
        variables: dict[str, Any] | None = None,  # noqa: ARG002 - Ansible's signature
        **kwargs: object,
    ) -> list[str]:
        if terms or kwargs:
            raise AnsibleError("the lookup 'unattended' takes no arguments")
        # Ansible forks a process for each task and takes it away from the terminal.
        parent = multiprocessing.parent_process()
        run = parent.pid if parent and parent.pid else os.getpid()
        return [reason(os.environ, has_terminal(run))]
