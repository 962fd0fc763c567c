"""The files of a directory: which there are, and what they hold."""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from pergola_control.programs import some
from pergola_control.refusal import RefusalError

# Those that some program makes without a mark of its own in them.
MACHINE_MADE = frozenset({".git", ".venv", "__pycache__", "node_modules"})
LFS_POINTER = b"version https://git-lfs."


def walk(root: Path) -> Iterator[Path]:
    """Everything below a directory; links are not followed."""
    for directory, names, files in os.walk(root):
        yield from (Path(directory, name) for name in (*names, *files))


def plain_paths(root: Path, keep: str = "") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Every file and link below a directory, and the directories that programs made; sorted.

    What lies in such a directory is left out, unless `keep` is there, the path of something named.
    """
    found, left_out = [], []
    for directory, names, files in os.walk(root):
        inside = {name: (Path(directory) / name).relative_to(root).as_posix() for name in names}
        made = [
            name
            for name, path in inside.items()
            if is_machine_made(Path(directory, name)) and not f"{keep}/".startswith(f"{path}/")
        ]
        left_out += [inside[name] for name in made]
        names[:] = [name for name in names if name not in made]
        links = [name for name in names if (Path(directory) / name).is_symlink()]
        others = [name for name in files if name != ".git"]  # a submodule's or a worktree's
        found += [Path(directory, name).relative_to(root).as_posix() for name in (*others, *links)]
    return tuple(sorted(found)), tuple(sorted(left_out))


def is_machine_made(directory: Path) -> bool:
    """Whether a program made a directory for this machine: an environment, packages, a cache."""
    if directory.is_symlink():
        return False
    marks = ("pyvenv.cfg", "CACHEDIR.TAG")
    return directory.name in MACHINE_MADE or any((directory / mark).exists() for mark in marks)


def all_paths(root: Path) -> tuple[str, ...]:
    """Every file and link below a directory."""
    paths = (path for path in walk(root) if path.is_symlink() or not path.is_dir())
    return tuple(path.relative_to(root).as_posix() for path in paths)


def machine_made(root: Path) -> set[Path]:
    """The outermost directories below one that programs made."""
    found = set()
    for directory, names, _ in os.walk(root):
        made = {name for name in names if is_machine_made(Path(directory, name))}
        names[:] = [name for name in names if name not in made]
        found |= {Path(directory, name) for name in made}
    return found


def tree_digest(root: Path, paths: Sequence[str]) -> str:
    """`tree-` and the SHA-256 over every path, its kind, and its content."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        kind, content = fingerprint(root / path)
        digest.update(b"%s\0%s\0%s\0" % (os.fsencode(path), kind.encode(), content.encode()))
    return f"tree-{digest.hexdigest()}"


def fingerprint(path: Path) -> tuple[str, str]:
    """A file's kind (link, x or file) and the digest of its content or target."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return "link", hashlib.sha256(os.fsencode(path.readlink())).hexdigest()
    if not stat.S_ISREG(status.st_mode):
        raise special_file(path.name)
    with path.open("rb") as file:
        return kind_of(status.st_mode), hashlib.file_digest(file, "sha256").hexdigest()


def kind_of(mode: int) -> str:
    """Only whether the owner may execute a file is kept of its mode."""
    return "x" if mode & stat.S_IXUSR else "file"


def special_file(path: str) -> RefusalError:
    """The refusal of a socket, pipe or device."""
    return RefusalError(
        f"{path} is not a file, directory or link: an archive cannot hold it.",
        "app_source",
        "remove it (or let app_build_command remove it)",
    )


def is_pointer(path: Path) -> bool:
    """Whether a file only says which large file Git LFS has in its place."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_size >= 1024:
        return False
    with path.open("rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER


def refuse_pointers(root: Path, paths: Sequence[str] | None = None) -> None:
    """Refuse files below a directory, or some of them, that are only pointers to large files."""
    if paths is None:
        paths = [path.relative_to(root).as_posix() for path in walk(root)]
    found = [path for path in paths if is_pointer(root / path)]
    if found:
        raise pointers_only(sorted(found))


def pointers_only(paths: Sequence[str]) -> RefusalError:
    return RefusalError(
        f"These files are only Git LFS pointers, not their content: {some(paths)}.",
        "app_source",
        "install git-lfs here, run `git lfs install && git lfs pull` in a clone and set app_source "
        "to that; or keep them out of releases (export-ignore in .gitattributes)",
    )
