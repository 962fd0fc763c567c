"""Who reads the repositories of files on this host: root, and the daemon that gives them to others.

The daemon has the account of PostgreSQL, which is not to read them: a group of its own is what it
has more (see role backup, pgbackrest.service). Without other hosts there is none.
"""

import contextlib
import grp
import os
from pathlib import Path

from pergola.errors import PergolaError
from pergola.system import run

GROUP = "pergola-files"


def have_group() -> None:
    """Have the group of those who may read them: systemd starts no unit in one that is not."""
    try:
        grp.getgrnam(GROUP)
    except KeyError:
        run("groupadd", "--system", GROUP)


def of_root(path: Path) -> None:
    """Have a directory that only root can enter; PergolaError if its parent is somebody's link.

    What is above it belongs to PostgreSQL's account.
    """
    parent = path.parent
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = parent.lstat()
    if parent.is_symlink() or status.st_uid != os.geteuid():
        raise PergolaError(f"{parent} is not root's own directory", hint=f"ls -ld {parent}")
    path.mkdir(mode=0o700, exist_ok=True)


def share(top: Path) -> None:
    """Let the daemon read what is there, and what will be; for root alone without a daemon."""
    try:
        group = grp.getgrnam(GROUP).gr_gid
        top.lstat()
    except (KeyError, FileNotFoundError):
        return
    # Links are followed by neither: what is above belongs to PostgreSQL's account.
    for _, _, names, folder in os.fwalk(top):
        if os.fstat(folder).st_uid != os.geteuid():
            continue
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # restic's own, for a moment
                os.chown(name, -1, group, dir_fd=folder, follow_symlinks=False)
                os.chmod(name, 0o440, dir_fd=folder)
        os.fchown(folder, -1, group)
        os.fchmod(folder, 0o2750)
