"""Variables that it misses, or that have a value which it does not take."""

import re
from collections.abc import Iterator
from pathlib import Path

from pergola.release.remedies import modules
from pergola.release.remedies.seen import Seen

NO_VARIABLE = re.compile(
    r"File \"<frozen os>\", line \d+, in __getitem__\n(?:.*\n)?KeyError: '(\w+)'"
    r"|/os\.py\", line \d+, in __getitem__\n(?:.*\n){1,3}?KeyError: '(\w+)'"
    r"|KeyError: \"Config '(\w+)' is missing"
    r"|Environment variable \"(\w+)\" not set"
    r"|UndefinedValueError: (\w+) not found"
    r"|Set the (\w+) environment variable"
)
VALIDATION = re.compile(r"ValidationError: \d+ validation errors? for (\w+)\n")
FIELD = re.compile(r"^(\w[\w.]*)\n\s+([^\n]+?) [\[(]type=([\w.]+)", re.MULTILINE)


def missing_variable(seen: Seen) -> Iterator[str]:
    names = [next(filter(None, found.groups())) for found in NO_VARIABLE.finditer(seen.lines)]
    for model, errors in validation_errors(seen.lines):
        for field, says, kind in FIELD.findall(errors):
            name = variable(seen.code, model, field)
            if kind.endswith("missing"):
                names.append(name)
            else:
                yield f"the variable {name} (app_environment, app_secrets): {says}"
    for name in dict.fromkeys(names):
        if name == "PORT" and seen.manifest.server == "command":
            yield (
                "Setting: app_server_command: its program reads PORT itself, so write "
                f"PORT=$PORT {seen.manifest.server_command.strip()}"
            )
            continue
        yield (
            f"Setting: app_environment: the variable {name} is missing; "
            f"app_environment: {{{name}: …}}, or app_secrets if nobody may see it"
        )


def validation_errors(lines: str) -> Iterator[tuple[str, str]]:
    """What pydantic says of the fields of each model that it could not make."""
    parts = VALIDATION.split(lines)
    yield from zip(parts[1::2], parts[2::2], strict=True)


def variable(code: Path, model: str, field: str) -> str:
    """The variable that pydantic-settings reads for a field: the errors do not name it."""
    prefix, delimiter, fields = modules.settings_class(code, model)
    first, *rest = field.split(".")
    own = prefix if first in fields else ""  # else it is an alias, which has no prefix
    return delimiter.join([own + first, *rest] if delimiter else [own + first]).upper()
