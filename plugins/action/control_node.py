"""Run a program of control/ on the control node.

`command` with delegate_to packs a module, starts a shell and two Pythons for that: half a second.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

# Ansible loads a plugin as a file, of no package.
sys.path.append(str(Path(__file__).resolve().parents[2] / "control"))
from pergola_control.cli import main

DOCUMENTATION = r"""
---
module: control_node
author: Pergola
short_description: Run a program of control/ on the control node
description:
  - It runs in the task's own process and in the directory that ansible-playbook was started in,
    from which relative paths are meant. It also runs in check mode, so it must change nothing.
  - Another exit code than 0 fails the task with what it said on standard error.
options:
  argv: {description: Its name and its arguments., type: list, elements: str, required: true}
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
        """The result: rc, stdout, stderr; failed with the last of these."""
        result = super().run(tmp, task_vars)
        done = ran(list(map(str, self._task.args["argv"])), str(self._task.args.get("stdin", "")))
        result |= {"changed": False, **done}
        if done["rc"]:
            result |= {"failed": True, "msg": done["stderr"]}
        return result


def ran(argv: list[str], stdin: str) -> dict[str, Any]:
    """Run it in this process, which Ansible has made for this one task and ends with it.

    Another Python would take longer to start than most of these programs to end.
    """
    os.chdir(os.environ.get("PWD", "."))  # it is the playbook's by now
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin.encode()))
    said, complained = io.StringIO(), io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        try:
            main(argv)
        except SystemExit as end:
            code = end.code
        except Exception:
            code = traceback.format_exc()
    if isinstance(code, str):  # as Python ends: with what it says, and 1
        complained.write(code)
    rc = code if isinstance(code, int) else int(code is not None)
    return {"rc": rc, "stdout": said.getvalue().strip(), "stderr": complained.getvalue().strip()}
