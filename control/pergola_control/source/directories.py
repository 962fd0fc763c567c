"""A directory's files as they are, whether in git or not."""

import contextlib
import os
import posixpath
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pergola_control.git import git
from pergola_control.programs import some
from pergola_control.refusal import RefusalError
from pergola_control.source.files import plain_paths, tree_digest
from pergola_control.source.places import place_of
from pergola_control.source.settings import Settings
from pergola_control.source.submodules import not_brought, staged

# Left out of a directory that is not in git: made by programs, and never valid on another machine.
MACHINE_MADE = frozenset(
    {".git", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".venv", "__pycache__"}
)


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

    @property
    def plain(self) -> set[str]:
        """The paths of its files that are no links."""
        return {path for path in self.paths if not (self.root / path).is_symlink()}

    def copy_to(self, target: Path) -> None:
        """Copy the files into an empty directory; a refusal if they changed meanwhile."""
        for path in self.paths:
            copy = target / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # the comparison below tells
                shutil.copy2(self.root / path, copy, follow_symlinks=False)
        if tree_digest(target, plain_paths(target, frozenset())) != self.commit:
            raise RefusalError(
                f"Files of {self.root} changed while they were copied.",
                "app_source",
                "run again when nothing writes there, or commit and deploy the commit",
            )

    def warnings(self) -> list[str]:
        """What the directory holds but the release does not."""
        if not self.skipped:
            return []
        return [f"Repositories inside the directory are not in this release: {some(self.skipped)}."]


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
    paths, skipped = listed_paths(root) if in_git else (plain_paths(root, MACHINE_MADE), ())
    describe = f"the files of {(top / subdirectory).name} as they are"
    digest = tree_digest(root, paths)
    changed = not in_git or bool(git(root, "status", "--porcelain", "--", ".").strip())
    return Tree(
        *(top, place.root, place.directory, paths, skipped, digest, describe), is_changed=changed
    )
