"""What a host's backups are, as role backup wrote it: __backup_settings in JSON.

/etc/pergola/backup.json is the backups of the host's own PostgreSQL; /etc/pergola/backup.d/ has
a file for each other server whose backups it keeps.
"""

from pathlib import Path

from pergola import notes
from pergola.errors import PergolaError
from pergola.postgres import Cluster

FILE = notes.BACKUP_FILE
KEPT = Path("/etc/pergola/backup.d")
FORM = notes.BACKUP
Repository = notes.BackupRepository
Settings = notes.BackupSettings


def of_this_host(file: Path | None = None) -> Settings:
    """Those of the host's own PostgreSQL; PergolaError where role backup has not been yet."""
    found = FORM.read(file or FILE)
    if found is None:
        raise PergolaError(f"{file or FILE} is missing", hint="run site.yml first")
    return found


def are_made() -> bool:
    """Whether the host backs its own PostgreSQL up: role backup says so to PostgreSQL as well."""
    found = FORM.read(FILE)
    file = Cluster(int(found.version)).conf_d / "pergola-backup.conf" if found else None
    return file is not None and file.exists() and "archive_mode = on" in file.read_text()


def of_server(stanza: str) -> Settings:
    """Those of another server whose backups this host keeps."""
    return of_this_host(KEPT / f"{stanza}.json")


def all_kept() -> list[Settings]:
    return [of_this_host(file) for file in sorted(KEPT.glob("*.json"))]


def of_every_server() -> list[Settings]:
    """Those of the host's own PostgreSQL, or of the servers whose backups it keeps."""
    return all_kept() or [of_this_host()]


def of_others() -> list[Settings]:
    """Those of the servers whose backups this host keeps; PergolaError: of none."""
    if not (kept := all_kept()):
        raise PergolaError("this host keeps no copies of other servers' backups")
    return kept
