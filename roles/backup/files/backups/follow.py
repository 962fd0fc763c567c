"""After an upgrade of PostgreSQL: the backups go on with the cluster of another major version."""

import json
import os
import re
from pathlib import Path

from backups import jobs
from backups.repository import Repositories
from backups.settings import FILE, Settings

CONFIGURATION = Path("/etc/pgbackrest/pgbackrest.conf")


def follow(version: int) -> None:
    """Point the configuration to that cluster, as role backup would, and make a first backup of it.

    Backups of the old cluster stay, and a restore of them needs its version of PostgreSQL.
    """
    text = CONFIGURATION.read_text()
    changed = re.sub(r"(?m)^(pg1-path=/var/lib/postgresql/)\d+/", rf"\g<1>{version}/", text)
    replace(CONFIGURATION, changed)
    settings = json.loads(FILE.read_text()) | {"version": version}
    replace(FILE, json.dumps(settings, indent=4, sort_keys=True) + "\n")
    Repositories(Settings.read()).do("stanza-upgrade")
    jobs.back_up(Settings.read(), "full")


def replace(file: Path, text: str) -> None:
    """Write another content, with owner and mode as they are."""
    fresh, before = file.with_name(f".{file.name}.new"), file.stat()
    fresh.touch(0o600)
    fresh.write_text(text)
    os.chown(fresh, before.st_uid, before.st_gid)
    fresh.chmod(before.st_mode & 0o7777)
    fresh.replace(file)
