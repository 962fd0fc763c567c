"""After an upgrade of PostgreSQL: the backups go on with the cluster of another major version."""

import re
from pathlib import Path

from pergola.backup import jobs, settings
from pergola.backup.repository import Repositories
from pergola.backup.settings import Settings
from pergola.postgres import ACCOUNT, DATA
from pergola.system import checked, write

READ_ONLY = "Read-only file system"
CONFIGURATION = Path("/etc/pgbackrest/pgbackrest.conf")


def follow(version: int) -> None:
    """Point the configuration to that cluster, as role backup would, and make a first backup of it.

    Backups of the old cluster stay, and a restore of them needs its version of PostgreSQL.
    """
    text = CONFIGURATION.read_text()
    changed = re.sub(rf"(?m)^(pg1-path={DATA}/)\d+/", rf"\g<1>{version}/", text)
    write(CONFIGURATION, changed, 0o640, group=ACCOUNT)
    # As the role has written the rest of it: its next run shall have nothing to change.
    text = settings.FILE.read_text()
    write(settings.FILE, re.sub(r'("version":\s*)\d+', rf"\g<1>{version}", text))
    found = settings.of_this_host()
    upgrade_stanza(found)
    jobs.back_up(found, "full")


def upgrade_stanza(found: Settings) -> None:
    """Have the repositories go on with the cluster.

    On another host only the archive does, for its backups are read-only to this one: the next run
    of site.yml brings them there.
    """
    done = Repositories(found).run("stanza-upgrade")
    if any(not one.local for one in found.repositories) and READ_ONLY in done.stderr:
        return
    checked(done, "pgbackrest stanza-upgrade")
