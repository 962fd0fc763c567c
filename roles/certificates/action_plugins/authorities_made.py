"""Make the file with an environment's authorities on the control node, where there is none."""

from __future__ import annotations

import contextlib
import datetime
import os
import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

# Ansible loads a plugin as a file, of no package.
sys.path.append(str(Path(__file__).resolve().parents[3] / "control"))

DOCUMENTATION = r"""
---
module: authorities_made
author: Pergola
short_description: Make the file with an environment's authorities where there is none
description:
  - A file that is there is left alone, whatever it holds. In check mode none is made.
options:
  path: {description: The file, absolute., type: path, required: true}
  environment: {description: What the authorities are named after., type: str, required: true}
"""


class ActionModule(ActionBase):
    """Look at one file on the control node."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"path", "environment"})

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The result: changed when the file was made, or would be."""
        result = super().run(tmp, task_vars)
        path = Path(os.path.expanduser(self._task.args["path"]))  # noqa: PTH111 - keeps `..`
        if path.exists() or self._task.check_mode:
            return {**result, "changed": not path.exists()}
        from pergola_control.certificates.authorities import made

        text = made(str(self._task.args["environment"]), datetime.datetime.now(datetime.UTC))
        path.parent.mkdir(parents=True, exist_ok=True)
        return {**result, "changed": write_new(path, text)}


def write_new(path: Path, text: str) -> bool:
    """Write a file that only its owner reads, whole or not at all; whether it was not there yet.

    Another run may make it at the same moment: the first one wins.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(beside, path)
    except FileExistsError:
        return False
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
    return True
