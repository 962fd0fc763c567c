"""What pyproject.toml and uv.lock say."""

import posixpath
import re
import tomllib
from collections.abc import Callable, Mapping

from pergola_control.refusal import RefusalError


def canonical(name: str) -> str:
    """A package's name as all spellings of it compare (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def table(found: Mapping[str, object], *names: str) -> Mapping[str, object]:
    """A table inside tables; empty where there is none."""
    for name in names:
        below = found.get(name)
        if not isinstance(below, Mapping):
            return {}
        found = below
    return found


def project_of(read: Callable[[str], str | None], directory: str) -> Mapping[str, object]:
    """A directory's pyproject.toml, empty without one; a refusal if it cannot be read."""
    return toml(read, posixpath.join(directory, "pyproject.toml"), "correct it, and commit it")


def lock_of(read: Callable[[str], str | None], directory: str) -> Mapping[str, object]:
    """A directory's uv.lock, as `project_of`."""
    path = posixpath.join(directory, "uv.lock")
    return toml(read, path, "run `uv lock` (after a merge: resolve pyproject.toml first), commit")


def toml(read: Callable[[str], str | None], path: str, remedy: str) -> Mapping[str, object]:
    try:
        return tomllib.loads(read(path) or "")
    except tomllib.TOMLDecodeError as error:
        raise RefusalError(f"{path} cannot be read: {error}.", "app_version", remedy) from None


def is_project(project: Mapping[str, object]) -> bool:
    """Whether a pyproject.toml is that of a project, and not of tools alone."""
    return bool(project.get("project")) or bool(table(project, "tool", "poetry"))


def requirement_names(listed: object) -> set[str]:
    """The packages' names of a list such as [project] dependencies."""
    if not isinstance(listed, list):
        return set()
    found = (re.match(r"\s*([A-Za-z0-9][\w.-]*)", one) for one in listed if isinstance(one, str))
    return {canonical(one[1]) for one in found if one}
