"""The copy of the live cluster that an upgrade is rehearsed on.

The one place that says where it comes from: a base backup over the socket, now.
"""

import re
import shutil

from upgrades.clusters import ACCOUNT, CONF, Cluster, free_port
from upgrades.system import run, write

NAME = "rehearsal"
# It must reach nothing of the live cluster's, its archive least of all, and take little memory.
SETTINGS = """# Made by pergola-upgrade for a rehearsal.
archive_mode = off
archive_command = ''
listen_addresses = ''
primary_conninfo = ''
shared_buffers = 128MB
"""


def make(live: Cluster) -> Cluster:
    """Make a copy of a running cluster beside it, and start it."""
    copy = Cluster(live.version, NAME)
    copy.drop()
    run(
        *(live.program("pg_basebackup"), "-h", "/run/postgresql", "-p", live.port),
        *("--pgdata", copy.data, "--wal-method=stream", "--checkpoint=fast"),
        account=ACCOUNT,
    )
    # What ALTER SYSTEM has set is the live cluster's own, and would beat the settings below.
    written = copy.data / "postgresql.auto.conf"
    kept = [
        line for line in written.read_text().splitlines() if not re.match(r"archive|port", line)
    ]
    write(written, "\n".join(kept) + "\n", 0o600, ACCOUNT)
    run("cp", "--archive", live.configuration, copy.configuration)
    own = {
        "port": free_port(),
        "data_directory": copy.data,
        "hba_file": copy.configuration / "pg_hba.conf",
        "ident_file": copy.configuration / "pg_ident.conf",
        "external_pid_file": f"/run/postgresql/{copy.version}-{NAME}.pid",
        "cluster_name": str(copy),
    }
    for name, value in own.items():
        run("pg_conftool", copy.version, NAME, "set", name, value)
    write(copy.configuration / CONF / "zz-rehearsal.conf", SETTINGS, owner=ACCOUNT)
    copy.starts("manual")
    copy.start()
    return copy


def carry_settings(source: Cluster, to: Cluster) -> None:
    """Give a cluster another one's conf.d, which Debian's programs leave behind."""
    target = to.configuration / CONF
    target.mkdir(mode=0o755, parents=True, exist_ok=True)
    for file in sorted((source.configuration / CONF).glob("*.conf")):
        shutil.copy2(file, target)
    shutil.chown(target.parent, ACCOUNT, ACCOUNT)
