"""Which Python an application asks for, by its settings and the files of its repository."""

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from pergola_control.programs import some
from pergola_control.refusal import RefusalError
from pergola_control.source.commits import Commit
from pergola_control.source.directories import Tree
from pergola_control.source.places import above
from pergola_control.source.projects import project_of, table, toml
from pergola_control.source.settings import Settings

# Any version with these is one that a server of ours may have as its own.
OWN = [f"3.{minor}.{patch}" for minor in range(11, 20) for patch in (0, 99)]
MINORS, PATCHES = range(30), range(40)  # as far as they are looked through
VERSION = r"3(?:\.\d+){0,2}"
# How the files that name one version write it, each with the tool that reads it first.
PIN = re.compile(rf"(?:c?python[-@=]?)?({VERSION})\s*$", re.IGNORECASE)
ANY_OF = "=<>!~"


@dataclass(frozen=True)
class Wish:
    """What one place says: its text, as specifiers of versions (PEP 440), and where it stands."""

    text: str
    versions: SpecifierSet
    where: str

    @property
    def shown(self) -> str:
        return f"{self.text} ({self.where})"


@dataclass(frozen=True)
class Asked:
    """The Python that is asked for: `versions` as specifiers, `said` with the place.

    `allowed`: those that the project has nothing against, whatever the version that is named.
    `of_all`: each server's own is one of `versions`.
    """

    versions: str = ""
    said: str = ""
    allowed: str = ""

    @property
    def of_all(self) -> bool:
        return all(map(SpecifierSet(self.versions).contains, OWN))

    @property
    def result(self) -> dict[str, object]:
        """The part of it in what `source` prints."""
        return {**asdict(self), "of_all": self.of_all}


def asked(release: Commit | Tree, settings: Settings) -> tuple[Asked, list[str]]:
    """What is asked for, and what a person should know of it."""
    unread: list[str] = []
    named = list(wishes(release, unread))
    allowed = list(limits(release, unread))
    if settings.python:
        named = [Wish(settings.python, pinned(settings.python), "app_python")]
    warnings = [f"{one}: no version of CPython that could be read there." for one in unread]
    first = named[0] if named else None
    if first:
        refuse_contradiction(first, allowed)
        others = [one for one in named[1:] if not agree(first.versions, one.versions)]
        if others:
            contrary = some([one.shown for one in others])
            warnings.append(
                f"The files name different versions of Python: {first.shown} is taken, not "
                f"{contrary}."
            )
    every = [*([first] if first else []), *allowed]
    said = " with ".join(one.shown for one in every)
    return Asked(together(every), said, together(allowed)), warnings


def together(wishes: Sequence[Wish]) -> str:
    """What fits all of them, as specifiers."""
    return ",".join(sorted({str(part) for one in wishes for part in one.versions}))


def wishes(release: Commit | Tree, unread: list[str]) -> Iterator[Wish]:
    """The versions that files name: those beside the application first, then those above it."""
    for directory in (release.directory, *above_it(release)):
        for name, form in (
            (".python-version", r"^\s*([^#\s]+)"),
            (".tool-versions", r"^\s*python\s+(\S+)"),
            ("runtime.txt", r"^\s*(python-\S+)"),
        ):
            path = posixpath.join(directory, name)
            text = (release.read(path) or "").removeprefix("\ufeff")
            found = re.search(form, text, re.MULTILINE)
            if not found:
                continue
            where = place(path, text[: found.start(1)].count("\n") + 1)
            wish = read(found[1], where)
            if wish:
                yield wish
            else:
                unread.append(f"{where} says {found[1]!r}")
    yield from of_pipfile(release)


def above_it(release: Commit | Tree) -> Iterator[str]:
    """The directories above the application's, up to the repository's top, from the release's."""
    whole = posixpath.join(release.subdirectory, release.directory).rstrip("/")
    for parent in above(whole):
        path = posixpath.relpath(parent or ".", release.subdirectory or ".")
        yield "" if path == "." else path


def place(path: str, line: int) -> str:
    return f"{posixpath.normpath(path)}:{line}"


def read(text: str, where: str) -> Wish | None:
    """One version as people write it in such a file, or the versions of PEP 440."""
    if text[0] in ANY_OF:
        return limit(text, where)
    found = PIN.match(text)
    return Wish(text, pinned(found[1]), where) if found else None


def pinned(version: str) -> SpecifierSet:
    """`3.12` is any 3.12, `3.12.4` is that one."""
    whole = version.count(".") == 2
    return SpecifierSet(f"=={version}" if whole else f"=={version}.*")


def limit(text: str, where: str) -> Wish | None:
    """What a project allows; Poetry's ^ and ~ as PEP 440 has them."""
    try:
        choices = [specifiers(one) for one in re.split(r"\|\|?", text)]
    except InvalidSpecifier:
        return None
    return Wish(text, choices[0] if len(choices) == 1 else any_of(choices), where)


def specifiers(text: str) -> SpecifierSet:
    """What must hold at once, with commas or, as Poetry has it, with spaces between."""
    parts = re.split(r",|(?<=[\w*])\s+(?=[<>=!~^])", text.strip())
    return SpecifierSet(",".join(filter(None, (expanded(part.strip()) for part in parts))))


def any_of(choices: Sequence[SpecifierSet]) -> SpecifierSet:
    """What Poetry writes with || between, by minor versions."""
    fits = [
        minor
        for minor in MINORS
        if any(one.contains(f"3.{minor}.{patch}") for one in choices for patch in PATCHES)
    ]
    if not fits:
        return SpecifierSet("<3")
    parts = [f">=3.{fits[0]}"] + ([f"<3.{fits[-1] + 1}"] if fits[-1] != MINORS[-1] else [])
    gaps = [f"!=3.{minor}.*" for minor in range(fits[0], fits[-1]) if minor not in fits]
    return SpecifierSet(",".join(parts + gaps))


def expanded(part: str) -> str:
    """A caret or tilde of Poetry's, or a bare version, as specifiers."""
    if part == "*":
        return ""
    found = re.fullmatch(r"(\^|~)?\s*(\d+)(?:\.(\d+))?(\.\d+)?(\.?\*)?", part)
    if not found:
        return part
    sign, major, minor = found[1], int(found[2]), found[3]
    from_there = f">={major}.{minor or 0}{found[4] or ''}"
    if sign == "^" or (sign == "~" and minor is None):
        return f"{from_there},<{major + 1}"
    if sign == "~":
        return f"{from_there},<{major}.{int(minor) + 1}"
    if found[4]:
        return f"=={part}"
    return f"=={major}.{minor}.*" if minor else f"=={major}.*"


def of_pipfile(release: Commit | Tree) -> Iterator[Wish]:
    """What Pipenv's project requires."""
    path = posixpath.join(release.directory, "Pipfile")
    text = release.read(path)
    requires = table(toml(release.read, path, "correct it, and commit it"), "requires")
    for key in ("python_full_version", "python_version"):
        value = str(requires.get(key, ""))
        if value and (wish := read(value, place(path, line_of(text or "", key)))):
            yield wish
            return


def limits(release: Commit | Tree, unread: list[str]) -> Iterator[Wish]:
    """What the projects allow: the application's, and the workspace's that it is in."""
    seen = set()
    for directory in (release.directory, *above(release.directory)):
        path = posixpath.join(directory, "pyproject.toml")
        for key, value in allowed_by(project_of(release.read, directory)):
            where = place(path, line_of(release.read(path) or "", key))
            wish = limit(value, where)
            if wish is None:
                unread.append(f"{where} says {value!r}")
            elif wish.versions and wish.versions not in seen:
                seen.add(wish.versions)
                yield wish


def allowed_by(project: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """The keys of a pyproject.toml that say which versions it is for, with their values."""
    standard = table(project, "project").get("requires-python")
    poetry = table(project, "tool", "poetry", "dependencies").get("python")
    if isinstance(standard, str):
        yield "requires-python", standard
    elif isinstance(poetry, str):
        yield "python", poetry


def line_of(text: str, key: str) -> int:
    """The line of a TOML file's key."""
    found = re.search(rf"^[ \t]*[\"']?{re.escape(key)}[\"']?[ \t]*=", text, re.MULTILINE)
    return text[: found.start()].count("\n") + 1 if found else 1


def agree(one: SpecifierSet, other: SpecifierSet) -> bool:
    """Whether some version is of both."""
    candidates = [f"3.{minor}.{patch}" for minor in MINORS for patch in PATCHES]
    both = one & other
    return any(map(both.contains, candidates))


def refuse_contradiction(first: Wish, allowed: list[Wish]) -> None:
    """Refuse a version that the project does not allow: uv would, on the server."""
    for one in allowed:
        if not agree(first.versions, one.versions):
            raise RefusalError(
                f"Python {first.text} is named by {first.where}, but {one.where} allows only "
                f"{one.text}.",
                "app_python",
                f"correct one of the two files, or set it to a version that fits {one.text}"
                if first.where != "app_python"
                else f"set it to a version that fits {one.text}, or leave it out",
            )
