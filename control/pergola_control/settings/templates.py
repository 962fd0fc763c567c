"""What a value is made from: the names that its templates use, and whether one is secret."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ansible.parsing.vault import EncryptedString

from pergola_control.settings.placeholder import strings
from pergola_control.settings.specs import Spec, has_no_log

HOW_DEEP = 8  # names followed through templates
NAMES = re.compile(r"[A-Za-z_]\w*")
TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


def mentioned(raw: object, variables: Mapping[str, object]) -> frozenset[str]:
    """Every name that the templates in a value use, directly and through other variables."""
    names: set[str] = set()
    fresh = template_names(raw)
    for _ in range(HOW_DEEP):
        # hostvars is what all hosts have; a setting uses the few names that stand after it.
        fresh -= {"hostvars"}
        names |= fresh
        fresh = {n for name in fresh for n in template_names(variables.get(name))} - names
        if not fresh:
            break
    return frozenset(names)


def template_names(raw: object) -> set[str]:
    """The names in a value's own templates."""
    if isinstance(raw, EncryptedString):
        return set()
    return {
        name
        for text in strings(raw)
        for template in TEMPLATE.findall(text)
        for name in NAMES.findall(template)
    }


def has_vaulted(raw: object) -> bool:
    """Whether a value is, or holds, a vaulted text."""
    if isinstance(raw, EncryptedString):
        return True
    if isinstance(raw, Mapping):
        return any(map(has_vaulted, raw.values()))
    return isinstance(raw, list | tuple) and any(map(has_vaulted, raw))


def is_secret(
    name: str, spec: Spec, variables: Mapping[str, object], vaulted: frozenset[str]
) -> bool:
    """Whether a setting's value must not be shown."""
    names = {name} | mentioned(variables.get(name), variables)
    return (
        has_no_log(spec)
        or bool(names & vaulted)
        or any(has_vaulted(variables.get(n)) or n.startswith("vault_") for n in names)
    )


def unknowable(raw: object, variables: Mapping[str, object]) -> bool:
    """Whether a value needs what exists only later: facts of the host, or a role's own names."""
    names = mentioned(raw, variables)
    later = any(name.startswith("__") and name not in variables for name in names)
    return later or ("ansible_facts" in names and not variables.get("ansible_facts"))
