"""Refuse a command that would do something else than what was typed, before its first task.

Ansible itself goes on, and its exit code is 0, when words of an extra variable are lost at a blank,
when nothing reads an extra variable, when the inventory is not there or no host is meant, and when
no task has a tag. A callback is what sees the whole command; one beside a playbook needs no
ansible.cfg. A play for localhost would not do: `--limit` leaves it out.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ansible import constants
from ansible.playbook import Playbook
from ansible.plugins.callback import CallbackBase
from ansible.utils.display import Display

# Ansible loads a plugin as a file, of no package.
sys.path.append(str(Path(__file__).resolve().parents[1] / "control"))
from pergola_control.command.check import wrong_of
from pergola_control.command.refusal import WRONG_OPTIONS, refusal

DOCUMENTATION = r"""
name: what_was_typed
type: aggregate
author: Pergola
short_description: Refuse a command that would do something else than what was typed
description: It prints nothing else.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Look at the command when a playbook begins."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "what_was_typed"
    CALLBACK_NEEDS_ENABLED = False

    def v2_playbook_on_start(self, playbook: Playbook) -> None:
        """SystemExit with Ansible's exit code for wrong options when something is wrong."""
        wrong = list(dict.fromkeys(wrong_of(playbook)))
        if wrong:
            Display().display(refusal(wrong), color=constants.COLOR_ERROR, stderr=True)
            # Whatever else leaves a callback is a warning to Ansible, and the run goes on.
            sys.exit(WRONG_OPTIONS)
