"""The files of an application's repository: a directory as it is, or an address's newest commit."""

import os
import posixpath
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pergola_control.git import commit_of, git_raw, toplevel
from pergola_control.here import ROOT
from pergola_control.programs import text
from pergola_control.refusal import RefusalError
from pergola_control.source.commits import Commit
from pergola_control.source.directories import listed_paths, text_below
from pergola_control.source.files import MACHINE_MADE, all_paths, plain_paths
from pergola_control.source.mirrors import mirrored
from pergola_control.source.settings import Settings, checked, is_url

CACHE = ROOT / ".cache/guess"
# An account of ssh's is part of its address; one of https is somebody's own.
LOGIN = re.compile(r"^(https?://)[^/@\s]+@")
MOST_BYTES = 1_000_000  # of a file that is read; locks are the large ones


@dataclass(frozen=True)
class Repository:
    """`source`, `version`: what app_source and app_version are for a try of it.

    `inside`: which directory of that it is. `origin`, `branch`: where a clone comes from.
    """

    source: str
    version: str
    top: Path
    names: tuple[str, ...]
    inside: str = ""
    origin: str = ""
    branch: str = ""

    def __post_init__(self) -> None:
        """What has a line's end in its name is no file of an application's."""
        object.__setattr__(self, "names", tuple(filter(str.isprintable, self.names)))

    @cached_property
    def known(self) -> frozenset[str]:
        return frozenset(self.names)

    @property
    def name(self) -> str:
        """What it is called: the last part of its address or directory."""
        return re.split(r"[/:]", self.shown.rstrip("/"))[-1].removesuffix(".git")

    @property
    def shown(self) -> str:
        """How a person is told of it."""
        return open_part(posixpath.join(self.source, self.inside) if self.inside else self.source)

    def read(self, path: str) -> str | None:
        """The text of a file, by its path from the top; None if there is none."""
        path = posixpath.normpath(path)
        if path not in self.known or (self.top / path).stat().st_size > MOST_BYTES:
            return None
        return text_below(self.top, path)

    def has(self, *parts: str) -> bool:
        return posixpath.normpath(posixpath.join(*parts)) in self.known

    def below(self, directory: str) -> Iterator[str]:
        """The files inside a directory, "" for all."""
        prefix = f"{directory}/" if directory else ""
        yield from (name for name in self.names if name.startswith(prefix))

    def where(self, path: str, pattern: str) -> str:
        """A file, with the line that has a pattern; without one where none has it."""
        for number, line in enumerate((self.read(path) or "").splitlines(), 1):
            if re.search(pattern, line, re.IGNORECASE):
                return f"{path}:{number}"
        return path


@contextmanager
def opened(source: str) -> Iterator[Repository]:
    """The repository of an address, or a directory; a refusal of what is neither."""
    if is_url(source):
        with tempfile.TemporaryDirectory(prefix="pergola-") as folder:
            yield fetched(source, Path(folder).resolve())
        return
    root = Path(source).expanduser().resolve()
    if not root.is_dir():
        raise RefusalError(
            f"There is no directory {source}.",
            "",
            "name the application's directory or its git address: make try APP=../my-app",
        )
    yield local(root)


def local(root: Path) -> Repository:
    """A directory; of a clone what git does not ignore."""
    top = toplevel(root)
    if top is None:
        names, _ = plain_paths(root)
        return Repository(str(root), "HEAD", root, names)
    names, _ = listed_paths(root)
    names = tuple(name for name in names if not MACHINE_MADE & set(name.split("/")))
    origin = open_part(git_raw(root, "remote", "get-url", "origin").stdout.decode().strip())
    branch = text(git_raw(root, "symbolic-ref", "--quiet", "--short", "HEAD").stdout)
    inside = relative(str(root), str(top.resolve()))
    return Repository(str(top.resolve()), "working-tree", root, names, inside, origin, branch)


def fetched(source: str, folder: Path) -> Repository:
    """An address's default branch, extracted."""
    CACHE.mkdir(parents=True, exist_ok=True)
    settings = checked(Settings("guess", source, "HEAD", "", "", "0" * 8, CACHE))
    settings.room.mkdir(exist_ok=True)
    mirror = mirrored(settings)
    commit = commit_of(mirror, "refs/pergola/head") or ""
    Commit(mirror, commit, "", "", "", 0).copy_to(folder)
    names = tuple(sorted(all_paths(folder)))
    return Repository(source, "HEAD", folder, names, origin=open_part(source))


def open_part(address: str) -> str:
    """An address without a login."""
    return LOGIN.sub(r"\1", address)


def relative(path: str, directory: str) -> str:
    """A path from a directory of the repository; "" for the directory itself."""
    found = os.path.relpath(path or ".", directory or ".")
    return "" if found == "." else found
