"""Whether a value is what a role takes. No value is converted, and no secret one is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import RequiredError, UnsupportedError

from pergola_control.settings.placeholder import PLACEHOLDER, is_placeholder
from pergola_control.settings.specs import Spec

SHOWN = 70  # characters of a value in a message

INTEGER = re.compile(r"[+-]?\d+")
FLOAT = re.compile(r"[+-]?\d+(\.\d+)?")
TYPES = {
    "bool": "true or false",
    "dict": "a dictionary",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
}


def shown(value: object) -> str:
    """A value for a message, shortened."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def wrong_type(value: object, wanted: str) -> str:
    """Why a value is not of a type, "" if it is; nothing is converted that a role would not."""
    if wanted in TYPES:
        textual = {"bool": re.compile("true|false", re.IGNORECASE), "int": INTEGER, "float": FLOAT}
        pattern = textual.get(wanted)
        # -e name=5 gives a text: the roles take these forms, and no others.
        fits = isinstance(value, str) and pattern is not None and pattern.fullmatch(value)
        return "" if fits or has_type(value, wanted) else f"must be {TYPES[wanted]}"
    if wanted in ("str", "path") and not isinstance(value, str):
        quote = isinstance(value, int | float) and not isinstance(value, bool)
        return "must be a text" + (": put it in quotes" if quote else "")
    return ""


def has_type(value: object, wanted: str) -> bool:
    """Whether a value is of a type of TYPES as it is."""
    if wanted == "dict":
        return isinstance(value, Mapping)
    if wanted == "list":
        return isinstance(value, Sequence) and not isinstance(value, str | bytes)
    if wanted == "bool":
        return isinstance(value, bool)
    numbers = (int,) if wanted == "int" else (int, float)
    return isinstance(value, numbers) and not isinstance(value, bool)


def type_problems(name: str, value: object, spec: Spec) -> Iterator[tuple[str, str, object]]:
    """Each place inside a value that is of the wrong type: (where, why, what is there)."""
    wanted = spec.get("type", "str")
    if why := wrong_type(value, wanted):
        yield name, why, value
        return
    options = spec.get("options") or {}
    if isinstance(value, Sequence) and wanted == "list":
        item_spec: Spec = {"type": spec.get("elements", "raw"), "options": options}
        for number, item in enumerate(value):
            yield from type_problems(f"{name}[{number}]", item, item_spec)
    elif isinstance(value, Mapping):
        for key in options.keys() & value.keys():
            if value[key] is not None:
                yield from type_problems(f"{name}.{key}", value[key], options[key])


def value_problem(name: str, value: object, spec: Spec, secret: bool) -> str:
    """What is wrong with a value, "" if nothing is; a secret value is not shown."""
    if is_placeholder(value):
        return f"still holds the placeholder {PLACEHOLDER}"
    if value is None or (spec.get("required") and value == ""):
        return "is empty"
    wrong = list(type_problems(name, value, spec))
    if wrong:
        where, why, there = wrong[0]
        place = "" if where == name else f"{where} "
        return f"{place}{why}" if secret else f"{place}is {shown(there)}, {why}"
    errors = ArgumentSpecValidator({name: spec}).validate({name: value}).errors.errors
    return "; ".join(error_text(name, value, error, secret) for error in errors)


def error_text(name: str, value: object, error: Exception, secret: bool) -> str:
    """One error of Ansible's validator in our words."""
    text = str(error)
    if isinstance(error, UnsupportedError):
        keys, _, known = text.partition(". Supported parameters include: ")
        return f"has keys that do not exist: {keys} (there are: {known.rstrip('.')})"
    if isinstance(error, RequiredError):
        return f"is incomplete: {text}"
    if secret:
        return "has a value that is not allowed"
    # The validator ends with ", got: value" where its choices fail; the value comes first here.
    text = text.split(", got:")[0].removeprefix(f"value of {name} ")
    return f"is {shown(value)}, {text}"
