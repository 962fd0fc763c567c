"""Check all settings of an environment against the specs and checks of all roles together.

Ansible itself checks one role's settings when that role starts, and stops at the first wrong role:
by then the roles before it have changed hosts. This action runs first, on the control node, without
a connection, and fails once with every problem, its example, and the file and line to edit.

    - name: Refuse wrong settings before the first change
      settings_checked:
        tell: [app_version]
      # -> calendars: when something runs by these settings, by what has it
      # -> told: settings of roles that the playbook does not have, with these roles' defaults

    - name: Refuse a server that they cannot be brought to, once its facts are known
      settings_checked: {against: server}

    - name: Refuse settings of a server that another inventory provisions
      settings_checked: {against: guest, owner: linkboard}

    - name: Ask what the roles bring to it
      settings_checked: {against: life}
      # -> brings: lists and mappings by name

The roles are those beside the one that calls: what a type can say is in their
meta/argument_specs.yml, the rest in their meta/checks.yml. It never converts a value, and never
shows one that is secret: `no_log: true` in its spec, from a vault, or made from such a value.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars

# Ansible loads a plugin as a file, of no package.
sys.path.append(str(Path(__file__).resolve().parents[3] / "control"))
from pergola_control.command.questions import QUESTIONS
from pergola_control.settings.check import Check


class ActionModule(ActionBase):
    """Fail with every wrong setting of a host, before anything is changed."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"against", "owner", "tell"})

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The result: changed is false; failed and a message when settings are wrong."""
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        check = Check(
            roles_path=Path(variables["role_path"]).parent,
            inventory=Path(variables.get("inventory_dir") or "."),
            playbooks=Path(variables["playbook_dir"]),
            host=variables["inventory_hostname"],
            groups=variables.get("group_names", []),
            variables=variables,
            load=self.loaded,
            asked=frozenset(name for names in QUESTIONS.values() for name in names),
            given=frozenset(load_extra_vars(self._loader)),
        )
        against = self._task.args.get("against", "settings")
        context = check.context
        evaluate = self._templar.copy_with_new_env(available_variables=context).template
        if against == "guest":
            wrong = check.of_server(str(self._task.args.get("owner")))
            return {**result, "changed": False, **({"failed": True, "msg": wrong} if wrong else {})}
        if against == "life":
            return {**result, "changed": False, "brings": check.brings(evaluate)}
        if wrong := check.refusal(evaluate) if against == "settings" else check.unfit(evaluate):
            return {**result, "changed": False, "failed": True, "msg": wrong}
        calendars = check.calendars(evaluate) if against == "settings" else {}
        told = {name: evaluate(context[name]) for name in self._task.args.get("tell") or []}
        return {**result, "changed": False, "calendars": calendars, "told": told}

    def loaded(self, path: Path) -> Mapping[str, Any]:
        """The variables of a file, decrypted if it is vaulted."""
        data = self._loader.load_from_file(str(path.absolute()), trusted_as_template=True)
        return data if isinstance(data, Mapping) else {}
