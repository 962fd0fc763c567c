"""Run a module of ours on a server in one round trip, without Ansible's packing of it.

Each module of library/ has this action under its own name, as a link.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

# Ansible loads a plugin as a file, of no package.
sys.path.append(str(Path(__file__).resolve().parents[2] / "control"))
from pergola_control import modules, package


class ActionModule(ActionBase):
    """The module that has the name of the task's action."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The module's result."""
        result = super().run(tmp, task_vars)
        name = self._task.action.rpartition(".")[2]
        order = modules.order(name, self._task.args, self._task.check_mode, self._task.diff)
        command = f"{package.PYTHON} -I -c {shlex.quote(modules.BEGIN)}"
        environment = self._compute_environment_string()
        done = self._low_level_execute_command(
            f"{environment} {command}".strip(), in_data=order.encode()
        )
        said = modules.understood(done["stdout"])
        if said is None:
            # Its traceback, or why there is no Python.
            msg = done["stderr"].strip() or done["stdout"].strip() or f"it ended with {done['rc']}"
            return {**result, "failed": True, "msg": msg}
        return {**result, **said}
