"""What pyproject.toml and uv.lock say."""

import posixpath
import re
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence

from pergola_control.programs import some
from pergola_control.refusal import RefusalError

# What tools call their lists of exact packages, in the order in which they are looked for.
LOCKS = ("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock")


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


def requirement_names(listed: object) -> set[str]:
    """The packages' names of a list such as [project] dependencies."""
    if not isinstance(listed, list):
        return set()
    found = (re.match(r"\s*([A-Za-z0-9][\w.-]*)", one) for one in listed if isinstance(one, str))
    return {canonical(one[1]) for one in found if one}


def extras_of(project: Mapping[str, object]) -> list[str]:
    """The extras that a pyproject.toml has, whichever tool's."""
    places = (("project", "optional-dependencies"), ("tool", "poetry", "extras"))
    return [name for place in places for name in table(project, *place)]


def groups_of(project: Mapping[str, object]) -> list[str]:
    """The groups of dependencies that a pyproject.toml has, whichever tool's, or a Pipfile."""
    places = (
        ("dependency-groups",),
        ("tool", "poetry", "group"),
        ("tool", "pdm", "dev-dependencies"),
    )
    found = [name for place in places for name in table(project, *place)]
    if table(project, "tool", "uv").get("dev-dependencies"):
        found.append("dev")
    others = {"packages", "source", "requires", "scripts", "pipenv", "pipfile"}
    if "packages" in project:  # a Pipfile: tables of packages lie at its top
        found += [name for name in project if name not in others]
    return found


def refuse_unknown(
    setting: str,
    kind: str,
    asked: Sequence[str],
    there: Collection[str],
    file: str = "pyproject.toml",
) -> None:
    """Refuse an extra or a group that the project does not have."""
    known = set(map(canonical, there))
    if missing := [name for name in asked if canonical(name) not in known]:
        raise RefusalError(
            f"{file} has no {kind} {missing[0]!r}; it has {some(sorted(there)) or 'none'}.",
            setting,
            "correct the name, or leave it out",
        )
