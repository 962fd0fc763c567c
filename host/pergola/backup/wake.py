"""Waking PostgreSQL's checkpointer, which is what keeps archive_timeout.

It works out how long to sleep when it starts, and it starts before recovery has ended (PostgreSQL
15 and later), when it leaves archive_timeout out: it sleeps for checkpoint_timeout, 15 minutes
here, and nothing that is written meanwhile reaches the archive unless a WAL file becomes full. Any
signal ends that sleep, and from then on it keeps the time. PostgreSQL starts one after each crash
of a process of its too, and writes "ready" into postmaster.pid again then: systemd watches that.
"""

import os
import signal
import time
from pathlib import Path

from pergola.errors import PergolaError
from pergola.postgres import DATA
from pergola.system import is_active, reread, systemctl

LOOK_EVERY = 0.2
STATUS_LINE = 7
PROCESSES = Path("/proc")


def wake(cluster: str) -> None:
    """Wake the checkpointer of a cluster, "17/main", as soon as the server is up.

    Does nothing when the server is down, going down or a standby. PergolaError when it is up and
    has no checkpointer.
    """
    file = DATA / cluster / "postmaster.pid"
    while (found := state(file))[1] == "starting":
        time.sleep(LOOK_EVERY)
    server, status = found
    if status != "ready":
        return
    process = checkpointer(server)
    if process is None:
        raise PergolaError(f"process {server}, PostgreSQL {cluster}, has no checkpointer")
    # The one signal that means nothing by itself: SIGHUP would read its settings again.
    os.kill(process, signal.SIGUSR1)


def watch_starts(cluster: str) -> bool:
    """Have systemd wake it at each start from now on; whether it did not yet.

    The server's own unit brings the watching one along; this is for a server that runs already.
    """
    instance = cluster.replace("/", "-")
    unit, server = f"pergola-archive@{instance}.path", f"postgresql@{instance}.service"
    stale = reread(unit, server)
    if stale:
        systemctl("try-restart", unit)
    if is_active(unit):
        return stale
    systemctl("start", unit, f"pergola-archive@{instance}.service")
    return True


def state(file: Path) -> tuple[int, str]:
    """The server's process and what it says of itself: starting, ready, standby, stopping or ""."""
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        return 0, ""
    if len(lines) <= STATUS_LINE:
        return 0, "starting" if lines and is_running(lines[0]) else ""
    # What a server left that was killed says nothing of now.
    return int(lines[0]), lines[STATUS_LINE].strip() if is_running(lines[0]) else ""


def is_running(process: str) -> bool:
    return process.isdigit() and (PROCESSES / process).exists()


def checkpointer(server: int) -> int | None:
    """The checkpointer among a server's processes."""
    for entry in PROCESSES.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            title = (entry / "cmdline").read_bytes()
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:  # it has ended
            continue
        if int(parent) == server and b"checkpointer" in title:
            return int(entry.name)
    return None
