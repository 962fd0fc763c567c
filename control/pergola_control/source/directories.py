"""A directory's files as they are, whether in git or not."""

import contextlib
import os
import posixpath
import shutil
from dataclasses import dataclass
from pathlib import Path

from pergola_control.git import git
from pergola_control.programs import some
from pergola_control.refusal import RefusalError
from pergola_control.source.files import plain_paths, tree_digest
from pergola_control.source.submodules import not_brought, staged

# Left out of a directory that is not in git: made by programs, and never valid on another machine.
MACHINE_MADE = frozenset(
    {".git", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".venv", "__pycache__"}
)


@dataclass(frozen=True)
class Tree:
    """A directory's files as they are, whether in git or not."""

    root: Path
    paths: tuple[str, ...]
    skipped: tuple[str, ...]
    commit: str
    describe: str
    date: str = ""
    time: int = 0

    @property
    def short(self) -> str:
        """The first part of the release id: `t` and 11 characters."""
        return "t" + self.commit.removeprefix("tree-")[:11]

    def read(self, name: str) -> str | None:
        """The text of a file at the top of the release, None if there is none."""
        if name not in self.paths:
            return None
        return (self.root / name).read_text(errors="replace")

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


def one_tree(root: Path, subdirectory: str, in_git: bool) -> Tree:
    """A directory's files as they are; a refusal if it does not exist."""
    top = root / subdirectory
    if not top.is_dir():
        raise RefusalError(
            f"{root} has no directory {subdirectory!r}.",
            "app_subdirectory",
            "set it to the directory of the app's pyproject.toml",
        )
    paths, skipped = listed_paths(top) if in_git else (plain_paths(top, MACHINE_MADE), ())
    describe = f"the files of {top.name} as they are"
    return Tree(top, paths, skipped, tree_digest(top, paths), describe)
