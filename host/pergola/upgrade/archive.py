"""Nothing is archived until a cluster serves.

Its archive would not take it, and each stop would try for seconds. The write-ahead log stays where
it is meanwhile.
"""

import os

from pergola.postgres import ACCOUNT, Cluster
from pergola.system import systemctl, write

NAME = "zz-pergola-upgrade.conf"
TEXT = "# Made by pergola-upgrade, until this cluster serves.\narchive_command = ''\n"


def hold(cluster: Cluster) -> None:
    """Have a cluster keep what it writes for the archive until it serves."""
    write(cluster.conf_d / NAME, TEXT, owner=ACCOUNT)


def go_on(cluster: Cluster) -> None:
    """Have it archive what it kept."""
    before = cluster.conf_d.stat()
    (cluster.conf_d / NAME).unlink(missing_ok=True)
    systemctl("reload", cluster.unit)
    # Role postgresql restarts a server that is older than its settings: this one knows them.
    os.utime(cluster.conf_d, ns=(before.st_atime_ns, before.st_mtime_ns))
