"""What names there are: the roles' variables, an inventory's, Ansible's own."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from ansible import constants

from pergola_control.here import ROOT
from pergola_control.settings.specs import options_of


def nearest(name: str, known: Iterable[str], names: Iterable[str] = ()) -> str:
    """The name that was meant, of those that a playbook reads; empty if there is none."""
    ends = [other for other in sorted(known) if other.split("_", 1)[-1] == name]
    close = difflib.get_close_matches(name, sorted({*known, *names}), n=1, cutoff=0.65)
    return next(iter(ends + close), "")


def meant_by(name: str, known: Iterable[str]) -> str:
    """The variable of Ansible's that a misspelt one was meant for; empty if it is none."""
    if not name.startswith("ansible_") or name in known:
        return ""
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.85)
    return next(iter(close), "")


def settings_of_roles(root: Path = ROOT) -> frozenset[str]:
    """The variables of all roles."""
    found = {name for role in root.glob("roles/*") for name in options_of(role)}
    for path in root.glob("roles/*/vars/main.yml"):
        found |= set(re.findall(r"^(\w+):", path.read_text(encoding="utf-8"), re.MULTILINE))
    return frozenset(found)


def is_named(name: str, text: str) -> bool:
    """Whether a file of variables sets a name, or one of its templates uses it."""
    if name not in text:
        return False
    key = rf"^[ \t-]*[\"']?{re.escape(name)}[\"']?[ \t]*[:=]"
    used = rf"\{{[{{%][^}}]*\b{re.escape(name)}\b|^\s*-?\s*(when|that):.*\b{re.escape(name)}\b"
    return bool(re.search(f"{key}|{used}", text, re.MULTILINE))


def named_by_inventory(names: Iterable[str], sources: Iterable[str]) -> dict[str, bool]:
    """Of each name, whether an inventory's files set or use it."""
    paths: list[Path] = []
    for source in sources:
        folder = Path(source) if Path(source).is_dir() else Path(source).parent
        if "," in source or not folder.is_dir():
            continue
        inside = [path for path in folder.glob("*") if path.is_file()]
        for part in ("group_vars", "host_vars", "hooks"):
            inside += [path for path in (folder / part).rglob("*") if path.is_file()]
        paths += [path for path in inside if path.suffix in ("", ".yml", ".yaml", ".json", ".ini")]
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in paths]
    return {name: any(is_named(name, text) for text in texts) for name in names}


def names_of_ansible() -> set[str]:
    """Ansible's own variables: of its settings, and of its plugins for connections."""
    definitions = list(constants.config.get_configuration_definitions().values())
    for kind in ("connection", "become", "shell"):
        for plugin in constants.config._plugins.get(kind, {}).values():
            definitions += list(plugin.values())
    found = {of["name"] for each in definitions for of in each.get("vars") or []}
    return found | {name for names in constants.MAGIC_VARIABLE_MAPPING.values() for name in names}
