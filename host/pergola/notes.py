"""What several nouns read, or one leaves for another: such a document stands here once."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pergola.documents import Form

# -- services that run what an update has replaced: upgrade notes them, status tells of them -------


@dataclass(frozen=True)
class Replaced:
    """The services that should be restarted, each with the run that it was noted in."""

    services: dict[str, str]


REPLACED_FILE = Path("/run/pergola/replaced.json")
REPLACED = Form(Replaced)


# -- a restore at work, or one that was cut off: backup notes it, status tells of it ---------------


@dataclass(kw_only=True)
class Restore:
    """What others ask of one.

    `kind`: restore or undo; `words`: to what; `began`: as `people.stamp` says it; `says`: why it
    could not be brought to its end, and what to do.
    """

    kind: str
    words: str
    began: str
    says: str = ""


RESTORE_FILE = Path("/var/lib/pergola/restore.json")
# Applications here are closed meanwhile, as another host restores their database.
FENCE_FILE = Path("/var/lib/pergola/fence.json")
RESTORE = Form(Restore)


# -- a host's backups: role backup writes it, backup goes by it, status asks the repositories ------


@dataclass(frozen=True)
class BackupRepository:
    """A repository of pgBackRest: its number, where it is, whether this host backs up to it.

    One in this host's file system has a path.
    """

    number: int
    name: str
    local: bool
    path: str = ""


@dataclass(frozen=True)
class BackupSettings:
    """The stanza, PostgreSQL's major version, and the repositories.

    `protected_days`: how long what vanishes from another server's copies can be put back; `files`:
    where that server has its backups of applications' files.
    """

    stanza: str
    version: int
    repositories: tuple[BackupRepository, ...]
    protected_days: int = 7
    files: str = ""

    @property
    def local(self) -> list[BackupRepository]:
        """The repositories that this host makes backups to; others fetch theirs."""
        return [repository for repository in self.repositories if repository.local]

    def name_of(self, number: int) -> str:
        """The name of a repository."""
        return next(one.name for one in self.repositories if one.number == number)


BACKUP_FILE = Path("/etc/pergola/backup.json")
BACKUP = Form(BackupSettings)


# -- files of applications: backup has some of them, app and status tell of the others -------------

# It is enabled by role backup, and only where backups are made.
FILES_TIMER = Path("/etc/systemd/system/timers.target.wants/pergola-backup-files.timer")


def in_no_backup(app: str, places: Iterable[str]) -> list[str]:
    """Those of an application's directories of which this host makes no backup."""
    backed_up = [f"/srv/{app}/shared"] if FILES_TIMER.is_symlink() else []
    return [place for place in places if place not in backed_up]
