"""Variables of an application: what it gets is what stands in the inventory's files.

YAML makes of `0755` the number 493, of `1.10` the number 1.1, of `no` false, and Python would write
a list in its own way. A value whose text in the file is another one than the application would get
is refused; what has no text of its own (true, a list, a dictionary) is written as JSON has it.

A file of variables (`.env`) is read by python-dotenv's parser. Nothing of the control node's own
environment gets into it, and no command in it is run.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from ansible.errors import AnsibleFilterError

try:
    from ansible._internal._datatag._tags import Origin
except ImportError:  # another Ansible keeps it elsewhere: numbers that are written oddly pass then
    Origin = None

SCALAR = re.compile(r"[^\s,\]}#][^,\]}#\n]*")
QUOTED = ('"', "'", "|", ">")
WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Names that would be overwritten, or would mislead systemd's own programs.
RESERVED = {
    r"PERGOLA_\w+": "is Pergola's own: choose another name",
    "WEB_CONCURRENCY": "is set by app_workers: set that instead",
    "NOTIFY_SOCKET|LISTEN_(FDS|PID|FDNAMES)|WATCHDOG_(PID|USEC)|MAINPID|INVOCATION_ID"
    "|JOURNAL_STREAM|CREDENTIALS_DIRECTORY": "is systemd's own: remove it",
}
ZERO = "\0"
HAS_ZERO = "no variable can hold a zero byte: remove it (a file can: app_credentials)"
QUOTE = "quote its value"


def plain(value: object) -> object:
    """A value as Python's own types, for JSON."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value if isinstance(value, bool | int | float | None) else str(value)


def text_of(value: object) -> str:
    """What the application gets."""
    if isinstance(value, str | date):
        return str(value)
    return json.dumps(plain(value), ensure_ascii=False)


def environment_texts(variables: Mapping[str, Any]) -> dict[str, str]:
    """Each variable's text; one without a value is left out."""
    return {str(name): text_of(value) for name, value in variables.items() if value is not None}


def environment_parts(
    environment: Mapping[str, Any],
    secrets: Mapping[str, Any],
    defaults: Mapping[str, Any],
    file: str = "",
    secret_defaults: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What a release gets as variables that may be seen, as secret ones, and what it must not get.

    Secrets beat the environment, which beats the file and the defaults. One without a value takes
    it away from those that it beats.
    """
    unset = {name for name, value in secrets.items() if value is None}
    seen = {name: value for name, value in {**defaults, **environment}.items() if name not in unset}
    both = {**environment, **secrets}
    beaten = {**(secret_defaults or {}), **dotenv_values(file)}
    hidden = {name: value for name, value in beaten.items() if name not in both}
    return {
        "environment": environment_texts(seen),
        "secrets": environment_texts({**hidden, **secrets}),
        "unset": sorted(str(name) for name, value in both.items() if value is None),
    }


class Wrong(NamedTuple):
    """Where something is, what it is, which only those may see who may see the value, and why."""

    where: str
    shown: str
    todo: str


def read_from(value: object, key: object) -> tuple[Any, str]:
    """Where a value was read, if from a file, and what stands there between that place and it."""
    # A boolean has no place of its own: it stands behind its key.
    if origin := Origin and Origin.get_tag(value):
        return origin, ""
    return Origin and Origin.get_tag(key), r"[\"']?[^:]*:\s*"


def written(value: object, key: object = None) -> str | None:
    """How a file writes a value; None: it stands in none, empty: that cannot be seen."""
    origin, after = read_from(value, key)
    if not origin or not origin.path or not origin.line_num or not origin.col_num:
        return None
    try:
        lines = Path(origin.path).read_text(encoding="utf-8").splitlines()
        line = lines[origin.line_num - 1][origin.col_num - 1 :]
    except (OSError, ValueError, IndexError):
        return ""
    if lines[0].startswith("$ANSIBLE_VAULT"):
        return ""
    before = re.match(after, line)
    rest = line[before.end() if before else 0 :]
    # A text that is a template: what it gives is no text of YAML's, and has no other reading.
    if rest.startswith(QUOTED) and not isinstance(value, str):
        return None
    found = SCALAR.match(rest)
    return found[0].strip() if found else ""


def odd(value: object, key: object = None, where: str = "") -> Iterator[Wrong]:
    """Why a value is not what stands in the file: each place inside it."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from odd_name(name, where)
            yield from odd(item, name, f"{where}.{name}")
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for number, item in enumerate(value):
            yield from odd(item, None, f"{where}[{number}]")
    elif isinstance(value, bool):
        text = written(value, key) or ""
        if text.lower() in ("yes", "no", "on", "off", "y", "n"):
            todo = f"quote it, or write {text_of(value)}"
            yield Wrong(where, f": {text} would be {text_of(value)}: {todo}", QUOTE)
    elif isinstance(value, str):
        if ZERO in value:
            yield Wrong(where, f": {HAS_ZERO}", HAS_ZERO)
    elif value is not None and (why := another(written(value), text_of(value))):
        yield Wrong(where, f" {why}: quote it", QUOTE)


def odd_name(name: object, where: str) -> Iterator[Wrong]:
    """Why a name is not what stands in the file."""
    if not isinstance(name, str):
        text = written(name)
        text = text and text.partition(":")[0].strip()
        is_whole = isinstance(name, int) and not isinstance(name, bool)
        if not is_whole or another(text, text_of(name)):
            todo = f"YAML reads one of the names as {text_of(name)}: quote the name"
            yield Wrong(where, f": {todo}", todo)


def another(text: str | None, got: str) -> str:
    """Why a number that a file writes so would be another text; empty when it would not."""
    if text is None or text == got:
        return ""
    if text:
        return f"{text} would be {got}"
    return "" if WHOLE.fullmatch(got) else f"is {got}"


def environment_odd(variables: Mapping[str, Any], secret: bool = False) -> list[str]:
    """Variables whose value would not be what stands in the file; a secret's is not shown."""
    if not isinstance(variables, Mapping):
        raise AnsibleFilterError("environment_odd needs a dictionary")
    found = []
    for name, value in variables.items():
        if isinstance(name, bool):
            found += [
                Wrong(str(text_of(name)), wrong.shown, wrong.todo) for wrong in odd_name(name, "")
            ]
        found += odd(value, name, str(name))
    return [f"{one.where}: {one.todo}" if secret else one.where + one.shown for one in found]


def name_wrong(name: object) -> str:
    """Why a variable cannot be called so; empty when it can."""
    if not NAME.fullmatch(str(name)):
        return "is no name of a variable: letters, digits and _, and no digit first"
    return next((why for form, why in RESERVED.items() if re.fullmatch(form, str(name))), "")


def environment_names_wrong(variables: Mapping[str, Any]) -> list[str]:
    """The names that no variable, or none of an application, can have."""
    found = ((name, name_wrong(name)) for name in variables)
    return [f"{name} {why}" for name, why in found if why]


class Line(NamedTuple):
    """An assignment in a file of variables. `literal`: its value is in single quotes."""

    number: int
    name: str | None
    value: str | None
    literal: bool
    error: bool

    @property
    def is_assignment(self) -> bool:
        return not self.error and self.name is not None and self.value is not None


def dotenv_lines(text: str) -> Iterator[Line]:
    """The assignments of a file, and the lines that are none; without comments."""
    if not text:
        return
    try:
        from dotenv.parser import parse_stream
    except ImportError:
        raise AnsibleFilterError("python-dotenv is missing here: run `make setup`") from None
    for one in parse_stream(io.StringIO(text)):
        whole = one.original.string
        before = whole[: len(whole) - len(whole.lstrip())]
        number = one.original.line + len(re.findall(r"\r\n|\r|\n", before))
        literal = re.match(r"\s*[^=\s][^=]*=\s*'", whole) is not None
        if one.error or one.key is not None:
            yield Line(number, one.key, one.value, literal, one.error)


def resolved(line: Line, known: Mapping[str, str]) -> str:
    """A line's value with what the file itself says of `${NAME}`; KeyError for another name."""
    from dotenv.variables import Literal, parse_variables

    value = line.value or ""
    if line.literal:
        return value
    atoms = parse_variables(value)
    return "".join(
        atom.value
        if isinstance(atom, Literal)
        else known[atom.name]
        if atom.default is None
        else known.get(atom.name, atom.default)
        for atom in atoms
    )


def dotenv_values(text: str) -> dict[str, str]:
    """The variables of a file that `dotenv_wrong` has nothing to say of."""
    found: dict[str, str] = {}
    for line in dotenv_lines(text):
        if line.name is not None and line.is_assignment:
            found[line.name] = resolved(line, found)
    return found


def line_wrong(line: Line, known: Mapping[str, str]) -> str:
    """Why a line cannot be taken; empty when it can. No value is shown."""
    if not line.is_assignment:
        return "is not NAME=value: quotes that are not closed, perhaps, or no = after the name"
    if why := name_wrong(line.name):
        return f"{line.name} {why}"
    if line.name in known:
        return f"{line.name} is set a second time: remove one"
    value = line.value or ""
    if ZERO in value:
        return f"{line.name}: {HAS_ZERO}"
    if "$(" in value and not line.literal:
        return (
            f"{line.name}: no command is run, so $(…) would be the value: put it in single quotes, "
            "or the command into app_secrets, with lookup('pipe', …)"
        )
    try:
        resolved(line, known)
    except KeyError as missing:
        return (
            f"{line.name} uses ${{{missing.args[0]}}}, which no line before it sets: set it, or "
            "put the value in single quotes if it is meant literally"
        )
    return ""


def dotenv_wrong(text: str, path: str) -> list[str]:
    """The lines of a file that cannot be taken, each with its place."""
    found: list[str] = []
    known: dict[str, str] = {}
    for line in dotenv_lines(text):
        if why := line_wrong(line, known):
            found.append(f"{path}:{line.number}: {why}")
        if line.name is not None:
            known[line.name] = "" if why else resolved(line, known)
    return found


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {
            "dotenv_wrong": dotenv_wrong,
            "environment_names_wrong": environment_names_wrong,
            "environment_odd": environment_odd,
            "environment_parts": environment_parts,
            "environment_texts": environment_texts,
        }
