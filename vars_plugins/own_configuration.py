"""Refuse to run without an ansible.cfg that knows Pergola, and say from where to run.

Ansible looks for its configuration in the directory that it is started in. Elsewhere its first word
would be "the role 'preflight' was not found". See enough_ansible for when this runs.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from ansible import constants
from ansible.errors import AnsibleError
from ansible.plugins.vars import BaseVarsPlugin

DOCUMENTATION = r"""
name: own_configuration
author: Pergola
short_description: Refuse to run without Pergola's ansible.cfg
description: It sets no variables.
options:
  stage:
    description: When it runs; at once, so that a playbook's roles have not been read.
    choices: [all, task, inventory]
    default: inventory
    type: str
    ini: [{section: own_configuration, key: stage}]
"""

ROOT = Path(__file__).resolve().parent.parent


def refusal(paths: Mapping[str, Iterable[str]], file: str | None, root: Path = ROOT) -> str:
    """Why this configuration is not enough and what to type; empty when it is.

    `paths` are where it looks for each kind of Pergola's code, by the directory where that is.
    """
    if all(root / name in map(Path.resolve, map(Path, there)) for name, there in paths.items()):
        return ""
    found = f"{os.path.relpath(file)} is not Pergola's" if file else "there is none here"
    return (
        f"Nothing was changed: Pergola's playbooks need its ansible.cfg, and {found}. Run this "
        "command in Pergola's directory, or type this first:\n"
        f"export ANSIBLE_CONFIG={shlex.quote(str(root / 'ansible.cfg'))}"
    )


class VarsModule(BaseVarsPlugin):  # type: ignore[misc]
    """Look at the configuration as soon as the inventory has been read."""

    REQUIRES_ENABLED = False

    def get_vars(self, loader, path, entities, cache=True):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201, ARG002
        """No variables; AnsibleError when the configuration is another one."""
        paths = {
            "roles": constants.DEFAULT_ROLES_PATH or (),
            "library": constants.DEFAULT_MODULE_PATH or (),
            "plugins/action": constants.DEFAULT_ACTION_PLUGIN_PATH or (),
            "plugins/filter": constants.DEFAULT_FILTER_PLUGIN_PATH or (),
        }
        if why := refusal(paths, constants.CONFIG_FILE):
            raise AnsibleError(why)
        return {}
