"""What to do about an application without a list of exact packages, by what it has."""

import posixpath
from collections.abc import Sequence
from typing import TypeAlias

from packaging.specifiers import SpecifierSet

from pergola_control.programs import some
from pergola_control.refusal import RefusalError
from pergola_control.source.commits import Commit
from pergola_control.source.directories import Tree
from pergola_control.source.lists import Flat, flat
from pergola_control.source.projects import LOCKS, project_of, requirement_names, table
from pergola_control.source.pythons import PATCHES, above_it, asked
from pergola_control.source.settings import Settings

COMPILE = "uv pip compile {} --universal --python-version {} --generate-hashes -o {}"
USUAL = "3.12"  # all supported systems but Debian 12 have this or a newer one
# What the makers of other lists call what they are made from, and how each is locked.
WITHOUT_LOCK = (("Pipfile", "pipenv lock", "Pipfile.lock"),)


LISTS = (*LOCKS, "requirements.txt")
Release: TypeAlias = Commit | Tree


def no_lock(
    release: Release, settings: Settings, own: Flat | None, others: Sequence[str]
) -> RefusalError:
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
        return loose(own, release, settings)
    for name, command, lock in WITHOUT_LOCK:
        if has(release, name):
            return missing(release, name, "has no lock", command, lock)
    for name in ("requirements.in", "setup.py", "setup.cfg"):
        if has(release, name):
            command = compiling(name, "requirements.txt", release, settings)
            return missing(release, name, "has no lock", command, "requirements.txt")
    candidates = [
        one
        for path in release.names
        if posixpath.dirname(path) in (release.directory, directory_of_lists(release))
        and path.endswith(".txt") and "requirements" in path
        and (one := flat(release.read, path)) and one.lines
    ]  # fmt: skip
    if candidates:
        return loose(candidates[0], release, settings)
    return nothing(release, settings)


def directory_of_lists(release: Release) -> str:
    return posixpath.join(release.directory, "requirements")


def has(release: Release, name: str) -> bool:
    return release.read(posixpath.join(release.directory, name)) is not None


def missing(release: Release, name: str, what: str, command: str, lock: str) -> RefusalError:
    return RefusalError(
        f"{posixpath.join(release.directory, name)} {what}.",
        "app_version",
        f"run `{command}`, and commit {lock}",
    )


def unlocked(release: Release) -> RefusalError:
    what = "has no lock: its packages are not pinned"
    return missing(release, "pyproject.toml", what, "uv lock", "uv.lock")


def compiling(source: str, made: str, release: Release, settings: Settings) -> str:
    """The command that makes a list with hashes, for each Python that it may be installed for."""
    return COMPILE.format(source, lowest(release, settings), made)


def lowest(release: Release, settings: Settings) -> str:
    """The lowest minor version that the application may run on, of those that servers have.

    Where nothing names one it is not Debian 12's, which pins made on a newer one often do not fit.
    """
    versions = asked(release, settings)[0].versions
    every = [f"3.{minor}" for minor in (*range(11, 20), 10)] if versions else []
    fits = SpecifierSet(versions).contains
    return next((one for one in every if any(fits(f"{one}.{patch}") for patch in PATCHES)), USUAL)


def loose(found: Flat, release: Release, settings: Settings) -> RefusalError:
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
        command = compiling(made_from, inside, release, settings)
        remedy = f"run `git mv {inside} {made_from} && {command}`, and commit both"
        if has(release, made_from):  # it was made from that, but without hashes
            remedy = f"run `{command}`, and commit {inside}"
    return RefusalError(
        f"{path} does not pin every package by hash: {said}.", "app_version", remedy
    )


def nothing(release: Release, settings: Settings) -> RefusalError:
    """The refusal of a directory that has nothing to install, with those that have."""
    where = sorted(
        {
            posixpath.dirname(path)
            for path in release.names
            if posixpath.basename(path) in LISTS and "node_modules" not in path
        }
    )
    if has(release, "pyproject.toml") and not where:
        return unlocked(release)
    if not where and (overhead := above_app(release)):
        return RefusalError(
            f"There is no list of packages at the application's top; {overhead} is above it.",
            "app_subdirectory",
            f"set it to {posixpath.dirname(overhead)!r}" if "/" in overhead else "leave it out",
        )
    conda = [name for name in ("environment.yml", "environment.yaml") if has(release, name)]
    what = f" ({conda[0]} is Conda's, and is not read)" if conda else ""
    there = f"there are some in {some(where)}" if where else "a new one is made with `uv lock`"
    return RefusalError(
        "There is no list of packages at the application's top: no uv.lock, poetry.lock, pdm.lock, "
        f"Pipfile.lock or requirements.txt{what}.",
        "app_subdirectory",
        f"set it to the directory that holds one ({there}), or make one from its list of packages: "
        f"`{compiling('requirements.in', 'requirements.txt', release, settings)}`",
    )


def above_app(release: Release) -> str:
    """The nearest list of packages above the application, from the repository's top; "" if none."""
    for directory in above_it(release):
        for name in LISTS:
            if release.read(posixpath.join(directory, name)) is not None:
                return posixpath.normpath(posixpath.join(release.subdirectory, directory, name))
    return ""
