"""What the tests of this scenario look through: looks of the server, and those who are told."""

import email
import email.header
import http.server
import json
import os
import socketserver
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
sys.path.insert(0, str(PROJECT / "molecule/shared"))
pytest_plugins = ["fixtures_of_web1"]

from scenario import RUN, Playbooks, Repository  # noqa: E402

# The probe with a front page that fails and connections that are taken, when a test says so.
FICKLE = """
import asyncio
from pathlib import Path

app.router.routes = [r for r in app.router.routes if getattr(r, "path", "") not in ("/", "/readyz")]
TAKEN = []


@app.get("/")
async def front() -> Response:
    fails = Path(os.environ["STATE_DIRECTORY"], "front-fails").exists()
    return PlainTextResponse("probe", 500 if fails else 200)


@app.get("/readyz")
async def pool_is_there(request: Request) -> dict[str, str]:
    pool = request.app.state.pool
    # By each worker that is asked: which of them answers is chance.
    if Path(os.environ["STATE_DIRECTORY"], "takes-connections").exists():
        while len(TAKEN) < pool.get_max_size():
            TAKEN.append(await asyncio.wait_for(pool.acquire(), 2))
    await asyncio.wait_for(pool.fetchval("select 1"), 2)
    return {"status": "ready", "release": RELEASE}
"""
FICKLE_UNITS = {
    "app_processes": [{"name": "worker", "command": "python worker.py faults"}],
    "app_schedules": [
        {"name": "nightly", "command": "python job.py nightly 0", "on_calendar": "daily"}
    ],
}
# Where time counts, the limits are seconds here.
LIMITS = {
    "archive_minutes": [0.1, 60],
    "idle_transaction_minutes": [0.03, 60],
    "slot_mb": [8, 8192],
}


@pytest.fixture(scope="session")
def playbook() -> Playbooks:
    return Playbooks()


class Listener:
    """A web server and a mail server at the control node's address on the test network."""

    def __init__(self) -> None:
        self.posts: list[dict[str, Any]] = []
        self.apprised: list[dict[str, Any]] = []  # what Apprise made of the same
        self.mails: list[str] = []
        self.beats = 0
        self.answer = 204
        self.answers: dict[str, int] = {}  # by path, where it is another one
        listener = self

        class Web(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                heard = listener.apprised if self.path == "/apprise" else listener.posts
                answer = listener.answers.get(self.path, listener.answer)
                if answer < 300:
                    heard.append(json.loads(body))
                self.send_response(answer)
                self.end_headers()

            def do_GET(self) -> None:
                listener.beats += 1
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        class Mail(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 here\r\n")
                while line := self.rfile.readline():
                    verb = line[:4].upper()
                    if verb == b"DATA":
                        self.wfile.write(b"354 go on\r\n")
                        text = b"".join(iter(self.rfile.readline, b".\r\n"))
                        listener.mails.append(subject(text))
                    self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 yes\r\n")
                    if verb == b"QUIT":
                        return

        here = json.loads((RUN / "hosts.json").read_text())["gateway"]
        self.servers = [
            http.server.ThreadingHTTPServer((here, 0), Web),
            socketserver.ThreadingTCPServer((here, 0), Mail),
        ]
        for server in self.servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        self.here = here
        self.web, self.mail = (server.server_address[1] for server in self.servers)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings by which these are told: those of deploys."""
        return {
            "release_notify_urls": [f"http://{self.here}:{self.web}/a-secret-token"],
            "release_notify_mail": {
                "to": ["ops@example.org"],
                "sender": "web1@example.org",
                "host": self.here,
                "port": self.mail,
            },
            "monitoring_heartbeat_url": f"http://{self.here}:{self.web}/beat",
            "monitoring_limits": LIMITS,
        }

    def hears(self, *findings: tuple[str, str], looks: int) -> None:
        """What was told since this was last asked is these findings, each of them once.

        `looks`: after how many. What is told by a name that was broken counts in the last line.
        """
        heard = self.heard()
        broken = [finding for finding in findings if finding[1] != "ok"]
        TOTAL.add(len(broken), len({*broken} & {*heard}), looks)
        assert heard == sorted(findings)

    def heard(self) -> list[tuple[str, str]]:
        """Check and state of each message since this was last asked."""
        posts, self.posts = self.posts, []
        self.last = {post["check"]: post for post in posts}
        return sorted((post["check"], post["state"]) for post in posts)

    def end(self) -> None:
        for server in self.servers:
            server.shutdown()
            server.server_close()


def subject(text: bytes) -> str:
    header = email.message_from_bytes(text)["Subject"]
    decoded = str(email.header.make_header(email.header.decode_header(header)))
    return " ".join(decoded.split())


class Watched:
    """The server, looked at when a test says so instead of every minute."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def look(self, times: int = 1) -> None:
        """Looks of its own: a start would only wait for one that the timer has just begun."""
        unit, wait = "pergola-monitoring.service", "do sleep 0.2; done"
        for _ in range(times):
            self.host.check_output(
                f"while [ $(systemctl show -P ActiveState {unit}) = activating ]; {wait};"
                f" systemctl start {unit}"
            )

    def status(self) -> dict[str, Any]:
        return json.loads(self.host.file("/var/lib/pergola/status.json").content_string)

    def looks_until(self, told: Listener, *findings: tuple[str, str], most: int = 12) -> int:
        """Look until these findings, and no others, were told; how many looks that took."""
        for looks in range(1, most + 1):  # noqa: B007 - how many there were is told
            self.look()
            if len(told.posts) >= len(findings):
                break
        told.hears(*findings, looks=looks)
        return looks

    def says(self, name: str) -> str:
        return next(one["says"] for one in self.status()["checks"] if one["name"] == name)

    def state(self, name: str) -> str:
        return next(one["state"] for one in self.status()["checks"] if one["name"] == name)

    def sql(self, query: str) -> str:
        return self.host.check_output("runuser -u postgres -- psql -XAtqc %s", query)


@pytest.fixture(scope="session")
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.end()


@pytest.fixture(scope="session")
def provision(listener: Listener, playbook: Playbooks) -> Any:
    """Run the role as a user does; returns how many tasks changed something."""

    def run(**more: object) -> int:
        settings = {**listener.settings, **more}
        done = playbook("playbooks/provision.yml", "--tags=monitoring", **settings)
        assert done.returncode == 0, done.stdout
        assert "a-secret-token" not in done.stdout
        return int(done.stdout.split("changed=")[1].split()[0])

    return run


@pytest.fixture(scope="session")
def watched(
    web1: Host, provision: Any, playbook: Playbooks, listener: Listener
) -> Iterator[Watched]:
    """The server with exporters on its own address only, and those who are told of deploys."""
    provision(monitoring_exporters_address="127.0.0.1")
    done = playbook("playbooks/deploy.yml", "--tags=app", **listener.settings)
    assert done.returncode == 0, done.stdout
    web1.check_output("systemctl stop pergola-monitoring.timer")
    watched = Watched(web1)
    watched.look(2)
    yield watched
    web1.check_output("systemctl start pergola-monitoring.timer")


@pytest.fixture(scope="session")
def fickle(watched: Watched, playbook: Playbooks, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A release that can be told to fail, with a process and a schedule, is live; its slot."""
    folder = tmp_path_factory.mktemp("fickle")
    probe = Repository.of(PROJECT / "molecule/releases/probe", folder)
    text = (probe.path / "probe.py").read_text()
    probe.commit("probe.py", text + FICKLE, "Can be told to fail")
    settings = {"app_source": str(probe.path), "app_version": "HEAD", **FICKLE_UNITS}
    done = playbook("playbooks/deploy.yml", "--tags=release", **settings)
    assert done.returncode == 0, done.stdout
    watched.look()  # its files are compared with what they are now
    return json.loads(watched.host.check_output("/srv/probe/bin/release status"))["slot"]


@pytest.fixture
def told(watched: Watched, listener: Listener) -> Listener:
    """Those who are told, in a moment in which all is well and nothing waits."""
    for _ in range(12):  # what a test before this one has left is over by then
        if watched.status()["state"] == "ok":
            break
        watched.look()
    assert watched.status()["state"] == "ok", watched.status()
    listener.answer = 204
    listener.heard()
    listener.mails.clear()
    listener.apprised.clear()
    return listener


class Total:
    """The faults that were made, what was told of them, and after how many looks at most."""

    def __init__(self) -> None:
        self.faults = self.told = self.looks = 0

    def add(self, faults: int, told: int, looks: int) -> None:
        self.faults += faults
        self.told += told
        self.looks = max(self.looks, looks if faults else 0)

    def __str__(self) -> str:
        """A look is made every minute, the first at most a minute after the fault."""
        return (
            f"monitoring: {self.faults} faults, {self.told} told by name, "
            f"in {60 * self.looks} s at most"
        )


TOTAL = Total()


def pytest_unconfigure() -> None:
    """The scenario's last line; scripts/test.sh repeats it after Molecule's own."""
    print(TOTAL)
    if summary := os.environ.get("SCENARIO_SUMMARY"):
        Path(summary).write_text(f"{TOTAL}\n")
