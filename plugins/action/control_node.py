"""Run a program of control/ on the control node.

`command` with delegate_to packs a module, starts a shell and two Pythons for that: half a second.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

DOCUMENTATION = r"""
---
module: control_node
author: Pergola
short_description: Run a program of control/ on the control node
description:
  - It runs in Ansible's own Python and in the directory that ansible-playbook was started in, from
    which relative paths are meant. It also runs in check mode, so it must change nothing.
  - Another exit code than 0 fails the task with what it said on standard error.
options:
  argv: {description: Its name and its arguments., type: list, elements: str, required: true}
  stdin: {description: What it reads., type: str, default: ""}
"""

CONTROL = Path(__file__).resolve().parents[2] / "control"


class ActionModule(ActionBase):
    """Run one program to its end."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"argv", "stdin"})

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The result: rc, stdout, stderr; failed with the last of these."""
        result = super().run(tmp, task_vars)
        done = subprocess.run(
            [sys.executable, str(CONTROL), *map(str, self._task.args["argv"])],
            # Not the working directory: that is the playbook's by now.
            cwd=os.environ.get("PWD"),
            input=str(self._task.args.get("stdin", "")),
            capture_output=True,
            text=True,
            check=False,
        )
        said = {"stdout": done.stdout.strip(), "stderr": done.stderr.strip()}
        result |= {"changed": False, "rc": done.returncode, **said}
        if done.returncode:
            result |= {"failed": True, "msg": said["stderr"]}
        return result
