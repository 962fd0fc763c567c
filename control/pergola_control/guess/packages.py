"""The packages that an application names itself, and those that its lock has."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pergola_control.guess.modules import LISTS
from pergola_control.guess.repository import Repository, relative
from pergola_control.source.lists import logical
from pergola_control.source.places import packages_of
from pergola_control.source.projects import LOCKS, canonical, project_of, table

NAME = re.compile(r"\s*([A-Za-z0-9][\w.-]*)")


@dataclass(frozen=True)
class Packages:
    """Where each package is named, by its name.

    `direct`: by the application itself. `locked`: by its lock, those that others need as well.
    """

    direct: Mapping[str, str]
    locked: Mapping[str, str]

    def where(self, *names: str) -> str:
        """The file and line of the first of some packages that there is; "" if there is none."""
        every = {**self.locked, **self.direct}
        return next((every[name] for name in names if name in every), "")

    def has(self, *names: str) -> bool:
        return bool(self.where(*names))

    def is_direct(self, *names: str) -> bool:
        return any(name in self.direct for name in names)


def packages(repository: Repository, home: str, lock: str) -> Packages:
    """The packages of the project in `home`, with the lock in `lock`."""
    direct = {name: where for place in (lock, home) for name, where in named(repository, place)}
    locked = dict(in_locks(repository, lock))
    return Packages(direct, locked)


def named(repository: Repository, home: str) -> Iterator[tuple[str, str]]:
    """What pyproject.toml, Pipfile and lists name: (name, file and line)."""
    project = project_of(repository.read, home)
    path = f"{home}/pyproject.toml".lstrip("/")
    listed = table(project, "project").get("dependencies")
    texts = [str(one) for one in listed] if isinstance(listed, list) else []
    texts += list(table(project, "tool", "poetry", "dependencies"))
    for text in texts:
        if (found := NAME.match(text)) and found[1] != "python":
            yield canonical(found[1]), repository.where(path, rf"^.*\b{re.escape(found[1])}\b")
    pipfile = f"{home}/Pipfile".lstrip("/")
    for name in table(toml_of(repository, pipfile), "packages"):
        yield canonical(name), repository.where(pipfile, rf"^\W*{re.escape(name)}\b")
    for path in lists_of(repository, home):
        for line in logical(path, repository.read(path) or ""):
            # A list with hashes is a lock, and names more than what was asked for.
            if line.is_loose and (found := NAME.match(line.text)):
                yield canonical(found[1]), line.where


def lists_of(repository: Repository, home: str) -> list[str]:
    """The lists of requirements of a directory, but for those of developers."""
    return [
        path
        for path in repository.below(home)
        if LISTS.fullmatch(relative(path, home)) and not re.search("dev|test|lint|doc", path)
    ]


def in_locks(repository: Repository, lock: str) -> Iterator[tuple[str, str]]:
    """What locks have."""
    for name in LOCKS:
        path = f"{lock}/{name}".lstrip("/")
        if name == "Pipfile.lock":
            try:
                found = json.loads(repository.read(path) or "{}")
            except json.JSONDecodeError:
                continue
            yield from ((canonical(one), path) for one in found.get("default", {}))
        else:
            listed = packages_of(toml_of(repository, path))
            yield from ((canonical(str(one.get("name", ""))), path) for one in listed)
    for path in lists_of(repository, lock):
        for line in logical(path, repository.read(path) or ""):
            if not line.is_option and (matched := NAME.match(line.text)):
                yield canonical(matched[1]), line.where


def toml_of(repository: Repository, path: str) -> Mapping[str, object]:
    """A file of TOML; empty without one, or if it cannot be read: its lock's check says so."""
    try:
        return tomllib.loads(repository.read(path) or "")
    except tomllib.TOMLDecodeError:
        return {}
