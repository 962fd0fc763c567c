"""What serves a release, started as its unit starts it, on a socket that is there before."""

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from jinja2 import Environment
from pergola.records import Manifest
from pergola.release import commands, servers

PROJECT = Path(__file__).parents[2]
LIB = PROJECT / "roles/app/files/lib"
UNIT = PROJECT / "roles/app/templates/@.service.j2"
SOME = Manifest(id="a1-b2", asgi="shop.main:app", workers=2)

# Any program that serves, by what it is given; it ends when it is told to.
SERVER = """
import http.server, os, signal, socket, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{how} {self.headers['X-Forwarded-For']} {os.getpid()}".encode())
    def address_string(self):
        return ""
    def log_message(self, *words):
        pass
if os.environ.get("LISTEN_PID") == str(os.getpid()):
    how, listener = "given", socket.socket(fileno=3)
elif len(sys.argv) > 2:
    how, listener = "socket", socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[2])
else:
    how, listener = "port", socket.create_server(("127.0.0.1", int(sys.argv[1])))
assert how == "given" or not any(name.startswith("LISTEN_") for name in os.environ)
listener.listen()
server = http.server.HTTPServer(("", 0), Answer, bind_and_activate=False)
server.socket.close()
server.socket = listener
server.get_request = lambda: (listener.accept()[0], ("", 0))
server.serve_forever()
"""


# The socket is descriptor 3, LISTEN_PID is the process that is started.
AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
own = {**os.environ, "LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execve("/bin/sh", ["sh", "-efc", sys.argv[2]], own)
"""


@pytest.fixture
def gate():
    spec = importlib.util.spec_from_file_location("gate", LIB / "gate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exec_start(home):
    """The shell's line of the slots' unit, as systemd gives it to sh."""
    (line,) = re.findall(r"^ExecStart=/bin/sh -efc '(.*)'$", UNIT.read_text(), re.MULTILINE)
    line = (
        Environment(autoescape=False).from_string(line).render(app_home=home, app_drain_seconds=5)
    )
    return line.replace("$$", "$").replace("%i", "blue")


@pytest.fixture
def started(tmp_path):
    """Start a release in its slot; its environment, and the address of its socket."""
    begun = []

    def start(own, secret_files=None, **more):
        home = tmp_path / "notes"
        slot = home / "slots/blue"
        (slot / "code" / more.get("PERGOLA_DIRECTORY", "")).mkdir(parents=True)
        (slot / "venv/bin").mkdir(parents=True)
        (home / "lib").symlink_to(LIB)
        (slot / "code/serves.py").write_text(SERVER)
        manifest = Manifest(asgi="x:y", server="command", server_command=own)
        variables = servers.environment(manifest, home) | more
        (slot / "environment").write_text(
            "".join(f"{name}='{value.replace(chr(39), chr(39) * 1 + chr(92) + chr(39) * 2)}'\n"
                    for name, value in variables.items())
            + commands.credential_text(secret_files or {})
        )  # fmt: skip
        address = tmp_path / "slot.sock"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(address))
        listener.listen()
        begun.append(
            subprocess.Popen(
                [sys.executable, "-c", AS_SYSTEMD, str(listener.fileno()), exec_start(home)],
                pass_fds=[listener.fileno()],
                start_new_session=True,
                env={"PATH": os.environ["PATH"], "CREDENTIALS_DIRECTORY": "/run/credentials/x"},
            )
        )
        listener.close()
        return address, begun[-1]

    yield start
    for process in begun:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_command_runs_in_the_applications_directory_and_knows_its_secret_files(started, tmp_path):
    told = tmp_path / "told"
    own = f'pwd >{told}.new; echo "$KEY_FILE" >>{told}.new; mv {told}.new {told}; exec sleep 60'
    started(own, {"KEY_FILE": "a key"}, PERGOLA_DIRECTORY="apps/api")
    until = time.monotonic() + 10
    while not told.exists() and time.monotonic() < until:
        time.sleep(0.05)
    place = tmp_path / "notes/slots/blue/code/apps/api"
    assert told.read_text() == f"{place}\n/run/credentials/x/app_a key\n"


def answer(gate, address):
    until = time.monotonic() + 10
    while time.monotonic() < until:
        status, text, _ = gate.ask(address, "/", "notes.example.org")
        if status:
            return text
        time.sleep(0.05)
    raise AssertionError(text)


@pytest.mark.parametrize(
    ("own", "how"),
    [
        ("{python} serves.py", "given"),
        ("MODE=x {python} serves.py", "given"),
        ("test -e serves.py && exec {python} serves.py", "given"),
        ("exec {python} serves.py\n", "given"),
        ("{python} serves.py $PORT", "port"),
        ("cd .. && exec {python} code/serves.py ${{PORT}}", "port"),
        ('{python} serves.py - "$PERGOLA_SOCKET"', "socket"),
    ],
)
def test_a_command_serves_on_what_it_is_given_or_behind_it(started, gate, own, how):
    address, process = started(own.format(python=sys.executable))
    found, client, pid = answer(gate, address).split()
    assert (found, client) == (how, "127.0.0.1")
    assert int(pid) == process.pid, "systemd watches and ends the server itself"


def test_two_slots_never_have_the_same_port(tmp_path):
    """Also when one has it only reserved: its server does not listen yet."""
    ports = set()
    running = []
    for number in range(8):
        out = tmp_path / str(number)
        command = f"echo $PORT >{out}; exec sleep 30"
        running.append(
            subprocess.Popen(
                [sys.executable, "-I", LIB / "launcher/proxied.py", "port", command],
                pass_fds=(),
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
    try:
        until = time.monotonic() + 10
        while len(ports) < len(running) and time.monotonic() < until:
            ports = {path.read_text() for path in tmp_path.iterdir()} - {""}
            time.sleep(0.05)
    finally:
        for process in running:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert len(ports) == len(running)


def test_uvicorn_is_started_by_the_unit_with_its_factory_and_options():
    made = Manifest(asgi="shop:create()", uvicorn_options=["--root-path", "/api"])
    variables = servers.environment(made, Path("/srv/notes"))
    assert variables["PERGOLA_SERVER_COMMAND"] == ""
    assert variables["PERGOLA_ASGI"] == "shop:create"
    assert variables["PERGOLA_UVICORN_OPTIONS"] == "--factory --root-path /api"
    assert "FORWARDED_ALLOW_IPS" not in variables


@pytest.mark.parametrize(
    ("server", "has"),
    [
        ("hypercorn", ["hypercorn --bind fd://3 --workers 2", " pergola_forwarded:app"]),
        ("granian", ["proxied.py socket ", 'granian --uds "$PERGOLA_SOCKET" --interface asgi']),
    ],
)
def test_other_servers_of_the_lock_are_started_as_they_want_it(server, has):
    made = Manifest(asgi="shop.main:app", workers=2, server=server, server_options=["--a", "b c"])
    command = servers.command(made, Path("/srv/notes/lib/launcher"))
    assert command.startswith("exec ")
    assert all(part in command for part in has)
    assert "--a '" in command.replace("'\"'\"'", "'")


def test_only_what_nobody_else_can_reach_is_trusted_to_name_the_client():
    for own, trusted in (
        ("gunicorn shop", True),
        ("serve $PERGOLA_SOCKET", True),
        ("s $PORT", False),
    ):
        made = Manifest(server="command", server_command=own)
        found = "FORWARDED_ALLOW_IPS" in servers.environment(made, Path("/srv/notes"))
        assert found == trusted, own


def test_a_release_says_what_it_is_to_sentry_and_opentelemetry():
    assert servers.telemetry(SOME, "notes") == {
        "SENTRY_RELEASE": "a1-b2",
        "OTEL_RESOURCE_ATTRIBUTES": "service.version=a1-b2,service.name=notes",
    }


def test_a_command_of_several_is_refused_without_exec():
    """The rule of the settings is the program's own."""
    rules = yaml.safe_load((PROJECT / "roles/app/meta/checks.yml").read_text())["rules"]
    (rule,) = [one["broken"] for one in rules if "`exec` before" in one["says"]]
    for own, broken in (
        ("gunicorn shop", False),
        ("./wait && gunicorn shop", True),
        ("./wait && exec gunicorn shop", False),
        ("./wait; gunicorn -b :$PORT shop", True),
        ("a\nb", True),
    ):
        templar = Templar(DataLoader(), {"app_server_command": own})
        assert templar.template(trust_as_template(rule)) is broken, own


def test_pergolas_own_uvicorn_is_noted_with_its_version(tmp_path):
    assert servers.own_server(tmp_path) == ""
    (tmp_path / "lib/pergola/uvicorn-0.54.0.dist-info").mkdir(parents=True)
    assert servers.own_server(tmp_path) == "uvicorn 0.54.0"
    assert not servers.has_uvicorn(tmp_path)
    (tmp_path / "lib/python3.13/site-packages/uvicorn").mkdir(parents=True)
    (tmp_path / "lib/python3.13/site-packages/uvicorn/__init__.py").touch()
    assert servers.has_uvicorn(tmp_path)


def test_the_list_of_pergolas_own_uvicorn_is_hashed_and_has_all_that_the_launcher_uses():
    text = servers.OWN.read_text()
    assert re.findall(r"^([\w-]+)==", text, re.MULTILINE) == sorted(
        re.findall(r"^([\w-]+)==", text, re.MULTILINE)
    )
    assert {"uvicorn", "httptools", "uvloop", "websockets"} <= set(
        re.findall(r"^([\w-]+)==", text, re.MULTILINE)
    )
    assert all(
        "--hash=sha256:" in part for part in re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    )
