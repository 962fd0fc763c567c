"""Ansible lookup: who runs this playbook, from which control node, in which process."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import re
import socket
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = r"""
---
name: operator
author: Pergola
short_description: Who runs this playbook, and in which run
description:
  - Names the person, the control node and this run of C(ansible-playbook), for a lock on a server
    that belongs to a run and must be passed over once that run is dead.
  - A run is the same for all its tasks and hosts, and no other is like it, on this or any other
    control node or container.
notes:
  - Users who cannot see each other's processes (C(/proc) mounted with C(hidepid)) count as two
    control nodes, as neither can tell whether the other's run is alive.
options: {}
"""

EXAMPLES = r"""
- name: Show who would deploy
  ansible.builtin.debug:
    msg: "{{ lookup('operator').who }} from {{ lookup('operator').node }}"
"""

RETURN = r"""
_raw:
  description: One dictionary.
  type: list
  elements: dict
  contains:
    who: {description: "Git's C(user.email), or the login name.", type: str}
    node: {description: "The control node's host name, for people.", type: str}
    run: {description: "This run: C(control node/process/start), to be compared only.", type: str}
    alive:
      description:
        - Every run that is alive on this control node, this one among them, and other processes
          that cannot be told from one.
      type: list
      elements: str
"""

GIT_LIMIT = 10  # seconds
PS_LIMIT = 10  # seconds

# One process of these is one run, with all that it forks. A runner starts one below itself.
PROGRAMS = frozenset({"ansible", "ansible-console", "ansible-navigator", "ansible-playbook"})
INTERPRETER = re.compile(r"python|pypy", re.IGNORECASE)
# Number, parent, state, start ("Mon Nov 23 10:00:00 2026"), command.
PS_LINE = re.compile(r"\s*(\d+)\s+(\d+)\s+(\S+)\s+((?:\S+\s+){4}\d+)\s+(.*)")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Process:
    """A process; its start tells it from an earlier one with the same number."""

    parent: int
    started: str
    argv: tuple[str, ...]

    def is_run(self) -> bool:
        """Whether this is Ansible itself, not a program such as sudo or xargs that runs it."""
        names = [PurePath(word).name for word in self.argv if not word.startswith("-")]
        if names and INTERPRETER.search(names[0]):
            names = names[1:]
        return bool(names) and names[0] in PROGRAMS

    def may_be_run(self) -> bool:
        """Whether this could be Ansible under another name: taken for alive when in doubt."""
        return bool(self.argv) and bool(
            INTERPRETER.search(self.argv[0]) or any("ansible" in word for word in self.argv)
        )


def processes(proc: Path = Path("/proc")) -> dict[int, Process]:
    """Every process that this user sees, by its number."""
    if not (proc / "self/stat").exists():
        return listed_processes()
    found = {}
    for directory in proc.iterdir():
        if directory.name.isdigit():
            with contextlib.suppress(OSError, IndexError):  # it ended meanwhile, or is hidden
                # The name in parentheses may hold anything, also spaces and parentheses.
                fields = (directory / "stat").read_text(errors="replace").rpartition(")")[2].split()
                raw = (directory / "cmdline").read_bytes().decode(errors="replace")
                # Fields 4 and 22 of stat, which are counted from 1 with two before the parenthesis.
                argv = tuple(raw.rstrip("\0").split("\0")) if raw else ()
                found[int(directory.name)] = Process(int(fields[1]), fields[19], argv)
    return found


def listed_processes() -> dict[int, Process]:
    """As `processes`, where there is no /proc (macOS); AnsibleError if `ps` cannot tell."""
    listing = ("ps", "-axww", "-o", "pid=,ppid=,stat=,lstart=,command=")
    try:
        done = subprocess.run(
            listing,
            capture_output=True,
            check=True,
            timeout=PS_LIMIT,
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},  # one spelling of a time for all runs
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise AnsibleError(
            f"the processes of this control node cannot be listed: {error}"
        ) from error
    found = {}
    for line in done.stdout.decode(errors="replace").splitlines():
        if match := PS_LINE.match(line):
            pid, parent, state, started, command = match.groups()
            # What has ended and waits for its parent has no command line in /proc either.
            argv = () if state.startswith("Z") else tuple(command.split())
            found[int(pid)] = Process(int(parent), re.sub(r"\W+", "-", started), argv)
    return found


def run_of(pid: int, table: Mapping[int, Process]) -> int:
    """The process that is the run to which a process belongs: Ansible forks one for each task.

    Only consecutive ancestors are of the same run: a playbook that a task starts is another one.
    """
    own = table[pid]
    found = pid
    # An Ansible under a name of its own is at least known by its forks, which have that name too.
    while (process := table.get(pid)) and (process.is_run() or process.argv == own.argv):
        found, pid = pid, process.parent
    return found


def control_node(table: Mapping[int, Process]) -> str:
    """A digest that is the same for processes which see each other, and for no others."""
    parts = [socket.gethostname()]
    try:
        parts.append(BOOT_ID.read_text().strip())
    except OSError:
        address = uuid.getnode()
        # Without a network card this is a random number, another one in each process.
        parts.append("" if address >> 40 & 1 else f"{address:x}")
    for name in ("pid", "time"):  # a start is counted from another zero in another time namespace
        with contextlib.suppress(OSError):
            parts.append(str(Path(f"/proc/self/ns/{name}").readlink()))
    if 1 not in table:
        parts.append(f"user {os.getuid()} sees no others")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def who(directory: str) -> str:
    """Git's e-mail address of the operator, as set for a directory; else the login name."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ("git", "config", "user.email"),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_LIMIT,
            check=True,
        )
        if address := done.stdout.decode(errors="replace").strip():
            return address
    with contextlib.suppress(OSError, KeyError):  # an account without a name
        return getpass.getuser()
    return f"user {os.getuid()}"


class LookupModule(LookupBase):
    """The lookup `operator`."""

    def run(
        self,
        terms: list[Any],
        variables: dict[str, Any] | None = None,  # noqa: ARG002 - Ansible's signature
        **kwargs: object,
    ) -> list[dict[str, Any]]:
        if terms or kwargs:
            raise AnsibleError("the lookup 'operator' takes no arguments")
        table = processes()
        node = control_node(table)
        run = run_of(os.getpid(), table)

        def name(pid: int) -> str:
            return f"{node}/{pid}/{table[pid].started}"

        alive = [name(pid) for pid in sorted(table) if pid == run or table[pid].may_be_run()]
        answer = {
            "who": who(self._loader.get_basedir()),
            "node": socket.gethostname(),
            "run": name(run),
            "alive": alive,
        }
        return [answer]
