"""Where the application is in its repository, and what it is called."""

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import yaml

from pergola_control.guess.modules import Found, Module, inside_home, is_built, is_member, lock_home
from pergola_control.guess.packages import lists_of
from pergola_control.guess.repository import Repository, relative
from pergola_control.guess.seen import Seen
from pergola_control.here import ROOT
from pergola_control.source.projects import LOCKS, canonical, groups_of, project_of, table

# What many applications call a part of themselves.
GENERIC = {"app", "api", "backend", "server", "web", "src", "service", "project", "my-app"}
PRODUCTION = ("production", "prod", "deploy", "main", "base")
CHECKS = ROOT / "roles/app/meta/checks.yml"
LONGEST = 25
LOGIN = "deploy"  # the account that a test host is reached by


@dataclass(frozen=True)
class Place:
    """`home`: the project's directory. `base`: what commands and paths of settings count from."""

    repository: Repository
    found: Found

    @property
    def home(self) -> str:
        return self.found.module.home

    @cached_property
    def lock(self) -> str:
        return lock_home(self.repository, self.home)

    @cached_property
    def is_member(self) -> bool:
        return is_member(self.repository, self.home, self.lock)

    @property
    def base(self) -> str:
        return self.home if self.is_member else self.lock

    @cached_property
    def project(self) -> str:
        """Where the project is, from its base: "" unless its list of packages is above it."""
        return relative(self.home, self.base)

    @cached_property
    def path(self) -> str:
        """Where Python must be told to look, from the base; "" where it looks by itself."""
        inner = "" if is_built(self.repository, self.home) else inside_home(self.found.module)
        return posixpath.join(self.project, inner) if inner else self.project

    def command(self, text: str) -> str:
        """A command of the project's directory, from the base."""
        return f"cd {self.project} && {text}" if self.project else text


def name(place: Place) -> Seen:
    """app_name: the project's, unless that says nothing; then the repository's."""
    repository, home = place.repository, place.home
    path = posixpath.join(home, "pyproject.toml")
    project = project_of(repository.read, home)
    own = table(project, "project").get("name") or table(project, "tool", "poetry").get("name")
    if isinstance(own, str) and fit(own) not in GENERIC:
        return Seen("app_name", free(fit(own)), repository.where(path, r"^name\s*="), "the project")
    return Seen("app_name", free(fit(repository.name)), repository.name, "the directory")


def fit(text: str) -> str:
    """A name in the form that app_name has."""
    found = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    found = re.sub(r"^[^a-z]+", "", found)
    if len(found) > LONGEST:  # whole words, if there are some
        found = found[: LONGEST + 1].rpartition("-")[0] or found[:LONGEST]
    return found.strip("-") or "app"


def free(text: str) -> str:
    """A name that no account of the server has."""
    taken = yaml.safe_load(CHECKS.read_text(encoding="utf-8"))["vars"]["__app_names_brought"]
    return f"{text[: LONGEST - 4]}-app" if text in {*taken, LOGIN} else text


def whereabouts(place: Place, modules: Sequence[Module]) -> Iterator[Seen]:
    """app_subdirectory, or the member of a workspace."""
    if place.is_member:
        same = {one.home for one in modules if one.name == place.found.module.name}
        if len(same) > 1:
            path = posixpath.join(place.home, "pyproject.toml")
            own = table(project_of(place.repository.read, place.home), "project").get("name")
            where = place.repository.where(path, r"^name\s*=")
            yield Seen("app_package", canonical(str(own)), where, "the member of the workspace")
    directory = posixpath.normpath(posixpath.join(place.repository.inside, place.lock))
    if directory != ".":
        yield Seen("app_subdirectory", directory, directory, "the directory of its lock")


def chosen(place: Place) -> Iterator[Seen]:
    """Which of several lists, and which groups, are for servers by their names."""
    repository, base = place.repository, place.base
    locks = (*LOCKS, "requirements.txt")
    lists = [one for one in lists_of(repository, base) if one.endswith(".txt")]
    if not any(repository.has(base, lock) for lock in locks) and len(lists) > 1:
        ranked = [(PRODUCTION.index(word), one) for one in lists if (word := word_of(one))]
        if ranked:
            path = min(ranked)[1]
            yield Seen("app_requirements", relative(path, base), path, "the list for servers")
    groups = groups_of(project_of(repository.read, place.home))
    if named := [one for one in groups if one in PRODUCTION[:2]]:
        path = posixpath.join(place.home, "pyproject.toml")
        where = repository.where(path, rf"^\W*{named[0]}\b|group\.{named[0]}\b")
        yield Seen("app_groups", named, where, "groups for servers")


def word_of(path: str) -> str:
    """The word of PRODUCTION that a list is named with."""
    words = re.split(r"[-_./]", posixpath.basename(path))
    return next((one for one in PRODUCTION if one in words), "")
