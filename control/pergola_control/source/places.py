"""Where an application is in its repository, and how much of that its archive holds.

The list of its packages may be above it (a workspace), or name directories beside it (`../shared`).
"""

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias

from pergola_control.programs import some
from pergola_control.refusal import RefusalError
from pergola_control.source.lists import is_hashed
from pergola_control.source.projects import canonical, lock_of, project_of, table
from pergola_control.source.settings import Settings

Read: TypeAlias = Callable[[str], str | None]


@dataclass(frozen=True)
class Place:
    """`root`: the directory of the repository that is packed. `directory`: the app's, in that."""

    root: str
    directory: str


def place_of(read: Read, subdirectory: str, settings: Settings) -> Place:
    """Where the application is; `read` is given paths from the repository's top."""
    top = lock_directory(read, subdirectory)
    if settings.requirements or top is None:
        refuse_package(settings, "there is no uv.lock")
        return Place(subdirectory, "")
    lock = lock_of(read, top)
    app = subdirectory
    if subdirectory == top or settings.package:
        app = member_directory(read, top, lock, settings)
    within = [top, app, *(posixpath.normpath(posixpath.join(top, one)) for one in paths_of(lock))]
    outside = [one for one in within if one.startswith(("..", "/"))]
    if outside:
        raise RefusalError(
            f"{posixpath.join(top, 'uv.lock')} names what is outside of the source: "
            f"{some(sorted(set(outside)))}.",
            "app_source",
            "bring it into the repository, or publish it as a package, and run `uv lock`",
        )
    root = common(within)
    return Place(root, from_top(posixpath.relpath(app or ".", root or ".")))


def from_top(path: str) -> str:
    """A path in its shortest form; "" for the top."""
    found = posixpath.normpath(path)
    return "" if found == "." else found


def common(paths: Sequence[str]) -> str:
    """The directory that all of some directories are in; "" for the top."""
    parts = [path.split("/") if path not in ("", ".") else [] for path in paths]
    return posixpath.commonpath(["/" + "/".join(part) for part in parts])[1:]


def above(directory: str) -> Iterator[str]:
    """The directories that hold this one, the nearest first."""
    while directory:
        directory = posixpath.dirname(directory)
        yield directory


def lock_directory(read: Read, subdirectory: str) -> str | None:
    """The directory of the uv.lock that holds for an application; None without one."""
    if is_locked(read, subdirectory):
        return subdirectory
    own = read(posixpath.join(subdirectory, "requirements.txt"))
    if own is not None and is_hashed(own):
        return None
    for parent in above(subdirectory):
        if not is_locked(read, parent):
            continue
        workspace = table(project_of(read, parent), "tool", "uv", "workspace")
        path = posixpath.relpath(subdirectory, parent or ".")
        if matches(path, workspace.get("members")) and not matches(path, workspace.get("exclude")):
            return parent
    return None


def is_locked(read: Read, directory: str) -> bool:
    names = ("uv.lock", "pyproject.toml")
    return all(read(posixpath.join(directory, name)) is not None for name in names)


def matches(path: str, patterns: object) -> bool:
    """Whether a member's path is one of those that a workspace names."""
    if not isinstance(patterns, list):
        return False
    forms = [posixpath.normpath(str(pattern)) for pattern in patterns]
    return any(
        fnmatchcase(path, form) and (path.count("/") == form.count("/") or "**" in form)
        for form in forms
    )


def local_path(package: Mapping[str, object]) -> str | None:
    """The path of a package of the repository itself, from its lock's directory."""
    source = package.get("source")
    if not isinstance(source, Mapping):
        return None
    kinds = ("editable", "virtual", "directory", "path")
    return next((str(source[kind]) for kind in kinds if kind in source), None)


def packages_of(lock: Mapping[str, object]) -> list[Mapping[str, object]]:
    found = lock.get("package")
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def paths_of(lock: Mapping[str, object]) -> Iterator[str]:
    """What a lock names of the repository itself: directories, those of files among them."""
    for package in packages_of(lock):
        path = local_path(package)
        if path is not None:
            is_file = "path" in table(package, "source")
            yield posixpath.dirname(path) if is_file else path


def members_of(lock: Mapping[str, object]) -> dict[str, str]:
    """The members of a workspace: name -> directory, from the workspace's own."""
    named = table(lock, "manifest").get("members")
    if not isinstance(named, list):
        return {}
    found = {str(one.get("name")): local_path(one) for one in packages_of(lock)}
    return {name: path for name in map(str, named) if (path := found.get(name)) is not None}


def member_directory(read: Read, top: str, lock: Mapping[str, object], settings: Settings) -> str:
    """The directory of the member that is the application, or the workspace's own."""
    members = members_of(lock)
    if settings.package:
        path = members.get(canonical(settings.package))
        if path is None:
            refuse_package(settings, f"the workspace has {some(sorted(members)) or 'no members'}")
            path = ""
        return from_top(posixpath.join(top, path))
    project = project_of(read, top)
    if not members or has_module(read, top, settings.module):
        return top
    fit = [
        name
        for name, path in members.items()
        if path != "." and has_module(read, posixpath.join(top, path), settings.module)
    ]
    own = canonical(str(table(project, "project").get("name", "")))
    if own and (not fit or set(fit) & needed(lock, own)):
        return top
    if len(fit) == 1:
        return posixpath.join(top, members[fit[0]])
    if own:
        return top
    raise RefusalError(
        f"{posixpath.join(top, 'pyproject.toml')} is a workspace, and "
        f"{'several of its members have' if fit else 'none of its members has'} the module "
        f"{settings.module!r}: {some(sorted(fit or members))}.",
        "app_package",
        f"set it to the member that is the application, such as app_package: "
        f"{sorted(fit or members)[0]}",
    )


def needed(lock: Mapping[str, object], name: str) -> set[str]:
    """The packages that one needs, by their names, with what these need."""
    needs = {}
    for package in packages_of(lock):
        listed = package.get("dependencies")
        entries = listed if isinstance(listed, list) else []
        needs[str(package.get("name"))] = {str(one.get("name")) for one in entries}
    found: set[str] = set()
    pending = [name]
    while pending:
        for one in needs.get(pending.pop(), set()) - found:
            found.add(one)
            pending.append(one)
    return found


def has_module(read: Read, directory: str, module: str) -> bool:
    """Whether a directory has a module of a dotted name, in itself or in `src`."""
    if not module:
        return False
    path = module.replace(".", "/")
    forms = (f"{path}.py", f"{path}/__init__.py", f"src/{path}.py", f"src/{path}/__init__.py")
    return any(read(posixpath.join(directory, form)) is not None for form in forms)


def refuse_package(settings: Settings, why: str) -> None:
    """A refusal if a member of a workspace is named where there is no such."""
    if settings.package:
        raise RefusalError(
            f"app_package {settings.package!r} is no member of a uv workspace: {why}.",
            "app_package",
            "set it to a member's name, or leave it out",
        )
