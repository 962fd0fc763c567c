"""What an application is installed from: a list of exact packages, in the form that servers know.

Servers know two: uv.lock, and one list of requirements with hashes. Here every other form becomes
the second.
"""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from pergola_control.programs import some
from pergola_control.refusal import RefusalError
from pergola_control.source import advice, exports
from pergola_control.source.commits import Commit
from pergola_control.source.directories import Tree
from pergola_control.source.lists import Flat, flat
from pergola_control.source.places import above, is_locked, packages_of
from pergola_control.source.projects import (
    canonical,
    extras_of,
    groups_of,
    lock_of,
    project_of,
    refuse_unknown,
    requirement_names,
    table,
)
from pergola_control.source.settings import Settings

FLAT = ".pergola/requirements.txt"
Release: TypeAlias = Commit | Tree


@dataclass(frozen=True)
class Form:
    """`installer`: uv-lock or requirements. `lock`: the list's path in the archive.

    `files` are added to the archive. `said`: what the list was made from, for the plan.
    """

    installer: str
    lock: str
    files: Mapping[str, str] = field(default_factory=dict)
    said: str = ""
    needs: tuple[str, ...] = ()  # programs that servers need to install it
    exported: bool = False  # by the tool whose project it is: what builds that is no part of it


def form_of(release: Release, settings: Settings) -> Form:
    """What servers install; a refusal of an application whose packages are not pinned by hash."""
    if settings.requirements:
        return named(release, settings)
    if locked_in(release) is not None:
        return of_uv(release, settings)
    directory = release.directory
    own = flat(release.read, posixpath.join(directory, "requirements.txt"))
    if own and own.lines and not own.loose:
        return of_list(release, own, settings)
    exported = exports.exported(release, settings)
    if exported:
        content, lock = exported
        return Form("requirements", FLAT, {FLAT: content}, lock, exported=True)
    others = [one for one in lists_of(release) if one.lines and not one.loose]
    if len(others) == 1:
        return of_list(release, others[0], settings)
    raise advice.no_lock(release, settings, own, [one.paths[0] for one in others])


def named(release: Release, settings: Settings) -> Form:
    """The list that a setting names."""
    path = posixpath.normpath(posixpath.join(release.directory, settings.requirements))
    found = flat(release.read, path)
    if found is None:
        there = some([one.paths[0] for one in lists_of(release)])
        raise RefusalError(
            f"There is no {settings.requirements} in the release"
            f"{'; there is ' + there if there else ''}.",
            "app_requirements",
            "set it to a list of the release, from app_subdirectory",
        )
    if found.loose or not found.lines:
        raise advice.loose(found, release, settings)
    return of_list(release, found, settings)


def of_list(release: Release, found: Flat, settings: Settings) -> Form:
    """A hashed list: as it is, or as one with those that it names."""
    if settings.extras or settings.groups:
        raise RefusalError(
            f"{found.paths[0]} has no extras and no groups.",
            "app_extras" if settings.extras else "app_groups",
            "leave them out: a list of requirements holds what was chosen when it was made "
            "(uv pip compile --extra, --group)",
        )
    content = release.read(found.paths[0]) or ""
    whole = len(found.paths) == 1 and "\r" not in content and found.paths[0] in release.plain
    if whole and not content.startswith("\ufeff"):
        return Form("requirements", found.paths[0])
    return Form("requirements", FLAT, {FLAT: found.text}, " with ".join(found.paths))


def lists_of(release: Release) -> list[Flat]:
    """The lists of requirements beside the one called requirements.txt."""
    found = []
    broken: list[RefusalError] = []
    for path in release.names:
        inside = posixpath.relpath(path, release.directory or ".")
        directory, name = posixpath.split(inside)
        fits = directory == "requirements" or (not directory and "requirements" in name)
        if fits and name.endswith(".txt") and inside != "requirements.txt":
            try:
                one = flat(release.read, path)
            except RefusalError as error:
                broken.append(error)
            else:
                found += [one] if one else []
    if broken:  # it may be the one that is meant
        whole = [one.paths[0] for one in found if one.lines and not one.loose]
        inside = posixpath.relpath(whole[0], release.directory or ".") if whole else "PATH"
        remedy = f"or name the list that servers install: app_requirements: {inside}"
        raise RefusalError(broken[0].what, broken[0].setting, f"{broken[0].remedy}; {remedy}")
    # One that another takes in is not a choice of its own.
    inner = {path for one in found for path in one.paths[1:]}
    return [one for one in found if one.paths[0] not in inner]


def locked_in(release: Release) -> str | None:
    """The directory of the release that has its uv.lock."""
    directories = (release.directory, *above(release.directory))
    return next((one for one in directories if is_locked(release.read, one)), None)


def of_uv(release: Release, settings: Settings) -> Form:
    """A lock of uv's, with the extras and groups that the settings ask for."""
    top = locked_in(release) or ""
    project, lock = project_of(release.read, release.directory), lock_of(release.read, top)
    refuse_unknown("app_extras", "extra", settings.extras, extras_of(project))
    refuse_unknown("app_groups", "group", settings.groups, groups_of(project))
    refuse_stale(release, project, lock)
    from_git = any("git" in table(package, "source") for package in packages_of(lock))
    path = posixpath.join(top, "uv.lock")
    return Form("uv-lock", path, needs=("git",) if from_git else ())


def refuse_stale(
    release: Release, project: Mapping[str, object], lock: Mapping[str, object]
) -> None:
    """Refuse a uv.lock that does not know what pyproject.toml asks for, or knows of more.

    Only names are compared: uv itself does the rest on the server, before anything is switched.
    """
    name = canonical(str(table(project, "project").get("name", "")))
    listed = table(project, "project").get("dependencies", [])
    dynamic = table(project, "project").get("dynamic", [])
    own = next((one for one in packages_of(lock) if one.get("name") == name), None)
    if own is None or (isinstance(dynamic, list) and "dependencies" in dynamic):
        return
    known = table(own, "metadata").get("requires-dist")
    entries = known if isinstance(known, list) else []
    # Those of extras have a marker that says so.
    locked = {str(one["name"]) for one in entries if "extra ==" not in str(one.get("marker"))}
    asked = requirement_names(listed)
    if known is not None or not own.get("dependencies"):
        differing = sorted(asked ^ locked)
        if differing:
            where = "is not in" if differing[0] in asked else "is still in"
            raise RefusalError(
                f"uv.lock is older than {posixpath.join(release.directory, 'pyproject.toml')}: "
                f"{differing[0]} {where} the lock.",
                "app_version",
                "run `uv lock`, and commit uv.lock",
            )
