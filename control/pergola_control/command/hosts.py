"""Inventories, groups and tags of the command that are none."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pergola_control.command.known import nearest
from pergola_control.here import ROOT

NO_TAGS_OF_TASKS = {"all", "always", "never", "tagged", "untagged"}
# The groups that playbooks are for: of all hosts, and of what runs on some.
PARTS = ("app", "db", "edge", "backup")
GROUPS = ("servers", *PARTS)


def inventories(folder: Path) -> list[Path]:
    """The inventories that are in a directory."""
    return sorted(path.parent for path in folder.glob("*/group_vars"))


def places(root: Path = ROOT) -> list[str]:
    """The inventories to choose from, as they are typed from here."""
    here = inventories(Path("inventory")) or inventories(root / "inventory")
    return [os.path.relpath(path) for path in here]


def wrong_sources(sources: Sequence[str], named: bool) -> Iterator[str]:
    """Inventories of the command that are none."""
    choices = places()
    are = f"there are {', '.join(choices)}" if choices else "there is none below inventory/"
    if not named and not any(Path(source).exists() for source in sources):
        usual = [choice for choice in choices if Path(choice).name == "prod"] or choices
        yield f"no inventory was named: add -i {usual[0] if usual else 'INVENTORY'} ({are})"
        return
    for source in sources:
        path = Path(source)
        if "," in source:
            continue
        if not path.exists():
            close = difflib.get_close_matches(os.path.relpath(path), choices, n=1, cutoff=0.6)
            hint = f"did you mean -i {close[0]}?" if close else are
            yield f"-i {os.path.relpath(path)} does not exist; {hint}"
        elif path.is_dir() and not (path / "group_vars").exists() and len(inventories(path)) > 1:
            several = ", ".join(os.path.relpath(each) for each in inventories(path))
            yield f"-i {os.path.relpath(path)} is several inventories ({several}): name one of them"


def wrong_tags(given: Iterable[str], there: Iterable[str], option: str) -> Iterator[str]:
    """Tags of the command that no task has."""
    there = set(there)
    for tag in given:
        if tag not in there | NO_TAGS_OF_TASKS:
            meant = nearest(tag, there)
            are = ", ".join(sorted(there - NO_TAGS_OF_TASKS)) or "none"
            hint = f"did you mean {meant}?" if meant else f"its tags are: {are}"
            yield f"{option} {tag}: no task has this tag; {hint}"


def misspelt_groups(groups: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Groups of the inventory that are called nearly like one of Pergola's that has no host.

    And hosts of `servers` that are in none of those, so that nothing would run on them.
    """
    lacking = [name for name in GROUPS if not groups.get(name)]
    told: set[str] = set()
    for name, hosts in groups.items():
        meant = [one for one in lacking if is_near(name, one)]
        if hosts and meant and name not in (*GROUPS, "all", "ungrouped"):
            told |= {*hosts}
            known = meant[0]
            yield f"the group `{name}` has hosts, and `{known}` has none: did you mean {known}?"
    placed = {host for name in PARTS for host in groups.get(name, ())}
    for host in groups.get("servers", ()):
        if host not in placed | told:
            yield f"{host} is in none of the groups {', '.join(PARTS)}: nothing would run on it"


def is_near(name: str, meant: str) -> bool:
    """Whether a name was probably meant for a shorter, known one."""
    close = difflib.get_close_matches(name.lower(), [meant], n=1, cutoff=0.75)
    return bool(close) or name.lower().startswith((f"{meant}_", f"{meant}-", f"{meant}s"))
