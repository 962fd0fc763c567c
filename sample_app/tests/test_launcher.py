"""The launcher that the slot's unit runs, on a listening socket given to it, when it is stopped.

The application is called `serve`, like the launcher: every test shows that they do not mix.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

LAUNCHER = Path(__file__).parents[2] / "roles/app/files/lib/launcher/serve.py"
LIMIT = 20  # seconds a read may take, and a process to end: more than anything here should need

APP = """
import asyncio, os, sys
from starlette.applications import Starlette
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute

async def pid(request):
    return Response(str(os.getpid()))

async def path(request):
    return Response(str(sys.path))

async def echo(request):
    return Response(await request.body())

async def ticks():
    for number in range(8):
        yield f"data: {number}\\n\\n"
        await asyncio.sleep(0.25)
    yield "END"

async def quiet():
    yield "data: hello\\n\\n"
    await asyncio.sleep(60)

async def flood():
    while True:
        yield b"data: " + 65536 * b"x" + b"\\n\\n"

async def talk(socket):
    await socket.accept()
    await socket.receive()

def streamed(body, kind):
    async def answer(request):
        return StreamingResponse(body(), media_type=kind)
    return answer

app = Starlette(routes=[
    Route("/pid", pid),
    Route("/path", path),
    Route("/echo", echo, methods=["POST"]),
    Route("/slow", streamed(ticks, "text/plain")),
    Route("/events", streamed(quiet, "text/event-stream")),
    Route("/flood", streamed(flood, "text/event-stream")),
    WebSocketRoute("/talk", talk),
    Route("/answer", streamed(ticks, "text/event-stream"), methods=["POST"]),
])
"""

# Put in front of what the launcher imports (as sitecustomize).
WITHOUT_HTTPTOOLS = "import sys; sys.modules['httptools'] = None"
UVICORN_OF_THE_FUTURE = """
from pathlib import Path
from uvicorn.protocols.http import httptools_impl as module
source = Path(module.__file__).read_text().replace("self.app", "self.asgi")
exec(compile(source, module.__file__, "exec"), vars(module))
"""


@dataclass
class Server:
    """A running launcher."""

    process: subprocess.Popen
    address: str
    log: Path

    def connect(self) -> "Client":
        return Client(self.address)

    def stop(self) -> float:
        """Send SIGTERM as systemd does, to the first process only; returns the time."""
        self.process.send_signal(signal.SIGTERM)
        return time.monotonic()


class Client:
    """One connection, raw. What is cut off is no exception but something that no test expects."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(LIMIT)
        self.socket.connect(address)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def send(self, method: str, path: str, body: bytes = b"") -> None:
        head = f"{method} {path} HTTP/1.1\r\nHost: app.test\r\nContent-Length: {len(body)}\r\n\r\n"
        with suppress(BrokenPipeError):
            self.socket.sendall(head.encode() + body)

    def upgrade(self, path: str) -> int:
        """Become a WebSocket; returns the status."""
        key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        head = f"GET {path} HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket"
        self.socket.sendall(f"{head}\r\n{key}\r\n\r\n".encode())
        return self.head()[0]

    def ping(self) -> bool:
        """Send a ping over the WebSocket; whether it could be sent."""
        try:
            self.socket.sendall(b"\x89\x80" + bytes(4))
        except BrokenPipeError:
            return False
        return True

    def line(self) -> bytes:
        try:
            return self.file.readline().removesuffix(b"\r\n")
        except OSError:
            return b""

    def head(self) -> tuple[int, dict[str, str]]:
        status = self.line()
        fields = (field.decode().split(": ", 1) for field in iter(self.line, b""))
        headers = {name.lower(): value for name, value in fields}
        return int(status.split()[1]) if status else 0, headers

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        status, headers = self.head()
        return status, headers, self.file.read(int(headers.get("content-length", 0)))

    def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        self.send(method, path, body)
        return self.answer()

    def chunks(self) -> bytes:
        """The rest of a chunked body; says so if its last chunk is missing."""
        body = b""
        while size := self.line():
            body += self.file.read(int(size, 16))
            if self.line() != b"":
                break
            if size == b"0":
                return body
        return body + b" and then nothing"

    def closed(self) -> bool:
        """Wait for the end; whether it came, and nothing else."""
        try:
            return self.file.read(1) == b""
        except OSError:
            return False


@contextmanager
def listening(directory: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "s"))
        listener.listen()
        (directory / "serve.py").write_text(APP)
        yield listener


@contextmanager
def serving(
    listener: socket.socket, *options: str, customize: str = "", **more: str
) -> Iterator[Server]:
    """Start the launcher as the unit does and wait until it answers."""
    address = listener.getsockname()
    home = Path(address).parent
    (home / "custom").mkdir(exist_ok=True)
    (home / "custom/sitecustomize.py").write_text(customize)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(home / "custom"), **more}
    fd = str(listener.fileno())
    command = [sys.executable, str(LAUNCHER), "serve:app", "--fd", fd, "--no-access-log"]
    command += ["--timeout-keep-alive", "75", "--timeout-graceful-shutdown", "20", *options]
    log = home / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=home,
            env=environment,
            pass_fds=[listener.fileno()],
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    server = Server(process, address, log)
    try:
        with server.connect() as client:
            assert client.ask("GET", "/pid")[0] == 200
        yield server
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with its workers
        process.wait()


VARIANTS = {
    "httptools": ([], ""),
    "h11": (["--loop", "asyncio"], WITHOUT_HTTPTOOLS),
    "workers": (["--workers", "2"], ""),
}


def shut_down(directory: Path, options: list[str], customize: str) -> SimpleNamespace:
    """What is seen of a shutdown with all that can be under way; times are since SIGTERM."""
    with ExitStack() as stack:
        listener = stack.enter_context(listening(directory))
        server = stack.enter_context(serving(listener, *options, customize=customize))

        def opened(*what: str) -> Client:
            client = stack.enter_context(server.connect())
            if what:
                client.send(*what)
                assert client.head()[0] == 200
            return client

        slow, post = opened("GET", "/slow"), opened("POST", "/answer")
        events, flood, _unread = (opened("GET", path) for path in ("/events", "/flood", "/flood"))
        socket_ = stack.enter_context(server.connect())
        assert socket_.upgrade("/talk") == 101
        opened()  # asks nothing
        idle = opened()
        before = idle.ask("GET", "/path")
        time.sleep(0.2)

        seen, start = SimpleNamespace(before=before), server.stop()
        seen.events = events.chunks()
        seen.events_after = time.monotonic() - start
        seen.goodbye = socket_.file.read(4)
        seen.pings = socket_.ping(), socket_.ping()
        time.sleep(0.3)
        seen.answer = idle.ask("POST", "/echo", b"kept")
        seen.flood = flood.chunks()
        seen.slow, seen.post = slow.chunks(), post.chunks()
        seen.second_answer = slow.ask("POST", "/echo", b"again")
        seen.closed = [client.closed() for client in (idle, slow, post)]
        seen.status = None
        with suppress(subprocess.TimeoutExpired):
            seen.status = server.process.wait(LIMIT)
        seen.after = time.monotonic() - start
        seen.log = server.log.read_text()
        return seen


@pytest.fixture(scope="module")
def drains(tmp_path_factory) -> dict[str, Future]:
    with ThreadPoolExecutor() as pool:  # at the same time, as they mostly wait
        return {
            name: pool.submit(shut_down, tmp_path_factory.mktemp(name), *variant)
            for name, variant in VARIANTS.items()
        }


@pytest.fixture(params=VARIANTS)
def drain(request, drains) -> SimpleNamespace:
    return drains[request.param].result()


def test_the_application_is_imported_from_its_own_directory(drain):
    _, headers, path = drain.before
    assert str(LAUNCHER.parent) not in path.decode()
    assert "connection" not in headers


def test_a_request_on_a_kept_connection_is_answered_after_sigterm(drain):
    status, headers, body = drain.answer
    assert (status, body) == (200, b"kept")
    assert headers["connection"] == "close"


def test_a_request_right_after_the_response_under_way_is_answered_too(drain):
    status, headers, body = drain.second_answer
    assert (status, body) == (200, b"again")
    assert headers["connection"] == "close"


def test_an_event_stream_is_ended_properly_and_at_once(drain):
    assert drain.events == b"data: hello\n\n"
    assert drain.events_after < 1


def test_an_event_stream_that_is_just_sending_is_ended_properly(drain):
    assert drain.flood[-9:] == b"xxxxxxx\n\n"


def test_a_websocket_is_closed_with_a_code_and_listens_for_a_moment_more(drain):
    assert drain.goodbye == b"\x88\x02" + (1012).to_bytes(2)
    assert drain.pings == (True, True)


def test_a_response_under_way_is_finished(drain):
    assert drain.slow[-12:] == b"data: 7\n\nEND"


def test_events_that_answer_a_post_are_finished(drain):
    assert drain.post[-12:] == b"data: 7\n\nEND"


def test_every_connection_is_closed_and_the_process_ends_without_complaint(drain):
    assert drain.closed == [True, True, True]
    assert drain.after < 5  # 2 for the slow response, 1 for what may come after it
    # Uvicorn raises the signal again for itself; as a parent of workers it does not.
    assert drain.status in (0, -signal.SIGTERM)
    for word in ("Traceback", "ERROR", "Exception", "WARNING"):
        assert word not in drain.log


def test_a_new_connection_waits_for_the_next_process(tmp_path):
    with listening(tmp_path) as listener, ExitStack() as stack:
        old = stack.enter_context(serving(listener))
        kept = stack.enter_context(old.connect())
        kept.ask("GET", "/pid")
        old.stop()
        time.sleep(0.3)
        client = stack.enter_context(old.connect())
        client.send("GET", "/pid")
        new = stack.enter_context(serving(listener))
        assert client.answer()[2] == str(new.process.pid).encode()


def test_an_idle_process_ends_after_a_second(tmp_path):
    with listening(tmp_path) as listener, serving(listener) as server, server.connect() as kept:
        kept.ask("GET", "/pid")
        start = server.stop()
        assert kept.closed()
        assert 0.9 < time.monotonic() - start < 2
        server.process.wait(LIMIT)
        assert time.monotonic() - start < 2.5


@pytest.mark.parametrize("by", ["option", "environment"])
def test_another_http_implementation_can_be_chosen(tmp_path, by):
    options = ["--http", "h11"] if by == "option" else []
    environment = {} if by == "option" else {"UVICORN_HTTP": "h11"}
    with (
        listening(tmp_path) as listener,
        serving(listener, *options, **environment) as server,
        server.connect() as kept,
    ):
        kept.ask("GET", "/pid")
        start = server.stop()
        assert kept.closed()
        assert time.monotonic() - start < 0.5  # plain Uvicorn closes at once


def test_with_an_unknown_uvicorn_it_serves_without_the_better_shutdown(tmp_path):
    with (
        listening(tmp_path) as listener,
        serving(listener, customize=UVICORN_OF_THE_FUTURE) as server,
        server.connect() as kept,
    ):
        kept.ask("GET", "/pid")
        said = server.log.read_text()
        assert said.startswith("serve.py: running plain Uvicorn")
        assert said.splitlines()[0].endswith("HttpToolsProtocol has no app")
        server.stop()
        assert kept.closed()
        assert server.process.wait(LIMIT) in (0, -signal.SIGTERM)
