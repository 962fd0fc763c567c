"""JSON that is written here and read back later, perhaps by another version of Pergola.

A document is a dataclass. On the disk it carries the number of its form, `format`: an older form is
brought to the present one when it is read, a newer one is refused by name. A field that a form did
not have, or of which YAML says nothing (null), gets the dataclass's default; one that the dataclass
does not know is passed over, so a change that an older Pergola must not pass over needs a new
number. A field such as `from_`, whose name is a word of Python's, is written without the _ at its
end.
"""

import dataclasses
import json
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from pergola.errors import PergolaError
from pergola.system import opened_folder, write

T = TypeVar("T")
Json = dict[str, object]
NUMBER = "format"
# Texts that Ansible takes for a truth, as in `-e flag=yes`, and passes on as they are.
TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
NEWER = "update your checkout of Pergola (git pull) and run again. Nothing was changed"


class NewerError(PergolaError):
    """A document that a newer Pergola has made."""


@dataclasses.dataclass(frozen=True)
class Form(Generic[T]):
    """How a kind of document is written: its dataclass, its number, and what came before.

    `older`: number -> what makes a document of that number one of the next. `unnumbered`: which
    number those have that say none; the first number, unless the first documents had none at all.
    `rest`: the field with all that stands beside the other fields in a document. `sparse`:
    fields that are not written when they say no more than their default.
    """

    kind: type[T]
    number: int = 1
    older: Mapping[int, Callable[[Json], Json]] = dataclasses.field(default_factory=dict)
    unnumbered: int = 1
    rest: str = ""
    sparse: tuple[str, ...] = ()

    # -- a file that is one document ---------------------------------------------------------------

    def read(self, path: Path) -> T | None:
        """The document in a file; None: there is no file. PergolaError for what cannot be read."""
        try:
            text = path.read_text()
        except FileNotFoundError:
            return None
        return self.parse(text, str(path))

    def write(self, path: Path, value: T, mode: int = 0o644, durable: bool = True) -> None:
        write(path, self.text(value, indent=1), mode, durable=durable)

    def parse(self, text: str, where: str) -> T:
        """A document in a text that came from `where`, such as an order on standard input."""
        try:
            found = json.loads(text)
        except ValueError as error:
            raise PergolaError(f"{where} cannot be read: {error}", text[:200]) from None
        return self.known(found, where)

    def text(self, value: T, indent: int | None = None) -> str:
        """A document as it is written."""
        return json.dumps(self.json(value), indent=indent, default=os.fspath) + "\n"

    def json(self, value: T) -> Json:
        """A document as JSON has it, with its number."""
        document = {NUMBER: self.number, **plain(value)}
        usual = defaults(self.kind) if self.sparse else {}
        for name in self.sparse:
            if document[name] == usual[name]:
                del document[name]
        rest = document.pop(self.rest, None)
        return {**document, **rest} if isinstance(rest, dict) else document

    def known(self, found: object, where: str) -> T:
        """A document of any form up to the present one; NewerError for a newer one."""
        if not isinstance(found, dict):
            raise PergolaError(f"{where} cannot be read: it is not a JSON object", str(found)[:200])
        document: Json = {str(name): value for name, value in found.items()}
        number = document.pop(NUMBER, self.unnumbered)
        if not isinstance(number, int):
            raise PergolaError(f"{where} cannot be read: its format is {number!r}")
        if number > self.number:
            raise NewerError(
                f"{where} was made by a newer Pergola (format {number}; this one reads up to "
                f"{self.number})",
                hint=NEWER,
            )
        for before in range(number, self.number):
            document = self.older[before](document)
        if self.rest:
            others = document.keys() - names_of(self.kind)
            document[self.rest] = {name: document[name] for name in others}
        value = converted(document, self.kind, where)
        return typing.cast(T, value)

    # -- a file with a document in each line -------------------------------------------------------

    def lines(self, path: Path, forgiving: bool = False) -> list[T]:
        """The documents in a file's lines, the oldest first.

        A last line without its end was cut off by a power loss: it never came into force. For
        another one that cannot be read there is a PergolaError, as nobody can know what is missing;
        `forgiving`: it is left out, for files of an earlier Pergola, which wrote behind cut lines.
        """
        try:
            *lines, _ = path.read_text(errors="replace").split("\n")
        except FileNotFoundError:
            return []
        found = []
        for number, line in enumerate(lines, 1):
            try:
                document = json.loads(line)
            except ValueError:
                if forgiving:
                    continue
                raise PergolaError(
                    f"line {number} of {path} cannot be read",
                    line[:200],
                    hint="correct it, or remove it if what it says never happened",
                ) from None
            found.append(self.known(document, f"line {number} of {path}"))
        return found

    def add(self, path: Path, value: T, mode: int = 0o644) -> None:
        """Add a line, durably; what a power loss left of a line before goes."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with opened_folder(path.parent, make=True) as folder:
            with os.fdopen(os.open(path.name, flags, mode, dir_fd=folder), "a+b") as file:
                file.seek(0)
                there = file.read()
                if len(there) > (whole := there.rfind(b"\n") + 1):
                    file.truncate(whole)
                file.write(self.text(value).encode())
                file.flush()
                os.fsync(file.fileno())
            os.fsync(folder)


# -- between dataclasses and JSON ------------------------------------------------------------------


def answer(value: object) -> str:
    """What a program says to whoever called it: one line of JSON."""
    return json.dumps(plain(value) if dataclasses.is_dataclass(value) else value)


def parsed(text: str, kind: type[T], where: str) -> T:
    """JSON of another program's, such as PostgreSQL's answer to a query, as a type of Python's."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise PergolaError(f"{where} cannot be read: {error}", text[:200]) from None
    return typing.cast(T, converted(found, kind, where))


def plain(value: object) -> Json:
    """A dataclass as JSON has it."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        raise TypeError(f"{type(value).__name__} is no dataclass")
    return dataclasses.asdict(
        value, dict_factory=lambda pairs: {name.removesuffix("_"): one for name, one in pairs}
    )


def defaults(kind: type) -> Json:
    """What the fields of a dataclass are when nothing is said of them."""
    usual: Json = {}
    for field in dataclasses.fields(kind):
        made = field.default_factory
        value = field.default if made is dataclasses.MISSING else made()
        usual[field.name.removesuffix("_")] = value
    return usual


def converted(value: object, kind: object, where: str) -> object:
    """A value of JSON as a type of Python's; PergolaError, with its place, when it is another."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind in (object, typing.Any):
        return value
    if dataclasses.is_dataclass(kind) and isinstance(kind, type) and isinstance(value, dict):
        return made(value, kind, where)
    if origin in (types.UnionType, typing.Union):
        return any_of(value, inner, where)
    if origin is typing.Literal and value in inner:
        return value
    if origin is list and isinstance(value, list):
        return [converted(one, inner[0], f"{where}[{n}]") for n, one in enumerate(value)]
    if origin is tuple and isinstance(value, list | tuple):
        kinds = of_each(inner, value)
        if len(value) == len(kinds):
            pairs = enumerate(zip(value, kinds, strict=True))
            return tuple(converted(one, kind, f"{where}[{n}]") for n, (one, kind) in pairs)
    if origin is dict and isinstance(value, dict):
        return {name: converted(one, inner[1], f"{where}.{name}") for name, one in value.items()}
    if kind is type(None) and value is None:
        return None
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is bool and isinstance(value, str) and value.lower() in TRUTHS:
        return TRUTHS[value.lower()]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and type(value) is kind:
        return value
    wanted = getattr(kind, "__name__", str(kind))
    raise PergolaError(f"{where} cannot be read: {wanted} is wanted, and it is {value!r}"[:300])


def of_each(kinds: tuple[object, ...], values: Sequence[object]) -> tuple[object, ...]:
    """The types of a tuple's values: tuple[T, ...] has as many as there are values."""
    return kinds[:1] * len(values) if kinds[1:] == (...,) else kinds


def any_of(value: object, kinds: tuple[object, ...], where: str) -> object:
    """A value as the first of several types that it can be."""
    for kind in kinds[:-1]:
        try:
            return converted(value, kind, where)
        except PergolaError:
            continue
    return converted(value, kinds[-1], where)


def names_of(kind: type) -> set[str]:
    """The names of a dataclass's fields."""
    return {field.name for field in dataclasses.fields(kind)}


def admits_null(kind: object) -> bool:
    return kind in (object, typing.Any) or type(None) in typing.get_args(kind)


def made(document: Mapping[object, object], kind: type, where: str) -> object:
    """A dataclass of what a document says."""
    hints = typing.get_type_hints(kind)
    given: Json = {}
    for field in dataclasses.fields(kind):
        name, hint = field.name.removesuffix("_"), hints[field.name]
        needed = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if name in document and (document[name] is not None or needed or admits_null(hint)):
            given[field.name] = converted(document[name], hint, f"{where}: {name}")
        elif needed:
            raise PergolaError(f"{where} cannot be read: it lacks {name}")
    return kind(**given)
