"""Send an archive to the server in one round trip.

`copy` needs six for each file that it sends: it asks what is there, makes a directory, transfers,
changes rights, moves and tidies up.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

DOCUMENTATION = r"""
---
module: archive_sent
author: Pergola
short_description: Send an archive to the server in one round trip
description:
  - The file arrives whole or not at all, for its owner alone. It is held in memory meanwhile.
options:
  src: {description: The archive on the control node., type: path, required: true}
  dest: {description: "Where it goes; its directory is there.", type: path, required: true}
"""

# It is written beside its place; what comes is counted, for a cut connection looks like an end.
RECEIVE = """set -eu; umask 077; new={dest}.new
cat >"$new"
[ "$(wc -c <"$new")" -eq {size} ] || {{ rm -f "$new"; echo 'it did not arrive whole' >&2; exit 1; }}
if cmp -s "$new" {dest}; then rm "$new"; else mv "$new" {dest}; echo changed; fi"""


class ActionModule(ActionBase):
    """Send one file."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"src", "dest"})

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The result: whether the file is new there."""
        result = super().run(tmp, task_vars)
        if self._task.check_mode:
            return {**result, "changed": False, "skipped": True}
        src, dest = Path(self._task.args["src"]), shlex.quote(self._task.args["dest"])
        try:
            content = src.read_bytes()
        except OSError as error:
            raise AnsibleActionFail(f"{src} could not be read: {error}") from error
        script = RECEIVE.format(dest=dest, size=len(content))
        done = self._low_level_execute_command(f"/bin/sh -c {shlex.quote(script)}", in_data=content)
        if done["rc"]:
            return {**result, "failed": True, "msg": f"{dest} was not sent: {done['stderr']}"}
        return {**result, "changed": "changed" in done["stdout_lines"]}
