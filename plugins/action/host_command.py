"""Run a command on a server: one round trip, without a module of Ansible's.

`command` and `shell` pack a module, which the server unpacks and imports: a third of a second of
its CPU time for each task.
"""

from __future__ import annotations

import shlex
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

DOCUMENTATION = r"""
---
module: host_command
author: Pergola
short_description: Run a command on a server
description:
  - In check mode it is skipped, unless the task says C(check_mode) false.
  - As with C(ansible.builtin.command) it has changed something, unless C(changed_when) says
    otherwise, and another exit code than 0 fails the task.
  - Where the connection is lost meanwhile there is no exit code, and the command's next line ends
    it. One of a command that a signal ended is 128 and more. By 255 a lost connection is known, so
    a command that may end with that is C(ansible.builtin.command)'s.
  - What the login shell, sudo and SSH say before it begins is left out.
options:
  argv: {description: A program and its arguments., type: list, elements: str}
  cmd: {description: A script for C(sh), type: str}
  stdin: {description: "What it reads, as it is: no newline is added.", type: str, default: ""}
"""

RETURN = r"""
rc: {description: Its exit code., returned: always, type: int}
stdout: {description: What it said., returned: always, type: str}
stderr: {description: What it said on standard error., returned: always, type: str}
"""


BEGINS = "pergola: the command begins"


class ActionModule(ActionBase):
    """Run it."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"argv", "cmd", "stdin"})

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The result, with the names that it has of Ansible's own modules."""
        result = super().run(tmp, task_vars)
        argv, cmd = self._task.args.get("argv"), self._task.args.get("cmd")
        if bool(argv) == bool(cmd):
            raise AnsibleActionFail("host_command takes `argv` or `cmd`")
        if self._task.check_mode:
            return {**result, **said(0, "", ""), "changed": False, "skipped": True}
        script = cmd or f"exec {shlex.join(map(str, argv))}"
        stdin = str(self._task.args.get("stdin") or "").encode()
        if not stdin:
            script = f"exec </dev/null\n{script}"
        words = ["/bin/sh", "-c", f"echo '{BEGINS}'; echo '{BEGINS}' >&2\n{script}"]
        command = f"{self._compute_environment_string()} {shlex.join(words)}".strip()
        # With something on its input no terminal is made for it.
        done = self._low_level_execute_command(command, in_data=stdin or b"\n")
        result |= {**said(done["rc"], done["stdout"], done["stderr"]), "changed": True}
        if done["rc"]:
            result |= {"failed": True, "msg": "non-zero return code"}
        return result


def said(code: int, out: str, err: str) -> dict[str, Any]:
    """How it ended, as `command` tells it."""
    texts = {"stdout": after(out).rstrip("\r\n"), "stderr": after(err).rstrip("\r\n")}
    lines = {f"{name}_lines": text.splitlines() for name, text in texts.items()}
    return {"rc": code, **texts, **lines}


def after(text: str) -> str:
    """What the command said: all of it, where it never began."""
    before, begins, said = text.partition(f"{BEGINS}\n")
    return said if begins else before
