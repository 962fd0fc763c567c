"""The copy of the live cluster that an upgrade is rehearsed on.

The one place that says where it comes from: a base backup over the socket, now.
"""

import re
import shutil

from pergola.postgres import ACCOUNT, DATA, SOCKETS, Cluster, free_port, with_settings
from pergola.system import read, run, write

NAME = "rehearsal"
# It must reach nothing of the live cluster's, its archive least of all, and take little memory.
SETTINGS = """# Made by pergola-upgrade for a rehearsal.
archive_mode = off
archive_command = ''
listen_addresses = ''
primary_conninfo = ''
shared_buffers = 128MB
"""
# What ALTER SYSTEM has set of these is the live cluster's own, and would beat the settings above.
NOT_COPIED = re.compile(r"archive|port")


def make(live: Cluster) -> Cluster:
    """Make a copy of a running cluster beside it, and start it."""
    copy = Cluster(live.version, NAME)
    copy.drop()
    data = DATA / str(copy.version) / NAME
    run(
        *(live.program("pg_basebackup"), "-h", SOCKETS, "-p", live.port),
        *("--pgdata", data, "--wal-method=stream", "--checkpoint=fast"),
        account=ACCOUNT,
    )
    written = data / "postgresql.auto.conf"
    kept = [line for line in read(written).splitlines() if not NOT_COPIED.match(line)]
    write(written, "\n".join(kept) + "\n", 0o600, ACCOUNT)
    configure(live, copy)
    copy.set_start("manual")
    copy.start()
    return copy


def configure(live: Cluster, copy: Cluster) -> None:
    """Give a copy the live cluster's settings, and its own places.

    postgresql.conf comes last and at once: by that file Debian's programs know a cluster, and there
    is no moment in which it names the live one's data: pg_dropcluster would remove that.
    """
    shutil.copytree(
        live.configuration,
        copy.configuration,
        ignore=shutil.ignore_patterns("postgresql.conf"),
        symlinks=True,
    )
    write(copy.conf_d / "zz-rehearsal.conf", SETTINGS)
    own = {
        "port": free_port(),
        "data_directory": DATA / str(copy.version) / copy.name,
        "hba_file": copy.configuration / "pg_hba.conf",
        "ident_file": copy.configuration / "pg_ident.conf",
        "external_pid_file": f"/run/postgresql/{copy.version}-{copy.name}.pid",
        "cluster_name": copy,
    }
    text = (live.configuration / "postgresql.conf").read_text()
    write(copy.configuration / "postgresql.conf", with_settings(text, own))
    run("chown", "-R", "--no-dereference", f"{ACCOUNT}:{ACCOUNT}", copy.configuration)


def carry_settings(source: Cluster, to: Cluster) -> None:
    """Give a cluster another one's conf.d, which Debian's programs leave behind."""
    to.conf_d.mkdir(mode=0o755, parents=True, exist_ok=True)
    for file in sorted(source.conf_d.glob("*.conf")):
        shutil.copy2(file, to.conf_d)
    shutil.chown(to.configuration, ACCOUNT, ACCOUNT)
