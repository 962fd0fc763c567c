"""Have the certificates of a host as wanted: it asks, the control node signs, the host takes.

One round trip finds that nothing is lacking; a second one brings what was signed.
"""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

# Ansible loads a plugin as a file, of no package.
sys.path.append(str(Path(__file__).resolve().parents[2] / "control"))
from pergola_control.refusal import RefusalError

DOCUMENTATION = r"""
---
module: host_certificates
author: Pergola
short_description: Have the certificates of a host as wanted
description:
  - Each is asked for when there is none, when it ends within 90 days, when another name, address or
    trust is wanted than it has, and when it is not of the authority that signs now.
  - Keys are made on the host and stay there. The key of an authority stays on the control node.
  - What is signed says what the task says, whatever the host's request does.
options:
  certificates:
    description: >-
      Each with C(name) (of its files in /etc/pergola/certificates), C(trust) (C(members) or
      C(clients)), C(common_name), C(addresses) and C(group) (who may read its key beside root).
    type: list
    elements: dict
    required: true
  authorities:
    description: >-
      The file with the authorities of the environment, which may be encrypted as a whole. Without
      it a run in check mode only says that something would change.
    type: path
    required: true
  replace:
    description: Whether the host's authorities are replaced where the file has none of them.
    type: bool
    default: false
"""

RETURN = r"""
why:
  description: For each certificate that was signed, or would be, the reason.
  returned: always
  type: dict
written:
  description: The files that were changed.
  returned: always
  type: list
  elements: str
"""


class ActionModule(ActionBase):
    """Ask, sign, bring."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"certificates", "authorities", "replace"})

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The result: whether anything was changed, or would be, and why."""
        result = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(
            {
                "certificates": {"type": "list", "elements": "dict", "required": True},
                "authorities": {"type": "str", "required": True},
                "replace": {"type": "bool", "default": False},
            }
        )
        nothing = {"changed": False, "why": {}, "written": []}
        if not given["certificates"]:
            return {**result, **nothing}
        path = Path(os.path.expanduser(given["authorities"]))  # noqa: PTH111 - keeps `..`
        if self._task.check_mode and not path.exists():
            why = {one.get("name", ""): "there is none yet" for one in given["certificates"]}
            return {**result, **nothing, "changed": True, "why": why}
        try:
            return {**result, **nothing, **self.bring(path, given, task_vars or {})}
        except RefusalError as error:
            return {**result, "failed": True, "msg": str(error)}

    def bring(
        self, path: Path, given: Mapping[str, Any], variables: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Have them as wanted; RefusalError for what cannot be read or signed."""
        # It takes a moment to load, which runs without certificates need not wait for.
        from pergola_control.certificates import authorities, signing

        now = datetime.datetime.now(datetime.UTC)
        signers = authorities.read(self.text(path), str(path))
        wanted = {one.name: one for one in map(signing.Wanted.of, given["certificates"])}
        order: dict[str, Any] = {
            "certificates": [one.as_json() for one in wanted.values()],
            "authorities": signers.bundles(),
        }
        flags = ["--replace"] if given["replace"] else []
        warnings = signing.near_their_end(signers, now)
        asked = self.ask(["request", *flags], order, variables, only_look=True)
        if asked.get("failed") or not asked["answer"]["changed"] or self._task.check_mode:
            why = asked["answer"].get("why", {})
            return {**told(asked), "why": why, "warnings": warnings}
        requests = asked["answer"]["requests"]
        order["signed"] = {
            name: signing.sign(signers, wanted[name], text, now)
            for name, text in requests.items()
            if name in wanted
        }
        taken = self.ask(["take", *flags], order, variables)
        written = taken["answer"].get("written", [])
        why = asked["answer"]["why"]
        return {**told(taken), "why": why, "written": written, "warnings": warnings}

    def text(self, path: Path) -> str:
        """The file's text, decrypted where it must be; RefusalError when that fails."""
        try:
            return str(self._loader.get_text_file_contents(str(path)))
        except (AnsibleError, OSError) as error:
            remedy = "put it back from the copy that you keep, and give its vault password"
            what = f"the authorities cannot be read: {error}"
            raise RefusalError(what, "certificates_file", remedy) from error

    def ask(
        self,
        words: list[str],
        order: Mapping[str, Any],
        variables: Mapping[str, Any],
        only_look: bool = False,
    ) -> dict[str, Any]:
        """Have the program on the host do something."""
        task = self._task.copy()
        argv = ["certificates", *words]
        task.args = {"argv": argv, "document": order}
        if only_look:
            task.args["check_argv"] = [*argv, "--only-look"]
        action = self._shared_loader_obj.action_loader.get(
            "host_program",
            task=task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )
        said: dict[str, Any] = action.run(task_vars=dict(variables))
        return said


def told(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a task's result takes over of what the program said."""
    names = ("changed", "failed", "msg", "rc", "stderr")
    return {name: said[name] for name in names if name in said}
