"""The placeholder that the inventories which come with Pergola hold until they are filled in.

Nothing of Ansible's is imported here, which takes long.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pergola_control.here import from_here
from pergola_control.settings.files import read_files, variable_files

PLACEHOLDER = "CHANGE-ME"


def strings(value: object) -> Iterator[str]:
    """Every text inside a value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from strings(key)
            yield from strings(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from strings(item)


def is_placeholder(value: object) -> bool:
    """Whether a value is, or holds, what was to be replaced."""
    return any(PLACEHOLDER in text for text in strings(value))


def told(name: str, host: str, groups: Sequence[str], inventories: Sequence[Path]) -> str:
    """What to say of a variable of a host that is a placeholder: its file, its line, what to do."""
    for inventory in inventories:
        folder = inventory if inventory.is_dir() else inventory.parent
        # Without the vaults, whose text nobody has here.
        files = read_files(variable_files(folder, folder, host, groups), lambda _: {})
        if place := files.place(name, host):
            path, line = place
            return f"{from_here(path)}:{line}: {name} still holds the placeholder {PLACEHOLDER}"
    return f"{name} of {host} still holds the placeholder {PLACEHOLDER}"
