"""Load the firewall's rules, and prove by a new connection that nobody is locked out.

The connection that Ansible keeps goes on whatever the rules say. So it is given up once they are
loaded, and the one that follows must reach the server; otherwise the server itself takes the rules
back (`pergola-firewall` there), which is waited for.
"""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

DOCUMENTATION = r"""
---
module: firewall_proven
author: Pergola
short_description: Load the firewall's rules, which hold once a new connection has come through
description:
  - Where the connection is not by the network there is nothing to prove.
options:
  ports: {description: TCP ports of SSH that are let in, to be said., type: list, elements: int}
"""

PROGRAM = "/usr/local/sbin/pergola-firewall"
WAIT = 90  # seconds: the server takes 45 and a little
PAUSE = 3


class ActionModule(ActionBase):
    """Load, prove, confirm."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"ports"})

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The result: changed where rules were, or would be, loaded."""
        result = super().run(tmp, task_vars)
        state = self.ask("state")
        # In --check a bare server has no such program yet.
        if self._task.check_mode or state == (0, "same"):
            return {**result, "changed": state != (0, "same")}
        if state[0]:
            raise AnsibleActionFail(f"{PROGRAM} state: {state[1]}")
        if state[1] == "load":
            code, said = self.ask("load")
            if code:
                raise AnsibleActionFail(f"The firewall's new rules were not loaded: {said}")
        # Also when a run before this one was cut off after it had loaded them.
        self.prove((task_vars or {}).get("inventory_hostname", ""))
        code, said = self.ask("confirm")
        if code:
            raise AnsibleActionFail(f"The firewall's new rules do not hold: {said}")
        return {**result, "changed": True}

    def ask(self, verb: str) -> tuple[int, str]:
        """What the program on the server answers: its exit code, and what it printed.

        Where it succeeds, without standard error: ssh itself writes there when a connection closes.
        """
        done = self._low_level_execute_command(f"{PROGRAM} {verb}")
        code = int(done["rc"])
        text = done["stdout"] if code == 0 else f"{done['stdout']}{done['stderr']}"
        return code, text.strip()

    def prove(self, host: str) -> None:
        """Reach the server by a new connection; AnsibleActionFail once its old rules are back."""
        if not hasattr(self._connection, "reset"):
            return
        began = time.monotonic()
        failure = ""
        while time.monotonic() - began < WAIT:
            try:
                self._connection.reset()
                code, state = self.ask("state")
            except AnsibleConnectionFailure as error:
                failure = failure or str(error)
                time.sleep(PAUSE)
                continue
            if code == 0 and state != "load":
                return
            self.refuse(host, failure or state, back=True)
        self.refuse(host, failure, back=False)

    def refuse(self, host: str, failure: str, *, back: bool) -> None:
        """Say that the rules would have locked people out."""
        ports = ", ".join(map(str, self._task.args.get("ports") or []))
        now = (
            "Its rules of before are back, and it answers again."
            if back
            else f"It has not answered for {WAIT} s, though by its own timer the rules of before "
            "come back after 45 s."
        )
        raise AnsibleActionFail(
            f"{host}: with the firewall's new rules no new connection came through (SSH is let in "
            f"on {ports}). {now} {failure.strip()}\nNext: take base_firewall_ssh_ports out of the "
            "settings (then the ports are those that the SSH server listens on), or set it to the "
            "port by which the server is reached."
        )
