"""Lists of requirements, as pip and uv read them: with the lists that they name, as one."""

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from packaging.markers import InvalidMarker, Marker

from pergola_control.programs import text
from pergola_control.refusal import RefusalError
from pergola_control.source.projects import canonical

Read: TypeAlias = Callable[[str], str | None]

# An option with its value: behind a space, behind =, or (of one letter) at once.
OTHER_LIST = re.compile(r"(-r|-c|--requirement|--constraint)(?:\s+|=|(?<=-[rc]))(.+)")
# An option whose value may be a path, from the directory of its own list.
WITH_PATH = re.compile(
    r"(-f|-i|--find-links|--index-url|--extra-index-url)(?:\s+|=|(?<=-[fi]))[\"']?([^\"']+)[\"']?"
)
EDITABLE = re.compile(r"(-e|--editable)\b")
PINNED = re.compile(r"([A-Za-z0-9][\w.-]*)\s*(?:\[[^]]*\])?\s*==\s*([^\s;,\\]+)")


@dataclass(frozen=True)
class Line:
    """A logical line of a list, and where it begins."""

    path: str
    number: int
    text: str  # in one line, without its comment

    @property
    def where(self) -> str:
        return f"{self.path}:{self.number}"

    @property
    def names(self) -> str:
        """The other list that it names, from the directory of its own; "" if it names none."""
        found = OTHER_LIST.fullmatch(self.text)
        return found[2].strip().strip("\"'") if found else ""

    @property
    def moved(self) -> str:
        """Its text for a list in a directory of the release's top, with paths from there."""
        found = WITH_PATH.fullmatch(self.text)
        if not found or "://" in found[2] or found[2].startswith(("/", "$", "~", "file:")):
            return self.text
        path = posixpath.normpath(posixpath.join(posixpath.dirname(self.path), found[2]))
        return f"{found[1]} {posixpath.join('..', path)}"

    @property
    def is_constraint(self) -> bool:
        return self.text.startswith(("-c", "--constraint"))

    @property
    def is_option(self) -> bool:
        return self.text.startswith("-") and not EDITABLE.match(self.text)

    @property
    def is_loose(self) -> bool:
        """Whether it names a package without saying exactly which file."""
        return not self.is_option and "--hash=" not in self.text

    @property
    def marker(self) -> str:
        """For which systems it is, as all spellings of that compare; "" for all."""
        said = self.text.partition(";")[2].split(" --hash")[0].strip()
        try:
            return str(Marker(said)) if said else ""
        except InvalidMarker:
            return said

    @property
    def shown(self) -> str:
        """As a person is told of it: without hashes, and without a password in an address."""
        return text(re.split(r"\s+(?:;|--hash)", self.text)[0].encode())


@dataclass
class Flat:
    """A list with all those that it names."""

    paths: list[str] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    constraints: list[Line] = field(default_factory=list)

    @property
    def loose(self) -> list[Line]:
        return [line for line in self.lines if line.is_loose]

    @property
    def packages(self) -> set[str]:
        found = (re.match(r"[A-Za-z0-9][\w.-]*", line.text) for line in self.lines)
        return {canonical(one[0]) for one in found if one}

    @property
    def text(self) -> str:
        """As one list in a directory of the release's top: each line once, options first."""
        lines = dict.fromkeys(line.moved for line in self.lines)
        ordered = sorted(lines, key=lambda line: not line.startswith("-"))
        return "".join(line.replace(" --hash=", " \\\n    --hash=") + "\n" for line in ordered)


def logical(path: str, content: str) -> Iterator[Line]:
    """The lines of a list that say something."""
    joined: list[str] = []
    began = 1
    lines = content.removeprefix("\ufeff").splitlines()
    for number, line in enumerate([*lines, ""], 1):
        began = began if joined else number
        joined.append(re.sub(r"(^|\s)#.*$", "", line).rstrip())
        if joined[-1].endswith("\\") and number <= len(lines):
            joined[-1] = joined[-1][:-1]
            continue
        if said := " ".join(" ".join(joined).split()):
            yield Line(path, began, said)
        joined = []


def is_hashed(content: str) -> bool:
    """Whether a list is whole by itself: it names files only, and no other list."""
    lines = list(logical("", content))
    packages = [line for line in lines if not line.is_option]
    return bool(packages) and not any(line.is_loose or line.names for line in lines)


def flat(read: Read, path: str) -> Flat | None:
    """A list with those that it names; None if there is none at this path."""
    content = read(path)
    if content is None:
        return None
    found = Flat()
    add(found, read, path, content, ())
    refuse_contradictions(found)
    return found


def add(
    found: Flat, read: Read, path: str, content: str, outer: tuple[str, ...], to: bool = False
) -> None:
    """Add a list's lines; `to` the constraints, which name no package to install."""
    if "\0" in content:
        raise RefusalError(
            f"{path} is not UTF-8 (PowerShell's > writes UTF-16).",
            "app_version",
            "save it as UTF-8, and commit it",
        )
    found.paths.append(path)
    for line in logical(path, content):
        if line.names:
            other = other_path(line, (*outer, path))
            below = read(other)
            if below is None:
                raise unusable(line, "there is no such file in the source")
            add(found, read, other, below, (*outer, path), to or line.is_constraint)
        else:
            (found.constraints if to else found.lines).append(line)


def other_path(line: Line, outer: tuple[str, ...]) -> str:
    """The path of the list that a line names; a refusal for one that cannot be taken along."""
    if "://" in line.names:
        raise unusable(line, "only lists of the source itself can be taken along")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(line.path), line.names))
    if path in outer:
        raise unusable(line, "the lists name each other in a circle")
    return path


def unusable(line: Line, why: str) -> RefusalError:
    return RefusalError(
        f"{line.where}: {line.shown}: {why}.",
        "app_version",
        "correct the line, and commit it",
    )


def refuse_contradictions(found: Flat) -> None:
    """Refuse two lists that pin one package differently, as neither can be meant."""
    pins: dict[str, list[tuple[str, Line]]] = {}
    for line in (*found.lines, *found.constraints):
        if pinned := PINNED.match(line.text):
            others = pins.setdefault(canonical(pinned[1]), [])
            for version, before in others:
                # With two markers they may be for different systems.
                if version != pinned[2] and len({line.marker, before.marker} - {""}) < 2:
                    raise unusable(line, f"{before.where} has {before.shown}")
            others.append((pinned[2], line))
