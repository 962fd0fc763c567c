"""Ansible lookup: who runs this playbook, from which control node, in which process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

# Ansible loads a plugin as a file, of no package.
sys.path.append(str(Path(__file__).resolve().parents[3] / "control"))
from pergola_control.operator import answer

DOCUMENTATION = r"""
---
name: operator
author: Pergola
short_description: Who runs this playbook, and in which run
description:
  - Names the person, the control node and this run of C(ansible-playbook), for a lock on a server
    that belongs to a run and must be passed over once that run is dead.
  - A run is the same for all its tasks and hosts, and no other is like it, on this or any other
    control node or container.
notes:
  - Users who cannot see each other's processes (C(/proc) mounted with C(hidepid)) count as two
    control nodes, as neither can tell whether the other's run is alive.
options: {}
"""

EXAMPLES = r"""
- name: Show who would deploy
  ansible.builtin.debug:
    msg: "{{ lookup('operator').who }} from {{ lookup('operator').node }}"
"""

RETURN = r"""
_raw:
  description: One dictionary.
  type: list
  elements: dict
  contains:
    who:
      description:
        - "Who started the run: in CI the person and the run's address, as GitHub, GitLab, Forgejo
          and Gitea tell them; else git's C(user.email), or the login name."
      type: str
    url: {description: The address of the CI run; empty outside of CI., type: str}
    node: {description: "The control node's host name, for people.", type: str}
    run: {description: "This run: C(control node/process/start), to be compared only.", type: str}
    alive:
      description:
        - Every run that is alive on this control node, this one among them, and other processes
          that cannot be told from one.
      type: list
      elements: str
"""


class LookupModule(LookupBase):
    """The lookup `operator`."""

    def run(
        self,
        terms: list[Any],
        variables: dict[str, Any] | None = None,  # noqa: ARG002 - Ansible's signature
        **kwargs: object,
    ) -> list[dict[str, Any]]:
        if terms or kwargs:
            raise AnsibleError("the lookup 'operator' takes no arguments")
        return [answer(self._loader.get_basedir(), os.environ)]
