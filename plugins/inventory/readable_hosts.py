"""Refuse a file of hosts that is not there, cannot be read, or has a key that Ansible passes over.

Ansible tries plugin after plugin, warns of each one's reason, and goes on without the file or
without the group. This plugin comes first, and takes no file: the others read those that are right.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import NoReturn

from ansible import constants, context
from ansible.errors import AnsibleError, AnsibleParserError
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.inventory import BaseInventoryPlugin
from ansible.utils.display import Display
from ansible.utils.vars import load_extra_vars

# Ansible loads a plugin as a file, of no package.
sys.path.append(str(Path(__file__).resolve().parents[2] / "control"))
try:
    from pergola_control.command.hosts import wrong_sources
    from pergola_control.command.refusal import WRONG_OPTIONS, refusal
    from pergola_control.inventory.hosts import names_known, wrong_hosts
    from pergola_control.inventory.variables import read
except ImportError:  # an older Ansible, which enough_ansible refuses in a moment
    read = None

DOCUMENTATION = r"""
name: readable_hosts
author: Pergola
short_description: Refuse a file of hosts that Ansible would pass over, in whole or in part
description:
  - Ends the run with the file, the line, and what to do, before anything is changed.
options: {}
"""


VAULT_HEADER = "$ANSIBLE_VAULT"


def refuse(*wrong: str) -> NoReturn:
    """End the run: whatever else leaves an inventory plugin is a warning to Ansible."""
    Display().display(refusal(wrong), color=constants.COLOR_ERROR, stderr=True)
    sys.exit(WRONG_OPTIONS)


def check_extra_variables(loader: DataLoader) -> None:
    """Read them, for Ansible's own plugins would fail for them as if the file of hosts were bad."""
    for text in context.CLIARGS.get("extra_vars") or ():
        if text.startswith("@") and not Path(loader.path_dwim(text[1:])).exists():
            refuse(f"-e @{os.path.relpath(text[1:])}: there is no such file")
    try:
        load_extra_vars(loader)
    except AnsibleError as error:
        reason = re.sub(r"\s+", " ", error.message)
        refuse(f"-e: an extra variable cannot be read: {reason}")


class InventoryModule(BaseInventoryPlugin):  # type: ignore[misc]
    """Looks at the files of hosts, and reads none."""

    NAME = "readable_hosts"

    def verify_file(self, path: str) -> bool:
        """Whether to look at it: a file of YAML. SystemExit for one that is not there."""
        if read is None or "," in path or path in constants.DEFAULT_HOST_LIST:
            return False
        if wrong := list(wrong_sources([path], named=True)):
            refuse(*wrong)
        return path.endswith((".yml", ".yaml"))

    def parse(
        self,
        inventory: InventoryData,  # noqa: ARG002 - Ansible's signature, as is the next
        loader: DataLoader,
        path: str,
        cache: bool = True,  # noqa: ARG002
    ) -> None:
        """AnsibleParserError, which gives the file to the next plugin; SystemExit if it is bad."""
        check_extra_variables(loader)
        try:
            read(loader, path)
        except AnsibleParserError as error:
            refuse(error.message.replace(", and nothing was changed", ""))
        text = Path(path).read_text(encoding="utf-8")
        place = os.path.relpath(path)
        if not text.startswith(VAULT_HEADER):
            refused = [f"{place}:{line}: {what}" for line, what in wrong_hosts(text, names_known())]
            if refused:
                refuse(*refused)
        raise AnsibleParserError("left to the next plugin")
