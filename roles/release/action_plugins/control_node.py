"""Run a program of this role on the control node.

`command` with delegate_to packs a module, starts a shell and two Pythons for that: half a second.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from ansible.plugins.action import ActionBase

DOCUMENTATION = r"""
---
module: control_node
author: Pergola
short_description: Run a program of the role on the control node
description:
  - It runs in Ansible's own Python and in the directory that ansible-playbook was started in, from
    which relative paths are meant. It also runs in check mode, so it must change nothing.
  - An exit code other than 0 is no failure of the task, which returns rc, stdout and stderr.
options:
  argv: {description: The program and its arguments., type: list, elements: str, required: true}
  stdin: {description: What it reads., type: str, default: ""}
"""


class ActionModule(ActionBase):
    """Run one program to its end."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"argv", "stdin"})

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The result: rc, stdout, stderr."""
        result = super().run(tmp, task_vars)
        done = subprocess.run(
            [sys.executable, *map(str, self._task.args["argv"])],
            # Not the working directory: that is the playbook's by now.
            cwd=os.environ.get("PWD"),
            input=str(self._task.args.get("stdin", "")),
            capture_output=True,
            text=True,
            check=False,
        )
        said = {"stdout": done.stdout.strip(), "stderr": done.stderr.strip()}
        return {**result, "changed": False, "rc": done.returncode, **said}
