"""A restore runs in a unit of its own.

The end of an SSH session does not end it half-way; one that was killed is put in order at once.
"""

import os
import re
import socket
import time
from collections.abc import Sequence

from pergola.backup.intent import LOG, AtWorkError
from pergola.errors import PergolaError
from pergola.system import attempt, systemctl

PROGRAM = "/usr/local/sbin/pergola-backup"
UNIT = "pergola-restore"
SECONDS_TO_FORGET = 60
PROPERTIES = (
    f"--unit={UNIT}",
    "--property=KillMode=mixed",
    "--property=TimeoutStopSec=1h",
    f"--property=ExecStopPost={PROGRAM} resolve",
)


def said_in_own_unit(words: Sequence[str]) -> str:
    """What a restore or an undo said, which ran in a unit of its own; PergolaError if it failed."""
    wait_until_forgotten(f"{UNIT}.service")
    LOG.unlink(missing_ok=True)
    done = attempt(
        *("systemd-run", "--quiet", "--wait", "--collect", *PROPERTIES),
        f"--property=StandardOutput=append:{LOG}",
        f"--property=StandardError=append:{LOG}",
        f"--setenv=SUDO_USER={os.environ.get('SUDO_USER', '')}",
        *(PROGRAM, "--here", *words),
    )
    said = LOG.read_text().strip() if LOG.exists() else ""
    if done.returncode:
        raise PergolaError(
            said.removeprefix(f"{socket.gethostname()}: ") or "no restore was begun",
            done.stderr,
            hint="" if said else f"see `systemctl status {UNIT}`",
        )
    return said


def wait_until_forgotten(unit: str) -> None:
    """Wait until systemd has forgotten an earlier run that failed; AtWorkError while one runs."""
    until = time.monotonic() + SECONDS_TO_FORGET
    while time.monotonic() < until:
        state = systemctl("show", "--property=LoadState,ActiveState", unit).stdout
        if "LoadState=not-found" in state:
            return
        if re.search("ActiveState=(active|activating)", state):
            break
        systemctl("reset-failed", unit)
        time.sleep(0.1)
    raise AtWorkError("a restore is at work", hint=f"what it says: {LOG}")
