"""Have done once what a run would do again for every task, or for every role.

Every task is a process that Ansible forks, and a short one. What it was forked with is looked
through again for garbage in each, which also copies the memory that they share. What templates need
(all filters and tests, the lexer and its expressions) is loaded when the first template asks for
it, and how a server is reached when the first task does: in such a process, with which it ends.

Role preflight checks the settings of all roles together, before the first change; Ansible checks
each role's once more when its turn comes.
"""

from __future__ import annotations

import gc

from ansible.parsing.dataloader import DataLoader
from ansible.playbook import Playbook
from ansible.playbook.play import Play
from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import become_loader, connection_loader, shell_loader
from ansible.template import Templar, trust_as_template

DOCUMENTATION = r"""
name: done_once
type: aggregate
author: Pergola
short_description: Have done once what a run would do again for every task, or for every role
description: It prints nothing.
"""

# New objects until Python looks for garbage, 700 by its own measure: of a site.yml that changes
# nothing it takes 7 % of the control node's CPU time, with ten hosts 4 %, and some MB for each.
OBJECTS = 100_000
# A filter and a test: with the first of each Ansible loads all of them.
TEMPLATE = "{{ [] | list is sequence }}"
# One that is not used does no harm.
PLUGINS = ((connection_loader, "ssh"), (shell_loader, "sh"), (become_loader, "sudo"))
CHECKS = "ansible.builtin.validate_argument_spec"


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Load it when a playbook begins: its roles, which have filters too, are read by then."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "done_once"
    CALLBACK_NEEDS_ENABLED = False

    def __init__(self) -> None:
        super().__init__()
        gc.set_threshold(OBJECTS)

    def v2_playbook_on_start(self, playbook: Playbook) -> None:
        """Evaluate a template, and load the plugins' classes."""
        del playbook
        for loader, name in PLUGINS:
            loader.get(name, class_only=True)
        Templar(loader=DataLoader()).template(trust_as_template(TEMPLATE))

    def v2_playbook_on_play_start(self, play: Play) -> None:
        """Drop Ansible's checks of the roles whose settings the play's first role checks.

        What a play itself says to a role (its parameters, its `vars`) is still checked.
        """
        roles = play.get_roles()
        if not roles or roles[0].get_name() != "preflight":
            return
        if roles[0].get_role_params().get("preflight_brings", True) is not True:
            return
        for role in roles:
            if not role.vars and not role.get_role_params():
                for block in role.get_task_blocks():
                    block.block = [
                        task for task in block.block if getattr(task, "action", "") != CHECKS
                    ]
