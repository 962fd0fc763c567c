"""What this host's backups are: role backup's __backup_settings in /etc/pergola/backup.json."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backups.system import BackupError

FILE = Path("/etc/pergola/backup.json")


@dataclass(frozen=True)
class Repository:
    """A repository of pgBackRest: its number, where it is, whether this host backs up to it."""

    number: int
    name: str
    local: bool


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

    @property
    def local(self) -> list[Repository]:
        """The repositories that this host makes backups to; others fetch theirs."""
        return [repository for repository in self.repositories if repository.local]
