"""The packages that a server installs of an application's list."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from pergola_control import uv
from pergola_control.source.commits import Commit
from pergola_control.source.directories import Tree
from pergola_control.source.forms import Form
from pergola_control.source.places import packages_of
from pergola_control.source.projects import canonical
from pergola_control.source.settings import Settings

REQUIREMENT = re.compile(r"^([A-Za-z0-9][\w.-]*)\s*(?:\[[^]]*\])?\s*(?:==|@)", re.MULTILINE)
# The platforms of a wheel's name: any, or Linux with the C library that servers have.
FOR_SERVERS = re.compile(r"-any\.whl$|[-.](many)?linux_?\d*_\w+(\.\w+)*\.whl$")


@dataclass(frozen=True)
class Packages:
    """The packages of a release's list, with what its settings choose of them."""

    release: Commit | Tree
    form: Form
    settings: Settings

    @property
    def said(self) -> str:
        """How a person is told of the list."""
        return self.form.said or self.form.lock

    @cached_property
    def text(self) -> str:
        return self.form.files.get(self.form.lock) or self.release.read(self.form.lock) or ""

    @cached_property
    def entries(self) -> list[Mapping[str, object]]:
        """Those of a uv.lock, of development as well; none of another list."""
        is_lock = self.form.installer == "uv-lock"
        return packages_of(tomllib.loads(self.text)) if is_lock else []

    @cached_property
    def listed(self) -> set[str]:
        """The names of all that the list has."""
        if self.form.installer == "uv-lock":
            return {str(one.get("name")) for one in self.entries}
        return {canonical(name) for name in REQUIREMENT.findall(self.text)}

    @cached_property
    def installed(self) -> set[str]:
        """The names of what a server installs: nothing that only development needs."""
        if self.form.installer != "uv-lock":
            return self.listed
        files = [path for path in self.release.names if path.rpartition("/")[2] == "pyproject.toml"]
        projects = {path: self.release.read(path) or "" for path in files}
        options = [f"--extra={name}" for name in self.settings.extras]
        options += [f"--group={name}" for name in self.settings.groups]
        lock, directory = self.form.lock, self.release.directory
        try:
            pairs = uv.locked(projects, lock, self.text, directory, options)
        except ValueError:  # the server says what is wrong with it
            return self.listed
        return {canonical(name) for name, _ in pairs}

    @cached_property
    def compiled(self) -> set[str]:
        """The names of what a uv.lock has no wheel of that servers could take."""
        return {
            str(one.get("name"))
            for one in self.entries
            if "sdist" in one and not any(map(FOR_SERVERS.search, wheels(one)))
        }

    def has(self, name: str) -> bool:
        """Whether a server installs a package."""
        return name in self.listed and name in self.installed


def wheels(entry: Mapping[str, object]) -> list[str]:
    """The names or addresses of a package's wheels in a uv.lock."""
    listed = entry.get("wheels")
    files = listed if isinstance(listed, list) else []
    keys = ("filename", "path", "url")
    return [str(one[key]) for one in files for key in keys if key in one]
