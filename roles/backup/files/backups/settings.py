"""What a host's backups are, as role backup wrote it: __backup_settings in JSON.

/etc/pergola/backup.json is the backups of the host's own PostgreSQL; /etc/pergola/backup.d/ has
a file for each other server whose backups it keeps.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backups.system import BackupError

FILE = Path("/etc/pergola/backup.json")
KEPT = Path("/etc/pergola/backup.d")


@dataclass(frozen=True)
class Repository:
    """A repository of pgBackRest: its number, where it is, whether this host backs up to it.

    One in this host's file system has a path.
    """

    number: int
    name: str
    local: bool
    path: str = ""


@dataclass(frozen=True)
class Settings:
    """The stanza, PostgreSQL's major version, and the repositories."""

    stanza: str
    version: int
    repositories: tuple[Repository, ...]

    @classmethod
    def read(cls, file: Path = FILE) -> "Settings":
        """BackupError where role backup has not been yet."""
        try:
            found: dict[str, Any] = json.loads(file.read_text())
        except FileNotFoundError:
            raise BackupError(f"{file} is missing: run site.yml first") from None
        repositories = tuple(Repository(**one) for one in found.pop("repositories"))
        return cls(**found, repositories=repositories)

    @classmethod
    def all(cls) -> list["Settings"]:
        """Those of the host's own PostgreSQL, or of the servers whose backups it keeps."""
        kept = [cls.read(file) for file in sorted(KEPT.glob("*.json"))]
        return kept or [cls.read()]

    @classmethod
    def kept(cls, stanza: str) -> "Settings":
        """Those of another server whose backups this host keeps."""
        return cls.read(KEPT / f"{stanza}.json")

    @property
    def local(self) -> list[Repository]:
        """The repositories that this host makes backups to; others fetch theirs."""
        return [repository for repository in self.repositories if repository.local]
