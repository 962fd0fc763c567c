"""Commands of an application: which processes there are, and whether a shell can read them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2] / "control"))

from pergola_control.programs import unread


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
    return [
        f"{where}: no shell can read the command: {said}"
        for where, command in commands.items()
        if (said := unread(command))
    ]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"commands_wrong": commands_wrong, "processes_each": processes_each}
