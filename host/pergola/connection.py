"""The SSH connection that a process was started through: whoever has hung up does not come back."""

import os
from pathlib import Path

PROC = Path("/proc")
# OpenSSH's process for one connection: its name before 9.8, and since.
SERVERS = {"sshd", "sshd-session"}
PARENT, STARTED = 1, 19  # of the words behind a process's name in /proc/PID/stat


def of_this_process() -> list[int]:
    """The process that serves the connection and when it started; empty without a connection."""
    pid = os.getpid()
    while pid > 1:
        name, words = stat_of(pid)
        if name in SERVERS:
            return [pid, int(words[STARTED])]
        pid = int(words[PARENT]) if words else 0
    return []


def is_open(connection: list[int]) -> bool:
    """Whether the process of a connection is still there, and not another one of its number."""
    pid, started = connection
    name, words = stat_of(pid)
    return name in SERVERS and int(words[STARTED]) == started


def stat_of(pid: int) -> tuple[str, list[str]]:
    """A process's name and the words behind it; nothing when it is gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "", []
    name, _, rest = text.partition("(")[2].rpartition(")")
    return name, rest.split()
