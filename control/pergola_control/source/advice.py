"""What to do about an application without a list of exact packages, by what it has."""

import posixpath
from collections.abc import Sequence

from pergola_control.programs import some
from pergola_control.refusal import RefusalError
from pergola_control.source.commits import Commit
from pergola_control.source.directories import Tree
from pergola_control.source.lists import Flat, flat
from pergola_control.source.projects import project_of, requirement_names, table

COMPILE = "uv pip compile {} --universal --generate-hashes -o {}"
# What the makers of other lists call what they are made from, and how each is locked.
WITHOUT_LOCK = (("Pipfile", "pipenv lock", "Pipfile.lock"),)
LOCKS = ("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "requirements.txt")


def no_lock(release: Commit | Tree, own: Flat | None, others: Sequence[str]) -> RefusalError:
    """The refusal of an application with no list of exact packages, or with several."""
    if others:
        return RefusalError(
            f"There are several lists of requirements, and none is called requirements.txt: "
            f"{some(others)}.",
            "app_requirements",
            f"set it to the one that servers install, such as app_requirements: "
            f"{posixpath.relpath(others[0], release.directory or '.')}",
        )
    project = project_of(release.read, release.directory)
    listed = requirement_names(table(project, "project").get("dependencies"))
    if table(project, "tool", "poetry") and not table(project, "project"):
        return missing(release, "pyproject.toml", "is Poetry's", "poetry lock", "poetry.lock")
    if listed or (project.get("project") and own is None):
        return unlocked(release)
    if own is not None:
        return loose(own, release)
    for name, command, lock in WITHOUT_LOCK:
        if has(release, name):
            return missing(release, name, "has no lock", command, lock)
    for name in ("requirements.in", "setup.py", "setup.cfg"):
        if has(release, name):
            command = COMPILE.format(name, "requirements.txt")
            return missing(release, name, "has no lock", command, "requirements.txt")
    candidates = [
        one
        for path in release.names
        if posixpath.dirname(path) in (release.directory, directory_of_lists(release))
        and path.endswith(".txt") and "requirements" in path
        and (one := flat(release.read, path)) and one.lines
    ]  # fmt: skip
    if candidates:
        return loose(candidates[0], release)
    return nothing(release)


def directory_of_lists(release: Commit | Tree) -> str:
    return posixpath.join(release.directory, "requirements")


def has(release: Commit | Tree, name: str) -> bool:
    return release.read(posixpath.join(release.directory, name)) is not None


def missing(release: Commit | Tree, name: str, what: str, command: str, lock: str) -> RefusalError:
    return RefusalError(
        f"{posixpath.join(release.directory, name)} {what}.",
        "app_version",
        f"run `{command}`, and commit {lock}",
    )


def unlocked(release: Commit | Tree) -> RefusalError:
    what = "has no lock: its packages are not pinned"
    return missing(release, "pyproject.toml", what, "uv lock", "uv.lock")


def loose(found: Flat, release: Commit | Tree) -> RefusalError:
    """The refusal of a list that does not say exactly which files are to be installed."""
    path = found.paths[0]
    inside = posixpath.relpath(path, release.directory or ".")
    if not found.lines:
        return RefusalError(f"{path} lists nothing.", "app_version", "list the packages there")
    first = found.loose[0]
    said = some([f"{line.shown} ({line.where})" for line in found.loose])
    if first.text.startswith(("-e", "--editable", ".", "/", "file:")):
        remedy = (
            "take the line out (a project beside the list is installed by itself), or make it a "
            "uv project: `uv init --bare && uv add -r " + inside + "`, and commit uv.lock"
        )
    else:
        made_from = posixpath.splitext(inside)[0] + ".in"
        command = COMPILE.format(made_from, inside)
        remedy = f"run `git mv {inside} {made_from} && {command}`, and commit both"
    return RefusalError(
        f"{path} does not pin every package by hash: {said}.", "app_version", remedy
    )


def nothing(release: Commit | Tree) -> RefusalError:
    """The refusal of a directory that has nothing to install, with those that have."""
    where = sorted(
        {
            posixpath.dirname(path)
            for path in release.names
            if posixpath.basename(path) in LOCKS and "node_modules" not in path
        }
    )
    if has(release, "pyproject.toml") and not where:
        return unlocked(release)
    conda = [name for name in ("environment.yml", "environment.yaml") if has(release, name)]
    what = f" ({conda[0]} is Conda's, and is not read)" if conda else ""
    there = f"there are some in {some(where)}" if where else "a new one is made with `uv lock`"
    return RefusalError(
        "There is no list of packages at the application's top: no uv.lock, poetry.lock, pdm.lock, "
        f"Pipfile.lock or requirements.txt{what}.",
        "app_subdirectory",
        f"set it to the directory that holds one ({there}), or make one from its list of packages: "
        f"`{COMPILE.format('requirements.in', 'requirements.txt')}`",
    )
