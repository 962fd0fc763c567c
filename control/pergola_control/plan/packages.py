"""The packages that a server installs, and how two releases differ in them."""

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pergola_control import uv
from pergola_control.plan.differences import differences
from pergola_control.refusal import RefusalError
from pergola_control.source.projects import canonical

REQUIREMENT = re.compile(
    r"^(?P<name>[\w.-]+)\s*(\[[^]]*\])?\s*(==\s*(?P<version>[^\s;\\]+)|@\s*(?P<address>\S+))"
)


def options_of(config: object) -> list[str]:
    """The options that choose the extras and groups of a release's settings."""
    chosen = config if isinstance(config, Mapping) else {}
    kinds = (("extras", "--extra"), ("groups", "--group"))
    return [f"{option}={name}" for kind, option in kinds for name in chosen.get(kind) or ()]


def of_requirements(text: str) -> list[tuple[str, str]]:
    """The (package, version) pairs of a requirements.txt; markers may make several of a package."""
    found = []
    for line in text.splitlines():
        if match := REQUIREMENT.match(line.strip()):
            # Of an address only the file's name is shown: the rest may hold a password.
            version = match["version"] or posixpath.basename(urlsplit(match["address"]).path)
            found.append((match["name"], version))
    return found


@dataclass(frozen=True)
class Lock:
    """A release's list of exact packages: its path and its text.

    Of uv's: each pyproject.toml by its path, where the application is, and what is chosen.
    """

    name: str
    text: str
    projects: Mapping[str, str] = field(default_factory=dict)
    directory: str = ""
    options: Sequence[str] = ()

    def packages(self) -> dict[str, str]:
        """The versions of each package; ValueError if they cannot be read."""
        if posixpath.basename(self.name) == "uv.lock":
            pairs = uv.locked(self.projects, self.name, self.text, self.directory, self.options)
        else:
            pairs = of_requirements(self.text)
        versions: dict[str, set[str]] = {}
        for package, version in pairs:
            versions.setdefault(canonical(package), set()).add(version)
        return {package: ", ".join(sorted(found)) for package, found in versions.items()}


def package_lines(before: Lock | None, after: Lock) -> list[str]:
    """The packages that differ between the live release's lock and the new one's.

    None: there is no live release; without a text its lock is unknown.
    """
    try:
        new = after.packages()
    except ValueError as error:
        raise RefusalError(
            f"The new release's {after.name} cannot be read: {error}.",
            "app_version",
            "make the lock again with uv and commit it",
        ) from None
    if before is None:
        return [f"{len(new)} to install"]
    if not before.text:
        return [f"cannot be compared: the live release's lock is unknown; {len(new)} to install"]
    try:
        return differences(before.packages(), new)
    except ValueError as error:
        return [f"cannot be compared: the live release's {before.name}: {error}"]
