"""Which inventory is meant by a name, which ansible.cfg goes with it, and the vault's password."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pergola_control.here import ROOT, seen_from_here

HOSTS = ("hosts.yml", "hosts.yaml", "hosts.ini", "hosts")
# As `make inventory` has it, and as good in inventory/prod.
PASSWORD = ".secrets/vault-password"  # noqa: S105 - where it is
CONFIGURATION = "ansible.cfg"


@dataclass(frozen=True)
class Inventory:
    """An inventory as Ansible gets it."""

    words: tuple[str, ...]  # options of its programs
    environment: Mapping[str, str]  # what has to be set for them


def is_inventory(path: Path) -> bool:
    """Whether a path is a file of hosts, or a directory with one."""
    if path.is_dir():
        return any((path / name).is_file() for name in HOSTS)
    return path.suffix in (".yml", ".yaml", ".ini") and path.is_file()


def candidates(name: str, start: Path) -> Iterator[Path]:
    """Where an inventory of a name may be, the nearest first."""
    if os.sep in name or name in (os.curdir, os.pardir):
        yield start / name
        return
    for folder in (start, *start.parents):
        yield from (folder / "inventory" / name, folder / name)
        if folder.name == name:
            yield folder
    yield ROOT / "inventory" / name


def found(name: str, start: Path, environment: Mapping[str, str]) -> Inventory | None:
    """The inventory of a name, from a directory upward or else of this clone."""
    path = next(filter(is_inventory, candidates(name, start)), None)
    if not path:
        return None
    folder = path if path.is_dir() else path.parent
    own = folder / CONFIGURATION
    if path.is_dir() and own.is_file():  # it holds more than hosts
        path = next(path / each for each in HOSTS if (path / each).is_file())
    words = ["-i", seen_from_here(path)]
    chosen = configuration(folder, start, environment)
    password = folder / PASSWORD
    if password.is_file() and chosen != own:  # that one names it
        words += ["--vault-password-file", seen_from_here(password)]
    if chosen is None or (start / CONFIGURATION).resolve() == chosen.resolve():
        return Inventory(tuple(words), {})
    return Inventory(tuple(words), {"ANSIBLE_CONFIG": seen_from_here(chosen)})


def configuration(folder: Path, start: Path, environment: Mapping[str, str]) -> Path | None:
    """The ansible.cfg of an inventory; None: the one that the environment names."""
    if environment.get("ANSIBLE_CONFIG"):
        return None
    places = (folder, folder.parent, folder.parent.parent, start, ROOT)
    return next(place / CONFIGURATION for place in places if (place / CONFIGURATION).is_file())


def names(start: Path) -> list[str]:
    """The names that there are, for completion and for who got one wrong."""
    folders = [folder / "inventory" for folder in (start, *start.parents, ROOT)]
    inside = {path.name for folder in folders for path in folder.glob("*") if path.is_dir()}
    made = {folder.name for folder in (start, *start.parents) if is_inventory(folder)}
    return sorted(made | {name for name in inside if found(name, start, os.environ)})
