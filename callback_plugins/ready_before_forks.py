"""Have what every task would load and compile for itself loaded before the first of them.

Every task is a process that Ansible forks. What templates need (all filters and tests, the lexer
and its expressions) is loaded when the first template asks for it, and how a server is reached when
the first task does, which is in such a process: it ends with it, and the next one loads the same
again.
"""

from __future__ import annotations

from ansible.parsing.dataloader import DataLoader
from ansible.playbook import Playbook
from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import become_loader, connection_loader, shell_loader
from ansible.template import Templar, trust_as_template

DOCUMENTATION = r"""
name: ready_before_forks
type: aggregate
author: Pergola
short_description: Have what every task would load for itself loaded before the first of them
description: It prints nothing.
"""

# A filter and a test: with the first of each Ansible loads all of them.
TEMPLATE = "{{ [] | list is sequence }}"
# One that is not used does no harm.
PLUGINS = ((connection_loader, "ssh"), (shell_loader, "sh"), (become_loader, "sudo"))


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Load it when a playbook begins: its roles, which have filters too, are read by then."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "ready_before_forks"
    CALLBACK_NEEDS_ENABLED = False

    def v2_playbook_on_start(self, playbook: Playbook) -> None:
        """Evaluate a template, and load the plugins' classes."""
        del playbook
        for loader, name in PLUGINS:
            loader.get(name, class_only=True)
        Templar(loader=DataLoader()).template(trust_as_template(TEMPLATE))
