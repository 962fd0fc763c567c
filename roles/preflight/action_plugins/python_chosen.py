"""Choose the Python that a server runs the application with, before the first change."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# Ansible loads a plugin as a file, of no package.
sys.path.append(str(Path(__file__).resolve().parents[3] / "control"))
from pergola_control import modules, package
from pergola_control.refusal import RefusalError
from pergola_control.source.interpreters import PLACE, Server, chosen, unreachable

DOCUMENTATION = r"""
---
module: python_chosen
author: Pergola
short_description: Choose the Python that a server runs the application with
description:
  - One of the system's own that fits is taken; else one that uv brings when the release is built.
  - A version that neither has, and one that the server does not reach, are refused.
  - It changes nothing, and also runs in check mode.
options:
  versions: {description: "What fits, as specifiers of versions.", type: str, required: true}
  said: {description: "The same for a person, with its place.", type: str, required: true}
  allowed: {description: "Which of them the project allows, empty: any.", type: str, default: ""}
  mirror: {description: "A mirror of uv's builds; empty: none.", type: str, default: ""}
  builds: {description: "A file with a list of builds instead of uv's.", type: path}
"""

RETURN = r"""
version: {description: "Its version; empty: the system's usual one.", returned: always, type: str}
interpreter: {description: "Its path; empty: the system's usual one.", returned: always, type: str}
key: {description: "What uv has to bring; empty: nothing.", returned: always, type: str}
builds: {description: "The entry of a list of builds.", returned: always, type: dict}
"""


class ActionModule(ActionBase):
    """Ask the server, and choose."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"versions", "said", "allowed", "mirror", "builds"})

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The result: which it is."""
        result = super().run(tmp, task_vars)
        versions, said = str(self._task.args["versions"]), str(self._task.args["said"])
        builds = str(self._task.args.get("builds") or "")
        seen = self.ask()
        host = str((task_vars or {}).get("inventory_hostname", ""))
        server = Server(host, seen["machine"], dict(seen["own"]), seen["brought"])
        try:
            mirror = str(self._task.args.get("mirror") or "")
            found = chosen(versions, said, server, mirror, Path(builds) if builds else None)
            if found.key and (why := self.ask(urls=list(found.urls))["why"]):
                allowed = str(self._task.args.get("allowed") or "")
                raise unreachable(said, server, found, why, allowed)
        except (RefusalError, ValueError) as error:
            raise AnsibleActionFail(str(error)) from None
        return {
            **result,
            "changed": False,
            "version": found.version,
            "interpreter": found.interpreter,
            "key": found.key,
            "builds": dict(found.builds),
        }

    def ask(self, **arguments: object) -> dict[str, Any]:
        """What module python_seen says of the server."""
        order = modules.order("python_seen", {"place": PLACE, **arguments}, True, False)
        command = f"{package.PYTHON} -I -c {shlex.quote(modules.BEGIN)}"
        environment = self._compute_environment_string()
        done = self._low_level_execute_command(
            f"{environment} {command}".strip(), in_data=order.encode()
        )
        said = modules.understood(done["stdout"])
        if said is None or said.get("failed"):
            raise AnsibleActionFail(
                f"The server did not say which Pythons it has: {done['stderr'] or done['stdout']}"
            )
        return said
