"""What the benchmarks share: test hosts, timed commands, the floor, tables."""

import argparse
import contextlib
import fcntl
import http.client
import json
import os
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TESTHOSTS = (sys.executable, ROOT / "testhosts")
RUN, FLOOR, PERGOLA = "bench", "floor", "pergola"  # the run and its hosts
DOMAIN = "linkboard.localhost"
LIMIT = 1800.0  # seconds for one command
LATE = 60.0  # seconds that the first answer may come after its command has ended
TOP_TASKS, SHOWN = 12, 0.1  # tasks of a role in the profile, and their seconds at least
Found = TypeVar("Found")
WENT_WRONG = re.compile(r"^(\[ERROR\]|ERROR!|fatal: )")

# Takes what both ways have in common out of the roles, so that it is said in one place.
SHARED = """
- hosts: all
  gather_facts: false
  vars:
    packages: "{{ __base_packages + __postgresql_packages + __uv_packages + __caddy_packages }}"
    files:
      settings.sh: |
        postgresql={{ postgresql_version }}
        packages='{{ packages | join(' ') }}'
      uv.txt: |
        {{ __uv_requirement }}
      createcluster.conf: "{{ __postgresql_cluster_file }}"
      postgresql.conf: "{{ __postgresql_settings_file }}"
  tasks:
    - ansible.builtin.setup: {gather_subset: ["!all", "!min", distribution, hardware]}
    - ansible.builtin.include_vars: "{{ roles }}/{{ item[0] }}/{{ item[1] }}/main.yml"
      loop: "{{ ['base', 'postgresql', 'uv', 'caddy'] | product(['defaults', 'vars']) }}"
    - ansible.builtin.copy:
        dest: "{{ into }}/{{ item }}"
        content: "{{ files[item] }}"
        mode: "0644"
      loop: "{{ files.keys() }}"
      delegate_to: localhost
      run_once: true
"""


class BenchError(Exception):
    """What kept the measurement from being made."""


@dataclass(frozen=True)
class Timing:
    """Seconds from a command's start to its end, and to the first right answer over HTTPS.

    `phases` are the seconds that the host's ledger gives to each phase.
    """

    command: float
    answer: float
    output: str = ""
    phases: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Host:
    """A test host."""

    name: str
    address: str


def say(text: str) -> None:
    """Report progress."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def run(*command: object, **environment: str) -> str:
    """Run a command to its end and return what it wrote; BenchError with its last lines.

    Whatever this environment says, Python keeps what it compiles, as it does for users.
    """
    path = f"{ROOT}/.venv/bin:{os.environ['PATH']}"
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryFile("w+") as output:
        # A group of its own: Ctrl-C reaches this program alone, which then ends the whole group.
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=ROOT,
            env={**usual, "PATH": path, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(LIMIT)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
        output.seek(0)
        text = output.read()
    if code:
        raise BenchError(f"{Path(str(command[0])).name} ended with {code}:\n{last_lines(text)}")
    return text


def last_lines(text: str) -> str:
    """Enough of an output to see what went wrong: Ansible's errors, or how it ended.

    After Ansible's errors come the times of all tasks, which say nothing of them.
    """
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if WENT_WRONG.search(line):
            return "\n".join(lines[max(0, number - 3) : number + 27])
    return "\n".join(lines[-30:])


class FirstAnswer(threading.Thread):
    """Asks a host over HTTPS until it answers 200 as the wanted release, and notes when.

    Wanted is a release whose name starts with `wanted` and is not `before`.
    """

    def __init__(self, address: str, wanted: str, before: str) -> None:
        super().__init__(daemon=True)
        self.address, self.wanted, self.before = address, wanted, before
        self.release = ""
        self.at: float | None = None
        self.given_up = threading.Event()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False  # the authority is made on the host, meanwhile
        self.context.verify_mode = ssl.CERT_NONE

    def run(self) -> None:
        while not self.given_up.wait(0.05):
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                release = self.answer()
                if release.startswith(self.wanted) and release != self.before:
                    self.release, self.at = release, time.monotonic()
                    return

    def answer(self) -> str:
        """Make one request, on a connection of its own; the release that answers 200, or ""."""
        connection = http.client.HTTPConnection(DOMAIN)
        plain = socket.create_connection((self.address, 443), timeout=5)
        with plain, self.context.wrap_socket(plain, server_hostname=DOMAIN) as secure:
            connection.sock = secure
            connection.request("GET", "/readyz", headers={"Connection": "close"})
            answer = connection.getresponse()
            ready = answer.status == http.HTTPStatus.OK
            return json.loads(answer.read())["release"] if ready else ""


class Bench:
    """The measurement, in a folder that is thrown away, with a clone to commit into."""

    def __init__(self, folder: Path, name: str = RUN) -> None:
        self.folder, self.name = folder, name
        self.clone = folder / "clone"
        self.access = folder / "access"
        self.shared = folder / "shared"
        self.playbooks = 0
        self.suite = ""
        self.live: dict[str, str] = {}  # the release that each host answers as
        self.load = os.getloadavg()
        run("git", "clone", "--quiet", ROOT, self.clone)
        self.head = self.git("rev-parse", "--short=12", "HEAD")

    def git(self, *arguments: str) -> str:
        """Run git in the clone."""
        who = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
        return run("git", "-C", self.clone, *who, *arguments).strip()

    def commit(self, text: str) -> None:
        """Commit what was changed in the clone."""
        self.git("commit", "--quiet", "--all", f"--message={text}")

    def change_code(self, number: int) -> None:
        """Commit another line of linkboard's code."""
        with (self.clone / "sample_app/src/linkboard/main.py").open("a") as file:
            file.write(f"\n# Change {number} of the benchmark.\n")
        self.commit(f"Change {number} of the benchmark")

    def prepare(self) -> None:
        """Write what both ways have in common, and fill the build's download cache for both."""
        say("settings out of the roles, and one build for the download cache")
        self.shared.mkdir()
        (self.folder / "shared.yml").write_text(SHARED)
        settings = {
            "into": str(self.shared),
            "roles": f"{ROOT}/roles",
            "ansible_user": "deploy",
            "ansible_ssh_common_args": f"-F {self.access}/ssh_config",
        }
        hosts = ("-i", f"{FLOOR},{PERGOLA},")
        self.ansible(self.folder / "shared.yml", *hosts, "-e", json.dumps(settings))
        run("sh", shutil.copytree(self.clone / "sample_app", self.folder / "warm") / "build")

    def ansible(self, *arguments: object) -> str:
        """Run ansible-playbook as an operator would who has no connection open."""
        self.playbooks += 1
        control = self.folder / f"cp{self.playbooks}"
        try:
            return run(
                *("ansible-playbook", *arguments),
                ANSIBLE_CONFIG=f"{ROOT}/ansible.cfg",
                ANSIBLE_NOCOLOR="1",
                # What the tables are read from, whatever ansible.cfg shows to people.
                ANSIBLE_STDOUT_CALLBACK="default",
                ANSIBLE_CALLBACKS_ENABLED="ansible.posix.profile_tasks",
                ANSIBLE_SSH_CONTROL_PATH_DIR=str(control),
                PROFILE_TASKS_TASK_OUTPUT_LIMIT="all",
            )
        finally:
            for master in control.glob("*"):
                with contextlib.suppress(BenchError):
                    run("ssh", "-O", "exit", "-o", f"ControlPath={master}", "any")

    def hosts(self) -> Iterator[Host]:
        """Boot a new pair and wait until it is idle."""
        self.live = {}
        run(*TESTHOSTS, "up", "--into", self.access, self.name, FLOOR, PERGOLA)
        for host in json.loads((self.access / "hosts.json").read_text())["hosts"]:
            with contextlib.suppress(BenchError):  # "degraded" is a rest as well
                wait = "systemctl is-system-running --wait"
                run("ssh", "-F", self.access / "ssh_config", host["name"], wait)
            self.suite = host["suite"]
            yield Host(host["name"], host["address"])

    def inventory(self, number: int) -> Path:
        """Write the demo's inventory for our host, with the clone as source and no archive yet."""
        place = self.clone / "inventory" / RUN  # the demo's app_source is two levels up
        shutil.copytree(ROOT / "inventory/demo", place, dirs_exist_ok=True)
        members = {"hosts": {PERGOLA: {}}}
        settings = {
            "ansible_user": "deploy",
            "ansible_ssh_common_args": f"-F {self.access}/ssh_config",
            "release_cache_dir": f"{self.folder}/cache{number}",
        }
        groups = {"servers": {"children": {"app": members, "db": members}, "vars": settings}}
        (place / "hosts.yml").write_text(json.dumps(groups))
        # The demo's own key is in the folder that `make demo` makes, which a clone does not have.
        key = self.folder / "backup.key"
        key.touch(mode=0o600)
        key.write_text(f"{secrets.token_urlsafe(36)}\n")
        last = place / "group_vars/servers/zz-bench.yml"
        last.write_text(json.dumps({"backup_key_file": str(key)}))
        return place

    def ssh(self, host: Host, command: str) -> str:
        """Run a command on a host."""
        return run("ssh", "-F", self.access / "ssh_config", host.name, command)

    def floor(self, what: str, *more: object) -> str:
        """Bring the clone's newest commit to the floor's host; see floor.sh."""
        commit = self.git("rev-parse", "HEAD")
        place = (self.access / "ssh_config", FLOOR, self.clone, commit, self.shared)
        return run(HERE / "floor.sh", what, *place, *more)

    def timed(
        self, step: str, host: Host, command: Callable[[], str], wanted: str | None = None
    ) -> Timing:
        """Time what brings another release to a host: one named so, or that of the last commit."""
        wanted = self.git("rev-parse", "HEAD")[:12] if wanted is None else wanted
        watch = FirstAnswer(host.address, wanted, self.live.get(host.name, ""))
        began = time.monotonic()
        watch.start()
        try:
            output = command()
            ended = time.monotonic() - began
            watch.join(LATE)
        finally:
            watch.given_up.set()
        if watch.at is None:
            raise BenchError(f"{host.name} never answered as {wanted}:\n{last_lines(output)}")
        self.live[host.name] = watch.release
        answer = watch.at - began
        say(f"{step} {host.name}: first answer after {answer:.1f} s, end after {ended:.1f} s")
        return Timing(ended, answer, output)

    def about(self, **more: object) -> dict[str, object]:
        """What was measured where; to be asked at the end."""
        return {
            "cores": len(os.sched_getaffinity(0)),
            "load_start": [round(value, 2) for value in self.load],
            "load_end": [round(value, 2) for value in os.getloadavg()],
            "suite": self.suite,
            "commit": self.head,
            **more,
        }


@contextlib.contextmanager
def measuring(name: str) -> Iterator[Bench]:
    """Give a measurement to work with; whatever happens, its hosts are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="pergola-bench-") as folder:
        try:
            yield Bench(Path(folder), name)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            run(*TESTHOSTS, "down", name)


def alone(measure: Callable[[], Found]) -> Found:
    """Measure while no other benchmark does; on failure say why and end the program."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with (HERE / "provision").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return measure()
        except BlockingIOError:
            say("another benchmark is running")
        except BenchError as error:
            say(str(error))
        except KeyboardInterrupt:
            sys.exit(130)
    sys.exit(1)


def options(description: str, repeat: int, what: str) -> argparse.Namespace:
    """Read the command line; `what` is repeated, unless told otherwise `repeat` times."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    add = parser.add_argument
    add("--repeat", type=int, default=repeat, metavar="N", help=f"{what} ({repeat})")
    add("--profile", action="store_true", help="show where the time goes")
    add("--json", type=Path, metavar="FILE", help="write everything there as well")
    found = parser.parse_args()
    if found.repeat < 1:
        parser.error("--repeat must be 1 or more")
    return found


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; all columns but the first are figures."""
    lines = [heads, ["---", *("--:" for _ in heads[1:])], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def verdict(met: bool | None) -> str:
    """Whether a target is met, as a cell; None: there is none."""
    return {True: "yes", False: "**no**", None: ""}[met]


def seconds(value: float | None) -> str:
    """Seconds as a cell; None: there are none."""
    return "" if value is None else f"{value:.1f}"


def profile(step: str, timing: Timing) -> str:
    """Where a playbook's time went, by role and by task; the rest is Ansible's own start."""
    found = re.findall(r"^(?:(\w+) : )?(.+?) -{2,} *([\d.]+)s$", timing.output, re.MULTILINE)
    roles: dict[str, float] = {}
    for role, _, seconds in found:
        roles[role or "no role"] = roles.get(role or "no role", 0) + float(seconds)
    roles["start and end"] = timing.command - sum(roles.values())
    rows = [f"\n{step}: {timing.command:.1f} s, {len(found)} tasks\n"]
    for role, whole in sorted(roles.items(), key=lambda item: -item[1]):
        rows.append(f"{whole:7.2f} s  {role}")
        tasks = [(float(s), name) for r, name, s in found if (r or "no role") == role]
        tasks = sorted(task for task in tasks if task[0] >= SHOWN)
        rows += [f"{spent:12.2f} s  {name}" for spent, name in tasks[: -TOP_TASKS - 1 : -1]]
    return "\n".join(rows)
