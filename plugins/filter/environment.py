"""Values of environment variables: what an application gets is what stands in the file.

YAML makes of `0755` the number 493, of `1.10` the number 1.1, of `no` false, and Python would write
a list in its own way. A value whose text in the file is another one than the application would get
is refused; what has no text of its own (true, a list, a dictionary) is written as JSON has it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

try:
    from ansible._internal._datatag._tags import Origin
except ImportError:  # another Ansible keeps it elsewhere: numbers that are written oddly pass then
    Origin = None

SCALAR = re.compile(r"[^\s,\]}#][^,\]}#\n]*")
WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")


def plain(value: object) -> object:
    """A value as Python's own types, for JSON."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value if isinstance(value, bool | int | float | None) else str(value)


def text_of(value: object) -> str:
    """What the application gets."""
    if isinstance(value, str):
        return str(value)
    return json.dumps(plain(value), ensure_ascii=False)


def environment_texts(variables: Mapping[str, Any]) -> dict[str, str]:
    """Each variable's text; one without a value is left out."""
    return {str(name): text_of(value) for name, value in variables.items() if value is not None}


def written(value: object, key: object = None) -> str:
    """How a file writes a value; empty where that cannot be seen."""
    # A boolean has no place of its own: it stands behind its key.
    origin = Origin and Origin.get_tag(value)
    after = ""
    if not origin and Origin:
        origin, after = Origin.get_tag(key), r"[\"']?[^:]*:\s*"
    if not origin or not origin.path or not origin.line_num or not origin.col_num:
        return ""
    try:
        lines = Path(origin.path).read_text(encoding="utf-8").splitlines()
        line = lines[origin.line_num - 1][origin.col_num - 1 :]
    except (OSError, ValueError, IndexError):
        return ""
    if lines[0].startswith("$ANSIBLE_VAULT"):
        return ""
    before = re.match(after, line)
    found = SCALAR.match(line, before.end() if before else 0)
    return found[0].strip() if found else ""


def odd(value: object, key: object = None, where: str = "") -> Iterator[str]:
    """Why a value is not what stands in the file: each place inside it."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from odd(item, name, f"{where}.{name}")
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for number, item in enumerate(value):
            yield from odd(item, None, f"{where}[{number}]")
    elif isinstance(value, bool):
        text = written(value, key)
        if text.lower() in ("yes", "no", "on", "off", "y", "n"):
            yield f"{where}: {text} would be {text_of(value)}: quote it, or write {text_of(value)}"
    elif value is not None and not isinstance(value, str):
        text = written(value)
        if text != text_of(value) if text else not WHOLE.fullmatch(text_of(value)):
            shown = f"{text} would be" if text else "is"
            yield f"{where} {shown} {text_of(value)}: quote it"


def environment_odd(variables: Mapping[str, Any], secret: bool = False) -> list[str]:
    """Variables whose value would not be what stands in the file; a secret's is not shown."""
    if not isinstance(variables, Mapping):
        raise AnsibleFilterError("environment_odd needs a dictionary")
    found = [line for name, value in variables.items() for line in odd(value, name, str(name))]
    if secret:
        return [f"{re.split(r'[ :]', line, maxsplit=1)[0]}: quote its value" for line in found]
    return found


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"environment_texts": environment_texts, "environment_odd": environment_odd}
