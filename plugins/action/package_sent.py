"""Send what runs on a server: one package, to a directory with the name of its digest.

One round trip asks whether it is there and as it was sent; only when it is not, another sends it.
The first task of a run asks, the others take its word.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from ansible import constants as C  # noqa: N812 - Ansible's own name for it
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# Ansible loads a plugin as a file, of no package.
sys.path.append(str(Path(__file__).resolve().parents[2] / "control"))
from pergola_control import package

DOCUMENTATION = r"""
---
module: package_sent
author: Pergola
short_description: Send what runs on a server, once for each of its versions
description:
  - The package is the tree C(host) of this checkout. It lies in a directory that has the name of
    its digest, and the link C(current) leads to the one in force. Nothing is sent when it is there.
  - A process that has begun keeps its version; old ones that nobody uses are removed with the next
    change, but for the one before.
  - What somebody changed there by hand is replaced.
  - People call it as C(pergola), and by the names that C(host/pergola/cli.py) lists as ALIASES.
    What earlier Pergolas left in their place is replaced, their folders of modules are removed.
  - A role whose units or people call it says C(package_sent:) before. Only the first such task of a
    run asks the host; it leaves the fact C(pergola_package), which holds for this run alone.
options: {}
"""

FACT = "pergola_package"


class ActionModule(ActionBase):
    """Have the package of this checkout in force."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The result: whether another version is in force now, or would be, and its digest."""
        result = super().run(tmp, task_vars)
        if self._task.args:
            raise AnsibleActionFail(f"package_sent takes no {', '.join(self._task.args)}")
        files, dry = package.files(), bool(self._task.check_mode)
        want = package.digest(files)
        # Ansible may keep facts for later runs, in which the host may be another one. The directory
        # is this run's own, for all of its processes.
        seen = {"digest": want, "dry": dry, "run": C.DEFAULT_LOCAL_TMP}
        known = {**result, "digest": want, "ansible_facts": {FACT: seen}}
        if (task_vars or {}).get("ansible_facts", {}).get(FACT) == seen:
            return {**known, "changed": False}
        done = self.call(package.script(package.ASK, want, dry))
        if done["rc"] == 0 and "wanted" in done["stdout_lines"] and not dry:
            done = self.call(package.script(package.SEND, want), package.archive(files))
        if done["rc"]:
            said = done["stderr"].strip()
            msg = f"the program was not sent: {said}\nwhat was in force before still is"
            return {**result, "failed": True, "msg": msg}
        return {**known, "changed": "same" not in done["stdout_lines"]}

    def call(self, text: str, content: bytes = b"\n") -> dict[str, Any]:
        """Run a script there; with something on its input, so that no terminal is made for it."""
        done: dict[str, Any] = self._low_level_execute_command(
            f"/bin/sh -c {shlex.quote(text)}", in_data=content
        )
        return done
