"""What the tests of the scenarios look through: HTTPS from outside, and Pergola's own playbooks."""

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from load import Options, Result, run
from testinfra.host import Host

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
RUN = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
OF_CI = re.compile("(CI|FORGEJO|GITEA|GITHUB|GITLAB)_")
AUTHORITY = RUN / "authority.crt"
# The settings of the probe, whatever an application made of it is called.
PROBE = {
    "app_source": str(PROJECT / "molecule/releases/probe"),
    "app_version": "working-tree",
    "app_asgi": "probe:app",
    "app_health_path": "/readyz",
    "app_migrate_command": "python migrate.py",
    "app_schema_query": "select max(version) from probe_schema",
    "app_workers": 1,
    "app_certificates": "internal",
}


def address(name: str) -> str:
    """The address of a test host on the test network."""
    hosts = json.loads((RUN / "hosts.json").read_text())["hosts"]
    return next(host["address"] for host in hosts if host["name"] == name)


class Site:
    """One site as a browser sees it: by its name, at the server's address, with a trusted CA.

    Redirects are not followed. Each request is a new connection unless made through `client`.
    """

    def __init__(self, name: str, server: str) -> None:
        self.name, self.server = name, server

    def client(self, *, plain: bool = False, http2: bool = True) -> httpx.Client:
        trust = ssl.create_default_context(cafile=str(AUTHORITY))
        client = httpx.Client(
            base_url=f"{'http' if plain else 'https'}://{self.server}",
            headers={"Host": self.name},
            verify=trust,
            http2=http2,
            timeout=30,
            trust_env=False,
        )
        client.event_hooks["request"].append(self._name_it)
        return client

    def _name_it(self, request: httpx.Request) -> None:
        request.extensions["sni_hostname"] = self.name

    def get(self, path: str, *, plain: bool = False, **options: Any) -> httpx.Response:  # noqa: ANN401
        with self.client(plain=plain) as client:
            return client.get(path, **options)

    def release(self) -> str:
        """The id of the release that answers."""
        return self.get("/readyz").raise_for_status().json()["release"]


class Server:
    """An application on a server, as the program there tells of it."""

    def __init__(self, host: Host, app: str = "probe") -> None:
        self.host, self.app, self.home = host, app, f"/srv/{app}"

    def status(self) -> dict:
        return json.loads(self.host.check_output(f"{self.home}/bin/release status"))

    def ledger(self) -> list[dict]:
        text = self.host.file(f"{self.home}/ledger.jsonl").content_string
        return [json.loads(line) for line in text.splitlines()]

    def switches(self) -> int:
        """How often requests were led from one release to another so far."""
        switched = [line for line in self.ledger() if line["outcome"] in ("live", "returned")]
        return sum(2 if line["outcome"] == "returned" else 1 for line in switched)

    def live(self) -> str:
        return self.status()["live"]

    def slot(self) -> str:
        """The unit of the live slot."""
        return f"{self.app}@{self.status()['slot']}.service"

    def comes_to_rest(self) -> None:
        """Wait until the slot that was switched away from has stopped, for two minutes at most."""
        idle = {"blue": "green", "green": "blue"}[self.status()["slot"]]
        units = f"{self.app}@{idle}.socket {self.app}@{idle}.service"
        going = f"systemctl is-active {units} | grep -qE '^(active|deactivating)'"
        self.host.check_output("timeout 120 sh -c %s", f"while {going}; do sleep 0.2; done")

    def kept(self) -> set[str]:
        return set(self.host.file(f"{self.home}/releases").listdir())

    def sql(self, query: str) -> str:
        return self.host.check_output(f"{self.home}/bin/release psql -Atc %s", query)


class Playbooks:
    """Runs the project's playbooks as a user does, against the scenario's inventory or another.

    The tests read the counts of the recap of Ansible's own output; what users see: `pergola`.
    """

    def __init__(self, output: str = "ansible.builtin.default") -> None:
        self.output = output

    def __call__(
        self, playbook: str, *arguments: str, inventory: str | Path = INVENTORY, **more: object
    ) -> subprocess.CompletedProcess[str]:
        """Run `ansible-playbook`; `more` are extra variables. Both streams end up in stdout."""
        process = self.start(playbook, *arguments, inventory=inventory, **more)
        try:
            output, _ = process.communicate(timeout=600)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    def checked(
        self, playbook: str, *arguments: str, fails: bool = False, **more: object
    ) -> subprocess.CompletedProcess[str]:
        """The same, which must succeed; `fails=True`: it must be refused."""
        done = self(playbook, *arguments, **more)  # type: ignore[arg-type]
        if (done.returncode != 0) != fails:
            raise AssertionError(done.stdout)
        return done

    def start(
        self, playbook: str, *arguments: str, inventory: str | Path = INVENTORY, **more: object
    ) -> subprocess.Popen[str]:
        """The same without waiting for its end."""
        # As a control node has no part in what a server can do, it gets less of this machine.
        command = ["nice", "ansible-playbook", playbook, "-i", str(inventory), *arguments]
        for name, value in more.items():
            command += ["-e", json.dumps({name: value})]
        return subprocess.Popen(
            command,
            cwd=PROJECT,
            env={
                # As somebody's own run, which git names, on a runner of CI as well.
                **{name: value for name, value in os.environ.items() if not OF_CI.match(name)},
                "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
                "ANSIBLE_STDOUT_CALLBACK": self.output,
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_FORCE_COLOR": "0",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def called(
    playbook: Playbooks,
    inventory: Path,
    book: str,
    *arguments: str,
    **more: Any,  # noqa: ANN401
) -> str:
    """What a playbook said of an application, which has an inventory of its own, in one line."""
    return said(playbook.checked(f"playbooks/{book}.yml", *arguments, inventory=inventory, **more))


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What a run said in one line, as Ansible may fold and indent a message."""
    return re.sub(r"\s+", " ", done.stdout.replace("\\n", " "))


class Loading:
    """A load that is running; `end` stops it and says what was seen."""

    def __init__(self, folder: Path) -> None:
        self.stop, self.marks = folder / "stop", folder / "marks"
        self.result: Future[Result] | None = None

    def mark(self, name: str) -> None:
        """Begin a window of that name, or go on with it."""
        with self.marks.open("a") as marks:
            marks.write(f"{name}\n")

    def end(self) -> Result:
        self.stop.touch()
        return self.result.result()  # type: ignore[union-attr]


@contextmanager
def loading(folder: Path, name: str, server: str, **options: Any) -> Iterator[Loading]:  # noqa: ANN401
    """Run the load that never retries against a site, in a thread, until its end is asked for."""
    network = json.loads((RUN / "hosts.json").read_text())["network"]
    load = Loading(folder)
    chosen = {"ca": AUTHORITY, "networks": [network], **options}
    settings = Options(server, name, 900, until=load.stop, marks=load.marks, **chosen)
    with ThreadPoolExecutor(1) as pool:
        load.result = pool.submit(run, settings)
        try:
            yield load
        finally:
            load.stop.touch()


def wait_for(what: str, condition: Callable[[], Any], seconds: float = 120) -> Any:  # noqa: ANN401
    """Wait until a condition holds, return what it found; what is not reachable does not hold."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(httpx.HTTPError, RuntimeError, OSError):  # RuntimeError is SSH's own
            if found := condition():
                return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")


def testhosts(verb: str, name: str, *more: str) -> None:
    """Do something to a test host: stop, start, kill, cut, join; replace, with its own name."""
    run = json.loads((RUN / "hosts.json").read_text())["run"]
    subprocess.run(
        [sys.executable, PROJECT / "testhosts", verb, run, name, *more],
        check=True,
        stdin=subprocess.DEVNULL,
    )


def umount(*places: str) -> str:
    """The command that unmounts what is mounted there, as soon as no program has a file open.

    PostgreSQL and pgBackRest may use the repository at any time.
    """
    one = "while mountpoint -q $place; do umount $place 2>/dev/null || sleep 0.2; done"
    return f"timeout 60 sh -c 'for place in {' '.join(places)}; do {one}; done'"


NEWER = "+pergola1"  # what the versions of newer packages end with


@contextmanager
def newer_packages(host: Host, *packages: str) -> Iterator[None]:
    """Updates of installed packages wait, which are real ones to dpkg and apt, until the end."""
    script = (PROJECT / "molecule/shared/newer.sh").read_text()
    host.check_output(f"sh -s {' '.join(packages)} <<'END'\n{script}\nEND")
    yield
    host.check_output("rm -r /srv/newer.packages /etc/apt/sources.list.d/newer.list")
    host.check_output("apt-get -q update")


def described(
    folder: Path, groups: dict[str, list[str]], settings: dict[str, Any], **connection: str
) -> Path:
    """Write an inventory of test hosts as a user would; return its file of hosts.

    `connection` are variables of Ansible that all hosts get.
    """
    made = {host["name"]: host for host in json.loads((RUN / "hosts.json").read_text())["hosts"]}

    def reached(name: str) -> dict[str, str]:
        return {
            "ansible_host": made[name]["address"],
            "ansible_user": made[name]["user"],
            "ansible_private_key_file": made[name]["identity_file"],
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={RUN}/known_hosts "
            "-o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -o LogLevel=ERROR "
            f"-o ControlPath={RUN}/{settings['app_name']}-{name}",
            **connection,
        }

    children = {
        group: {"hosts": {name: reached(name) for name in names}} for group, names in groups.items()
    }
    (folder / "group_vars/servers").mkdir(parents=True, exist_ok=True)
    # JSON is YAML too.
    (folder / "group_vars/servers/settings.yml").write_text(json.dumps(settings, indent=1))
    (folder / "hosts.yml").write_text(json.dumps({"servers": {"children": children}}, indent=1))
    return folder / "hosts.yml"


class Repository:
    """A git repository of an application, which the tests change and commit."""

    def __init__(self, path: Path, folder: str = "") -> None:
        self.path, self.top = path, path / folder
        self.git("config", "user.email", "tests@example.org")
        self.git("config", "user.name", "Tests")
        self.first = self.git("rev-parse", "HEAD")

    @classmethod
    def clone(cls, path: Path) -> "Repository":
        """A clone of the project, to make releases of linkboard in."""
        subprocess.run(["git", "clone", "--quiet", PROJECT, path], check=True)
        return cls(path, "sample_app")

    @classmethod
    def of(cls, files: Path, path: Path) -> "Repository":
        """A new repository of some files."""
        shutil.copytree(files, path, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*", "__*"))
        made = ["-c", "user.email=tests@example.org", "-c", "user.name=Tests"]
        for command in (["init", "--quiet"], ["add", "--all"], ["commit", "-qm", "First"]):
            subprocess.run(["git", *made, *command], cwd=path, check=True)
        return cls(path)

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=self.path, check=True, capture_output=True, text=True
        ).stdout.strip()

    def commit(self, file: str, text: str, message: str) -> str:
        """Write a file of the application, commit it, return the commit."""
        (self.top / file).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def reset(self, commit: str = "") -> None:
        self.git("reset", "--quiet", "--hard", commit or self.first)
