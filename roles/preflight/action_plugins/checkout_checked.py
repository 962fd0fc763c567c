"""Refuse an older checkout of Pergola, and another inventory, than a server was set up with."""

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
from pergola_control.checkout import here, owner, read, written
from pergola_control.operator import who

DOCUMENTATION = r"""
---
module: checkout_checked
author: Pergola
short_description: Refuse an older checkout, or another inventory, than a server was set up with
description:
  - It reads one small file on the server, changes nothing, and also runs in check mode.
  - A server that cannot be asked is left to the next task, which says why.
options:
  path: {description: The file on the server., type: path, required: true}
  version: {description: This checkout's version., type: str, required: true}
  older: {description: Take an older checkout nevertheless., type: bool, default: false}
  inventory:
    description: This inventory, by its application's name; empty where hosts have no owner.
    type: str
  provisions: {description: Whether the playbook changes the server itself., type: bool}
  takes_over: {description: Have this inventory own the server from now on., type: bool}
  deploy: {description: The command that the application alone needs., type: str}
"""

RETURN = r"""
file:
  description: What the file should say from now on.
  returned: always
  type: str
owner:
  description: The inventory that provisions the server; empty where that is not known.
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
    _VALID_ARGS = frozenset(
        {"path", "version", "older", "inventory", "provisions", "takes_over", "deploy"}
    )

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
        before = owner(text)
        now = self.owned(host, before)
        # A deploy to a server that nobody has provisioned is refused later on, and changes nothing.
        known = bool(text.strip()) or bool(self._task.args.get("provisions"))
        differs = known and (checkout != there or now != before)
        if differs:
            text = written(checkout, who(self._loader.get_basedir(), os.environ), now)
        return {**result, "changed": False, "file": text, "differs": differs, "owner": now}

    def owned(self, host: str, before: str) -> str:
        """Whose server it is from now on; AnsibleActionFail when this inventory may not have it."""
        inventory = str(self._task.args.get("inventory") or "")
        if not inventory or not self._task.args.get("provisions"):
            return before
        if before in ("", inventory) or self._task.args.get("takes_over"):
            return inventory
        raise AnsibleActionFail(
            f"{host} is provisioned by the inventory of {before}; nothing was changed. This "
            f"inventory brings {inventory} to it as one more application: "
            f"{self._task.args.get('deploy')}, with application settings only (app_*, release_*). "
            "To take the server over: -e preflight_takes_over=true"
        )

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
