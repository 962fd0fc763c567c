"""One commit of a repository, with its submodules."""

import os
import posixpath
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

from pergola_control.git import file_of, git, git_raw
from pergola_control.programs import some, text
from pergola_control.refusal import RefusalError
from pergola_control.source.files import LFS_POINTER, refuse_pointers

LINK = "120000"
LFS_LOOKED_AT = 200  # of a repository with many large files the first are enough


@dataclass(frozen=True)
class Commit:
    """One commit of a repository, seen from a subdirectory of it ("" for all of it).

    `directory`: where the application is in that.
    """

    repository: Path
    commit: str
    subdirectory: str
    describe: str
    date: str
    time: int
    directory: str = ""
    inside: tuple[tuple[str, "Commit"], ...] = ()  # submodules, by their paths in the release
    undeclared: tuple[str, ...] = ()  # what looks like one, but .gitmodules does not have

    @property
    def short(self) -> str:
        """The first part of the release id: 12 characters."""
        return self.commit[:12]

    def read(self, name: str) -> str | None:
        """The text of a file, by its path from the release's top; None if there is none."""
        path = posixpath.normpath(posixpath.join(self.subdirectory, name))
        return file_of(self.repository, self.commit, path)

    @cached_property
    def listed(self) -> dict[str, str]:
        """The mode of each file and link of the release, without those of submodules."""
        tree = f"{self.commit}:{self.subdirectory}"
        entries = git(self.repository, "ls-tree", "-r", "-z", tree).split("\0")
        split = (entry.partition("\t") for entry in entries if entry)
        return {path: head.partition(" ")[0] for head, _, path in split}

    @property
    def names(self) -> list[str]:
        """The paths of its files, from the release's top."""
        return list(self.listed)

    def has_directory(self, path: str) -> bool:
        """Whether there is a directory with a file in it."""
        submodules = (path for path, _ in self.inside)
        return any(f"{one}/".startswith(f"{path}/") for one in (*self.names, *submodules))

    @property
    def plain(self) -> set[str]:
        """The paths of its files that are no links."""
        return {path for path, mode in self.listed.items() if mode != LINK}

    def refuse_pointers(self) -> None:
        """Refuse what is only a pointer of Git LFS, if an archive of the commit would hold it."""
        words = f"^{LFS_POINTER.decode()}"
        tree = f"{self.commit}:{self.subdirectory}"
        done = git_raw(self.repository, "grep", "--files-with-matches", "-z", "-e", words, tree)
        named = [line.removeprefix(f"{tree}") for line in os.fsdecode(done.stdout).split("\0")]
        paths = [posixpath.join(self.subdirectory, line.lstrip(":/")) for line in named if line]
        if paths:
            with tempfile.TemporaryDirectory(prefix="pergola-") as target:
                self.extract(Path(target), paths[:LFS_LOOKED_AT])
                refuse_pointers(Path(target))
        for _, submodule in self.inside:
            submodule.refuse_pointers()

    def copy_to(self, target: Path) -> None:
        """Extract the commit's files into an empty directory."""
        self.extract(target, [self.subdirectory] if self.subdirectory else [])
        for path, submodule in self.inside:
            (target / path).mkdir(parents=True, exist_ok=True)
            submodule.copy_to(target / path)

    def extract(self, target: Path, paths: Sequence[str]) -> None:
        """Extract some paths, by the repository's top, or all, as git archives them."""
        with tempfile.TemporaryFile() as stream:
            done = git_raw(
                self.repository,
                "archive",
                "--format=tar",
                # Of the commit, not of a directory's tree: .gitattributes above that count as well.
                self.commit,
                *("--", *(f":(literal){path}" for path in paths)),
                stdout=stream,
            )
            if done.returncode:
                raise RefusalError(
                    f"git archive failed: {text(done.stderr)}",
                    "app_version",
                    "fix what git says (`git fsck` in the repository finds damage)",
                )
            stream.seek(0)
            extract(stream, target, self.subdirectory)

    def warnings(self) -> list[str]:
        """What the commit names but an archive of it does not hold."""
        found = [] if not self.undeclared else [
            "Repositories inside the repository that .gitmodules does not name are not in this "
            f"release: {some(self.undeclared)}."
        ]  # fmt: skip
        return found + [warning for _, inside in self.inside for warning in inside.warnings()]


def extract(stream: IO[bytes], target: Path, top: str = "") -> None:
    """Extract git's tar, or one directory of it; a refusal for names that could lead elsewhere."""
    with tarfile.open(fileobj=stream) as archive:
        members = archive.getmembers()
        links = {member.name for member in members if member.issym()}
        for member in members:
            parts = member.name.split("/")
            below = {"/".join(parts[:i]) for i in range(1, len(parts))}
            if member.name.startswith("/") or ".." in parts or below & links:
                raise RefusalError(
                    f"The commit holds an impossible path: {member.name!r}.",
                    "app_version",
                    "look at that commit before using it: git itself does not write such paths",
                )
        if top:
            members = [member for member in members if member.name.startswith(f"{top}/")]
            for member in members:
                member.name = member.name.removeprefix(f"{top}/")
        # The members were checked above; older 3.11 releases have no filters.
        options = {"filter": "fully_trusted"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(target, members, **options)  # type: ignore[arg-type] # noqa: S202
