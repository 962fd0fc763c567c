"""A directory's files as they are, whether in git or not."""

import contextlib
import os
import posixpath
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pergola_control.git import git, git_raw
from pergola_control.programs import some
from pergola_control.refusal import RefusalError
from pergola_control.source.files import all_paths, plain_paths, refuse_pointers, tree_digest
from pergola_control.source.places import place_of
from pergola_control.source.settings import Settings
from pergola_control.source.submodules import not_brought, staged


@dataclass(frozen=True)
class Tree:
    """A directory's files as they are, whether in git or not.

    `subdirectory`: what of `top` is the release. `directory`: where the application is in that.
    """

    top: Path
    subdirectory: str
    directory: str
    paths: tuple[str, ...]
    skipped: tuple[str, ...]
    commit: str
    describe: str
    date: str = ""
    time: int = 0
    is_changed: bool = True  # differs from the commit that is checked out
    made: tuple[str, ...] = ()  # directories that programs made: not in the release

    @property
    def short(self) -> str:
        """The first part of the release id: `t` and 11 characters."""
        return "t" + self.commit.removeprefix("tree-")[:11]

    @property
    def root(self) -> Path:
        """The release's own directory."""
        return self.top / self.subdirectory

    def read(self, name: str) -> str | None:
        """The text of a file, by its path from the release's top; None if there is none."""
        if name in self.paths or name.startswith(".."):
            return text_below(self.top, posixpath.join(self.subdirectory, name))
        return None

    @property
    def names(self) -> list[str]:
        """The paths of its files, from the release's top."""
        return list(self.paths)

    def has_directory(self, path: str) -> bool:
        """Whether there is a directory with a file in it."""
        return any(f"{one}/".startswith(f"{path}/") for one in self.paths)

    @property
    def plain(self) -> set[str]:
        """The paths of its files that are no links."""
        return {path for path in self.paths if not (self.root / path).is_symlink()}

    def refuse_pointers(self) -> None:
        """Refuse what is only a pointer of Git LFS."""
        with contextlib.suppress(FileNotFoundError):  # they change: copying them tells
            refuse_pointers(self.root, self.paths)

    def copy_to(self, target: Path) -> None:
        """Copy the files into an empty directory; a refusal if they changed meanwhile."""
        for path in self.paths:
            copy = target / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # the comparison below tells
                shutil.copy2(self.root / path, copy, follow_symlinks=False)
        if tree_digest(target, all_paths(target)) != self.commit:
            raise RefusalError(
                f"Files of {self.root} changed while they were copied.",
                "app_source",
                "run again when nothing writes there, or commit and deploy the commit",
            )

    def warnings(self) -> list[str]:
        """What the directory holds but the release does not."""
        common = ("__pycache__", ".git")
        worth_a_word = [path for path in self.made if posixpath.basename(path) not in common]
        kinds = (
            ("Repositories inside the directory are not in this release", self.skipped),
            ("What programs made for this machine is not in this release", worth_a_word),
        )
        return [f"{what}: {some(paths)}." for what, paths in kinds if paths]


def listed_paths(root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What git sees below a directory of a clone: (files and links, repositories inside)."""
    listing = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    links = staged(git(root, "ls-files", "--stage", "-z"))
    paths: list[str] = []
    skipped: list[str] = []
    for path in sorted(set(listing.split("\0")) - {""}):
        if path in links and not (root / path / ".git").exists():
            raise not_brought(root, path)
        if path in links:
            for found, names in zip((paths, skipped), listed_paths(root / path), strict=True):
                found += [posixpath.join(path, name) for name in names]
        elif (root / path).is_dir() and not (root / path).is_symlink():
            skipped.append(path.rstrip("/"))
        elif os.path.lexists(root / path):  # a tracked file may be gone
            paths.append(path)
    return tuple(paths), tuple(skipped)


def named_path(directory: str, path: str) -> str:
    """The path of a setting, from the release's top."""
    found = posixpath.normpath(posixpath.join(directory, path)) if path else ""
    return "" if found == "." else found


def static_path(directory: str, settings: Settings) -> str:
    """The path of app_static_dir from the release's top; a refusal of one that is not in it."""
    path = named_path(directory, settings.static_dir)
    if path.startswith("/") or path.split("/")[0] == "..":
        raise outside(settings)
    return path


def code_below(directory: str, names: Iterable[str]) -> Iterator[str]:
    """The Python modules below a directory, "" for all; npm's packages have some of their own."""
    for name in names:
        is_own = name.endswith(".py") and "node_modules" not in name.split("/")
        if is_own and (not directory or name.startswith(f"{directory}/")):
            yield name


def refuse_code(directory: str, settings: Settings, names: Iterable[str]) -> None:
    """Refuse an app_static_dir with Python modules: Caddy would publish their source."""
    static = static_path(directory, settings)
    found = sorted(code_below(static, names)) if settings.static_dir else []
    if found:
        given = posixpath.normpath(settings.static_dir)
        inside = posixpath.join("" if given == "." else given, "static")
        raise RefusalError(
            f"Caddy would publish source code: {settings.static_dir!r} has Python modules in it: "
            f"{some(found)}.",
            "app_static_dir",
            f"set it to a directory with static files alone, such as app_static_dir: {inside}",
        )


def outside(settings: Settings) -> RefusalError:
    return RefusalError(
        f"{settings.static_dir!r} is not inside the release.",
        "app_static_dir",
        "set it to a path from app_subdirectory",
    )


def not_ignored(root: Path, paths: tuple[str, ...]) -> tuple[str, ...]:
    """The paths without those that .gitattributes keeps out of archives, as for a commit."""
    above = {
        "/".join(parts[:count])
        for parts in (path.split("/") for path in paths)
        for count in range(1, len(parts) + 1)
    }
    directories = {f"{path}/" for path in above - set(paths)}  # `docs/` names no file
    asked = "\0".join(sorted(above | directories)).encode(errors="surrogateescape")
    done = git_raw(root, "check-attr", "--stdin", "-z", "export-ignore", stdin=asked)
    fields = os.fsdecode(done.stdout).split("\0")
    ignored = {
        path.rstrip("/")
        for path, value in zip(fields[0::3], fields[2::3], strict=False)
        if value == "set"
    }
    if not ignored:
        return paths
    tops = tuple(f"{path}/" for path in ignored)
    return tuple(path for path in paths if path not in ignored and not path.startswith(tops))


def text_below(top: Path, path: str) -> str | None:
    """The text of a file, through links that do not leave `top`; None if there is none."""
    found = (top / posixpath.normpath(path)).resolve()
    if not found.is_relative_to(top) or not found.is_file():
        return None
    return found.read_text(errors="replace")


def one_tree(top: Path, subdirectory: str, in_git: bool, settings: Settings) -> Tree:
    """A directory's files as they are; a refusal if it does not exist.

    `top`: what may be looked at beside it, such as all of a clone.
    """
    if not (top / subdirectory).is_dir():
        raise RefusalError(
            f"{top} has no directory {subdirectory!r}.",
            "app_subdirectory",
            "set it to the directory of the app's pyproject.toml",
        )
    place = place_of(partial(text_below, top), subdirectory, settings)
    root = top / place.root
    named = static_path(place.directory, settings)
    if not (root / named).resolve().is_relative_to(root.resolve()):  # through a link
        raise outside(settings)
    skipped: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    if in_git:
        paths, skipped = listed_paths(root)
        paths = not_ignored(root, paths)
        # What is named is sent although git ignores it: a build made it.
        below = plain_paths(root / named)[0] if named and (root / named).is_dir() else ()
        paths = tuple(sorted({*paths, *(posixpath.join(named, path) for path in below)}))
    else:
        paths, made = plain_paths(root, named)
    describe = f"the files of {(top / subdirectory).name} as they are"
    digest = tree_digest(root, paths)
    changed = not in_git or bool(git(root, "status", "--porcelain", "--", ".").strip())
    return Tree(
        *(top, place.root, place.directory, paths, skipped, digest, describe),
        is_changed=changed,
        made=made,
    )
