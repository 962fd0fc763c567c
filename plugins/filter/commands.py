"""Commands of an application: which processes there are, and whether a shell can read them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any


def processes_each(processes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each process by a name of its own: `count: 3` of worker is worker, worker-2 and worker-3."""
    found = []
    for one in processes:
        same = {name: value for name, value in one.items() if name != "count"}
        for number in range(1, int(one.get("count", 1)) + 1):
            name = one["name"] if number == 1 else f"{one['name']}-{number}"
            found.append({**same, "name": name})
    return found


def commands_wrong(commands: Mapping[str, str]) -> list[str]:
    """Of each command (by what has it) that no shell can read: what the shell says of it."""
    shell = shutil.which("bash") or "sh"  # the larger language of the two
    found = []
    for where, command in commands.items():
        done = subprocess.run(
            [shell, "-n", "-c", command], capture_output=True, text=True, check=False
        )
        if done.returncode:
            first = (done.stderr.splitlines() or ["?"])[0]
            said = re.sub(r"^.*?: (line )?\d+: ", "", first)
            found.append(f"{where}: no shell can read the command: {said}")
    return found


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"commands_wrong": commands_wrong, "processes_each": processes_each}
