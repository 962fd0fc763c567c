"""Check all settings of an environment against the argument specs of all roles together.

Ansible itself checks one role's settings when that role starts, and stops at the first wrong role:
by then the roles before it have changed hosts. This action runs first, on the control node, without
a connection, and fails once with every problem, its example, and the file and line to edit.

    - name: Refuse wrong settings before the first change
      settings_checked:
        roles: [base, app]                    # their meta/argument_specs.yml, entry point main
        roles_path: roles                     # default: beside the role that calls
        file: group_vars/servers/settings.yml # where a missing setting goes, below the inventory

It never converts a value, and never shows one that is secret: `no_log: true` in its spec, from a
vault, or made from such a value.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# Ansible loads a plugin as a file, of no package.
sys.path.append(str(Path(__file__).resolve().parents[3] / "control"))
from pergola_control.settings.check import Check

DEFAULT_FILE = "group_vars/servers/settings.yml"


class ActionModule(ActionBase):
    """Fail with every wrong setting of a host, before anything is changed."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"roles", "roles_path", "file"})

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The result: changed is false; failed and a message when settings are wrong."""
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        check = Check(
            roles=self.role_names(),
            roles_path=self.roles_path(variables),
            inventory=Path(variables.get("inventory_dir") or "."),
            playbooks=Path(variables["playbook_dir"]),
            host=variables["inventory_hostname"],
            groups=variables.get("group_names", []),
            variables=variables,
            load=self.loaded,
        )
        try:
            templar = self._templar.copy_with_new_env(available_variables=check.context)
            wrong = check.refusal(templar.template, self._task.args.get("file", DEFAULT_FILE))
        except FileNotFoundError as error:
            raise AnsibleActionFail(str(error)) from error
        if wrong:
            return {**result, "changed": False, "failed": True, "msg": wrong}
        return {**result, "changed": False, "msg": f"{len(check.specs)} settings are in order."}

    def role_names(self) -> list[str]:
        """The roles to be checked; AnsibleActionFail when they are not named."""
        roles = self._task.args.get("roles")
        if not isinstance(roles, list) or not roles:
            raise AnsibleActionFail("settings_checked needs `roles`, a list of role names")
        return [str(role) for role in roles]

    def roles_path(self, variables: Mapping[str, Any]) -> Path:
        """The directory of the roles: as given, else where the calling role is."""
        given = self._task.args.get("roles_path")
        if given:
            return Path(given)
        if "role_path" in variables:
            return Path(variables["role_path"]).parent
        return Path(variables["playbook_dir"]) / "roles"

    def loaded(self, path: Path) -> Mapping[str, Any]:
        """The variables of a file, decrypted if it is vaulted."""
        data = self._loader.load_from_file(str(path.absolute()), trusted_as_template=True)
        return data if isinstance(data, Mapping) else {}
