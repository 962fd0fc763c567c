"""Refuse a checkout of Pergola that is older than the one that a server was last set up with."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

# Ansible loads a plugin as a file, of no package.
sys.path.append(str(Path(__file__).resolve().parents[3] / "control"))
from pergola_control.checkout import here, read, written
from pergola_control.operator import who

DOCUMENTATION = r"""
---
module: checkout_checked
author: Pergola
short_description: Refuse a checkout of Pergola that is older than what a server was set up with
description:
  - It reads one small file on the server, changes nothing, and also runs in check mode.
  - A server that cannot be asked is left to the next task, which says why.
options:
  path: {description: The file on the server., type: path, required: true}
  version: {description: This checkout's version., type: str, required: true}
  older: {description: Take an older checkout nevertheless., type: bool, default: false}
"""

RETURN = r"""
file:
  description: What the file should say from now on.
  returned: always
  type: str
differs:
  description: Whether it says something else.
  returned: always
  type: bool
"""

# A sudo whose prompt Ansible does not know looks to it like a host that is not there.
PROMPT = (
    "Nothing was changed. The server's sudo asks for the password in words that Ansible does not "
    "know, as sudo-rs does (Ubuntu 26.04): add `-e ansible_become_exe=sudo.ws` to the command, "
    "which is the classic sudo, or let the account use sudo without a password (a line "
    "`NAME ALL=(ALL) NOPASSWD:ALL` in a file in /etc/sudoers.d)."
)


class ActionModule(ActionBase):
    """Compare this checkout with the server's."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"path", "version", "older"})

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The result: what the server's file should say."""
        result = super().run(tmp, task_vars)
        text = self.text_on_server(self._task.args["path"])
        there, on_and_by = read(text)
        checkout = here(str(self._task.args["version"]))
        host = (task_vars or {}).get("inventory_hostname", "")
        if checkout.is_older(there):
            says = (
                f"{host} was made by a newer Pergola ({there}){on_and_by}; "
                f"this checkout is older ({checkout})."
            )
            if not self._task.args.get("older"):
                raise AnsibleActionFail(
                    f"{says} Nothing was changed. Update it (git pull) and run this again. "
                    "To go back to an older Pergola although it may not know what is on the "
                    "server: -e preflight_older=true"
                )
            self._display.warning(says)
        differs = checkout != there
        if differs:
            text = written(checkout, who(self._loader.get_basedir(), os.environ))
        return {**result, "changed": False, "file": text, "differs": differs}

    def text_on_server(self, path: str) -> str:
        """The file's text; empty where there is none, or the server cannot be asked."""
        try:
            done = self._low_level_execute_command(f"cat {shlex.quote(path)} 2>/dev/null || true")
        except AnsibleConnectionFailure as error:
            if "privilege escalation prompt" not in str(error):
                raise
            raise AnsibleActionFail(f"{error} {PROMPT}") from None
        except AnsibleError:  # of sudo: whoever comes next says what is wrong with it
            return ""
        return str(done.get("stdout", ""))
