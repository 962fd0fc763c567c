"""Who runs a playbook, from which control node, in which process."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import re
import socket
import subprocess
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TypedDict

from ansible.errors import AnsibleError

from pergola_control.git import git_raw
from pergola_control.refusal import LimitExceededError

# Who started a run of CI, and where it is seen. Forgejo and Gitea set GitHub's names as well.
ACTORS = ("FORGEJO_ACTOR", "GITHUB_ACTOR", "GITLAB_USER_LOGIN")
ADDRESSES = ("CI_JOB_URL", "CI_PIPELINE_URL")
LONGEST = 200  # characters of a name or an address
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


def first(environment: Mapping[str, str], names: Iterable[str]) -> str:
    """The first variable that is set, as one line of plain characters."""
    found = next((environment[name] for name in names if environment.get(name)), "")
    return re.sub(r"[^\x21-\x7e\u00a1-\uffff]+", " ", found).strip()[:LONGEST]


def ci_address(environment: Mapping[str, str]) -> str:
    """Where the CI run that this is part of can be seen; empty outside of CI."""
    if address := first(environment, ADDRESSES):
        return address
    # Their pages count a repository's runs, GitHub's have numbers of their own.
    forgejo = environment.get("FORGEJO_ACTIONS") or environment.get("GITEA_ACTIONS")
    number = first(environment, ["GITHUB_RUN_NUMBER" if forgejo else "GITHUB_RUN_ID"])
    server = first(environment, ["GITHUB_SERVER_URL"]).rstrip("/")
    repository = first(environment, ["GITHUB_REPOSITORY"])
    whole = server and repository and number
    return f"{server}/{repository}/actions/runs/{number}" if whole else ""


def who(directory: str, environment: Mapping[str, str]) -> str:
    """The person who started the run, with the address of a CI run."""
    address = ci_address(environment)
    name = first(environment, ACTORS) or local_name(directory)
    return f"{name} ({address})" if address else name


def local_name(directory: str) -> str:
    """Git's e-mail address of the operator, as set for a directory; else the login name."""
    with contextlib.suppress(OSError, LimitExceededError):
        done = git_raw(Path(directory), "config", "user.email", limit=GIT_LIMIT)
        if address := done.stdout.decode(errors="replace").strip():
            return address
    with contextlib.suppress(OSError, KeyError):  # an account without a name
        return getpass.getuser()
    return f"user {os.getuid()}"


class Answer(TypedDict):
    """What the lookup `operator` answers, as its documentation says."""

    who: str
    url: str
    node: str
    run: str
    alive: list[str]


def answer(directory: str, environment: Mapping[str, str]) -> Answer:
    """Who runs this, and in which run; AnsibleError if the processes cannot be listed."""
    table = processes()
    node = control_node(table)
    run = run_of(os.getpid(), table)

    def name(pid: int) -> str:
        return f"{node}/{pid}/{table[pid].started}"

    return {
        "who": who(directory, environment),
        "url": ci_address(environment),
        "node": socket.gethostname(),
        "run": name(run),
        "alive": [name(pid) for pid in sorted(table) if pid == run or table[pid].may_be_run()],
    }
