"""pgBackRest's repositories."""

import json
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from backups.settings import Settings
from backups.system import BackupError, as_postgres, checked

# pgBackRest's exit code for a stanza that belongs to another cluster, or another major version.
MISMATCH = 28
# The one for a lock that another of its processes holds, and how long that is waited for: WAL is
# sent all the time, and for half a minute where a copy's host does not answer.
LOCKED = 50
SECONDS_FOR_OTHERS = 120
LOOK_EVERY = 0.5
# The annotation of a backup that says which transactions come after it.
NEXT_XID = "next-xid"
MISMATCH_HINT = """\
The repository holds the backups of another cluster under this name ({stanza}). Nothing was changed.
- This server is a new one in the place of a lost one: bring the data back, playbooks/restore.yml.
- PostgreSQL's major version was upgraded by hand: pergola-backup stanza-upgrade
- They are another server's backups: give this one a name of its own, backup_stanza."""

# How pgBackRest begins a report on a storage that speaks S3.
REFUSED = "HTTP request failed with"
REFUSED_HINT = """\
The storage of backup_s3 refuses the requests. Set backup_s3 right and run site.yml again.
- 403: its key, key_secret or region is wrong, or the key may not write to the bucket.
- 404: there is no such bucket."""


@dataclass(frozen=True)
class Backup:
    """One backup set in one repository. Times are seconds since 1970, positions PostgreSQL's."""

    repository: int
    label: str
    kind: str  # full, diff or incr
    began: int
    ended: int
    first_wal: str
    last_wal: str
    last_position: str
    history: int  # pgBackRest's id of the cluster: an upgrade or a new cluster begins another one
    bytes_in_database: int
    bytes_in_repository: int
    damaged: bool
    next_xid: int | None  # when it had ended; None: nobody noted it

    @property
    def timeline(self) -> int:
        return int(self.last_wal[:8], 16)

    @classmethod
    def of(cls, found: dict[str, Any]) -> "Backup":
        """From an entry of `pgbackrest info --output=json`."""
        return cls(
            repository=found["database"]["repo-key"],
            label=found["label"],
            kind=found["type"],
            began=found["timestamp"]["start"],
            ended=found["timestamp"]["stop"],
            first_wal=found["archive"]["start"],
            last_wal=found["archive"]["stop"],
            last_position=found["lsn"]["stop"],
            history=found["database"]["id"],
            bytes_in_database=found["info"]["size"],
            bytes_in_repository=found["info"]["repository"]["delta"],
            damaged=bool(found.get("error")),
            next_xid=int(xid) if (xid := found.get("annotation", {}).get(NEXT_XID)) else None,
        )


class Repositories:
    """All repositories of this host's stanza, through pgBackRest."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def run(self, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Run one of pgBackRest's commands as PostgreSQL's account."""
        return as_postgres("pgbackrest", f"--stanza={self.settings.stanza}", *options, command)

    def do(self, command: str, *options: str, hint: str = "") -> str:
        """The same, which must succeed; it waits for another backup, and for WAL that is sent."""
        until = time.monotonic() + SECONDS_FOR_OTHERS
        while (done := self.run(command, *options)).returncode == LOCKED:
            if time.monotonic() > until:
                break
            time.sleep(LOOK_EVERY)
        if done.returncode == MISMATCH:
            hint = MISMATCH_HINT.format(stanza=self.settings.stanza)
        elif REFUSED in done.stdout + done.stderr:
            hint = REFUSED_HINT
        return checked(done, f"pgbackrest {command}", hint)

    def info(self) -> dict[str, Any]:
        """What pgBackRest knows of the stanza; empty when there is none."""
        found = json.loads(self.do("info", "--output=json"))
        return found[0] if found else {}

    def backups(self) -> list[Backup]:
        """The backups of all repositories, the oldest first."""
        found = [Backup.of(one) for one in self.info().get("backup", [])]
        return sorted(found, key=lambda backup: (backup.ended, backup.repository))

    def newest(self, repository: int | None = None) -> Backup:
        """The newest backup, of one repository or of any; BackupError when there is none."""
        found = [one for one in self.backups() if repository in (None, one.repository)]
        if not found:
            raise BackupError("there is no backup yet", hint="make one: pergola-backup full")
        return found[-1]
