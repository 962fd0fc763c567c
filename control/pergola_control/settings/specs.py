"""What roles say of their settings: `meta/argument_specs.yml`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import yaml


class Spec(TypedDict, total=False):
    """One option of an argument spec."""

    type: str
    description: str | list[str]
    required: bool
    default: object
    choices: list[object]
    elements: str
    options: Mapping[str, Spec]
    no_log: bool


def options_of(role: Path) -> Mapping[str, Spec]:
    """The options of a role's main entry point; FileNotFoundError when it has no specs."""
    try:
        text = (role / "meta/argument_specs.yml").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        why = f"role {role.name} has no argument specs: {error}"
        raise FileNotFoundError(why) from error
    # The C loader: the specs of all roles are read on every run.
    read = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}  # noqa: S506
    options: Mapping[str, Spec] = read.get("argument_specs", {}).get("main", {}).get("options", {})
    return options


def lines_of(spec: Spec) -> list[str]:
    """An option's description as a list."""
    description = spec.get("description", [])
    return [description] if isinstance(description, str) else [str(line) for line in description]


def first_sentence(spec: Spec) -> str:
    """The first sentence of an option's description."""
    text = " ".join(line for line in lines_of(spec) if not line.startswith("Example:"))
    return re.split(r"(?<=[.!?])\s", text.strip(), maxsplit=1)[0]


def example(spec: Spec) -> str:
    """The example of an option: the last item of its description, when it starts so."""
    last = (lines_of(spec) or [""])[-1].strip()
    return last.removeprefix("Example:").strip() if last.startswith("Example:") else ""


def has_no_log(spec: Spec) -> bool:
    """Whether an option, or one inside it, must not be shown."""
    return bool(spec.get("no_log")) or any(map(has_no_log, (spec.get("options") or {}).values()))
