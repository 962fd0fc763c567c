"""Load that never retries: every request that is not answered as expected counts as failed.

Run it while something happens that nobody may notice (a deploy, a restart). It prints one JSON
line, and exits 1 if anything failed. HTTP/1.1 is spoken by hand: a client library opens a new
connection quietly when a kept one was closed under it, and that is a failure to be counted.
HTTP/2 is httpx's; it repeats only a request that the server said it has not looked at (GOAWAY).

An event stream or WebSocket that the server ends is an event and is connected again, as browsers
do; a connection that then fails is a failure. All times come from the monotonic clock.
It talks to loopback and to the private network given, and to nothing else.
"""

import argparse
import asyncio
import collections
import contextlib
import ipaddress
import itertools
import json
import ssl
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import websockets

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

TEST_NETWORK = "10.213.0.0/16"
PRIVATE = [
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1", "fc00::/7")
]

# Parts of the load. Each is (how many at once, share of the requests).
KEPT_CONNECTIONS = (8, 0.85)
NEW_CONNECTIONS = (1, 0.08)
H2_STREAMS = (2, 0.07)  # on one connection
SSE_CLIENTS = 2
WEBSOCKET_CLIENTS = 3

# Seconds.
STREAM_EVERY = 0.5
PING_EVERY = 0.1
RECONNECT_PAUSE = 0.2
LOOK_EVERY = 0.25  # how soon an idle reader sees that the load is over
FILE_EVERY = 0.05  # how often the files of the caller are looked at

# What fails when Caddy reloads or restarts, and is neither Pergola's nor the application's doing;
# with how its kinds begin. httpx gives up streams that Caddy still answers (a GOAWAY without an
# error; browsers wait), and those that it begins while Caddy closes the connection (browsers open
# another one). Caddy before 2.7 has no certificate in the moment between a new listener and its
# certificates, and the kept connections that it has just closed come back together in that moment.
WITH_CADDY = (
    ("h2-", "ConnectionTerminated error_code:0"),
    ("h2-", "WriteError"),
    ("", "TLSV1_ALERT_INTERNAL_ERROR"),
)
ALLOWED_WITH_CADDY = 2  # moments
MOMENT = 0.1
SHORT = ("kept-", "new-", "h2-")  # how the kinds of short requests begin
FIRST_WINDOW = "start"
LISTED_FAILURES = 20
REASON_LENGTH = 120  # characters
READ_AT_MOST = 65536  # bytes
NO_BODY = (204, 304)


@dataclass(frozen=True)
class Request:
    """One kind of request and the statuses that are right for it."""

    method: str
    path: str
    expected: frozenset[int] = frozenset({200})
    body: bytes = b""

    @property
    def content_type(self) -> str:
        """What the body looks like."""
        if self.body.lstrip()[:1] in (b"{", b"["):
            return "application/json"
        form = b"=" in self.body and b"\n" not in self.body
        return "application/x-www-form-urlencoded" if form else "application/octet-stream"


@dataclass(frozen=True)
class Options:
    """What the load does; the defaults are those of the command line. Times are in seconds."""

    address: str
    name: str
    seconds: float
    requests: Sequence[Request] = (Request("GET", "/"),)
    http_port: int = 80
    https_port: int = 443
    ca: Path | None = None
    plain: bool = False
    stream: str | None = None
    stream_end: str = ""
    sse: str | None = None
    websocket: str | None = None
    headers: Sequence[tuple[str, str]] = ()
    rate: float = 250
    timeout: float = 30
    until: Path | None = None
    marks: Path | None = None
    networks: Sequence[str] = (TEST_NETWORK,)

    @property
    def port(self) -> int:
        """The port in use."""
        return self.http_port if self.plain else self.https_port

    @property
    def host(self) -> str:
        """The Host header: without the port where that is the usual one."""
        usual = 80 if self.plain else 443
        return self.name if self.port == usual else f"{self.name}:{self.port}"

    @property
    def origin(self) -> str:
        """The origin of the site's own pages, which its forms and scripts send."""
        return f"{'http' if self.plain else 'https'}://{self.host}"


@dataclass
class Result:
    """What was seen. Latencies are in milliseconds.

    releases_by_kind has all short requests as "short". windows has, by name and in order of
    appearance: ok and failed (all kinds), seconds, and p50, p99 and max of the short requests that
    were answered, if there were any. A request belongs to the window in which it began.
    """

    seconds: float = 0
    ok: int = 0
    failed: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    failures: dict[str, dict[str, int]] = field(default_factory=dict)
    latency_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    releases: dict[str, int] = field(default_factory=dict)
    releases_by_kind: dict[str, dict[str, int]] = field(default_factory=dict)
    windows: dict[str, dict[str, float]] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    first_failures: list[tuple[float, str, str]] = field(default_factory=list)

    @property
    def lost(self) -> list[tuple[float, str, str]]:
        """The first failures but for a few that are due to a reload of Caddy alone."""
        excused = [
            found
            for found in self.first_failures
            if any(found[1].startswith(kind) and why in found[2] for kind, why in WITH_CADDY)
        ]
        rest = [found for found in self.first_failures if found not in excused]
        moments = [at for at, *_ in excused]
        moments = [at for n, at in enumerate(moments) if n == 0 or at > moments[n - 1] + MOMENT]
        few = self.failed <= LISTED_FAILURES and len(moments) <= ALLOWED_WITH_CADDY
        return rest if few else excused + rest


@dataclass
class Window:
    """What was seen of the requests that began under one mark."""

    ok: int = 0
    failed: int = 0
    taken: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Response:
    """One HTTP/1.1 response, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        """Whether the server said that it closes the connection."""
        return "close" in self.headers.get("connection", "").lower()


def reason(error: BaseException) -> str:
    """An error as a short text that is the same for the same cause."""
    return f"{type(error).__name__} {error}".strip()[:REASON_LENGTH]


def latencies(taken: Sequence[float]) -> dict[str, float]:
    """The median, 99th percentile and maximum of times in seconds, in milliseconds."""
    ordered = sorted(taken)

    def at(fraction: float) -> float:
        return round(ordered[min(int(len(ordered) * fraction), len(ordered) - 1)] * 1e3, 1)

    return {"p50": at(0.5), "p99": at(0.99), "max": at(1)}


# HTTP/1.1 by hand; EOFError says where a response was cut.


async def read_line(reader: asyncio.StreamReader, where: str) -> bytes:
    """One line of a response."""
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise EOFError(f"closed {where}")
    return line


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """The status and headers of the final response, after any 1xx."""
    while True:
        status = int((await read_line(reader, "before the response")).split()[1])
        headers = {}
        while line := (await read_line(reader, "in the headers")).strip():
            key, _, value = line.decode("latin-1").partition(":")
            headers[key.lower()] = value.strip()
        if status >= 200:
            return status, headers


async def read_chunk(reader: asyncio.StreamReader) -> bytes:
    """One chunk of a body, empty if it is the last one."""
    size = int((await read_line(reader, "in the chunks")).split(b";")[0], 16)
    return (await reader.readexactly(size + 2))[:size] if size else b""


def chunked(headers: dict[str, str]) -> bool:
    """Whether a body comes in chunks."""
    return headers.get("transfer-encoding", "").lower() == "chunked"


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    """A chunked body."""
    parts = []
    while part := await read_chunk(reader):
        parts.append(part)
    while (await read_line(reader, "in the trailers")).strip():
        pass
    return b"".join(parts)


async def read_response(reader: asyncio.StreamReader) -> Response:
    """One whole response."""
    status, headers = await read_head(reader)
    try:
        if status in NO_BODY:
            return Response(status, headers, b"")
        if chunked(headers):
            return Response(status, headers, await read_chunks(reader))
        if "content-length" in headers:
            body = await reader.readexactly(int(headers["content-length"]))
            return Response(status, headers, body)
    except asyncio.IncompleteReadError:
        raise EOFError("closed in the body") from None
    # Without a length the end of the connection is the end of the body.
    return Response(status, headers | {"connection": "close"}, await reader.read())


class Connection:
    """One HTTP/1.1 connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.used = False

    def close(self) -> None:
        """Close without waiting for the other side."""
        self.writer.close()


class Load:
    """One run of the load."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.context = None if options.plain else self.tls()
        self.start = time.monotonic()
        self.looked = self.start
        self.stopped = False
        self.counts: collections.Counter[str] = collections.Counter()
        self.events: collections.Counter[str] = collections.Counter()
        self.releases: dict[str, collections.Counter[str]] = collections.defaultdict(
            collections.Counter
        )
        self.marks = [(self.start, FIRST_WINDOW)]
        self.windows = {FIRST_WINDOW: Window()}
        self.failures: list[tuple[float, str, str]] = []
        self.taken: dict[str, list[float]] = collections.defaultdict(list)

    def tls(self) -> ssl.SSLContext:
        """A new TLS context: httpx offers HTTP/2 in the one it gets, so none is shared."""
        return ssl.create_default_context(cafile=self.options.ca)

    # Bookkeeping

    def running(self) -> bool:
        """Whether the load goes on: neither its time is over nor its file there."""
        now = time.monotonic()
        if now - self.start >= self.options.seconds:
            self.stopped = True
        elif now - self.looked >= FILE_EVERY:
            self.looked = now
            if self.options.marks:
                self.mark(self.options.marks, now)
            if self.options.until and self.options.until.exists():
                self.stopped = True
        return not self.stopped

    def mark(self, marks: Path, now: float) -> None:
        """Begin a window for every new line of the file, or go on with the one of that name."""
        with contextlib.suppress(FileNotFoundError):
            # What has no newline yet is still being written.
            lines = marks.read_text(errors="replace").split("\n")[:-1]
            for line in lines[len(self.marks) - 1 :]:
                self.marks.append((now, line.strip()))
                self.windows.setdefault(line.strip(), Window())

    def window(self, began: float) -> Window:
        """The window in which a request began: a late answer is due to what happened there."""
        return self.windows[next(name for at, name in reversed(self.marks) if at <= began)]

    def succeed(self, kind: str, began: float, release: str | None = None) -> None:
        """Count a request that was answered as expected."""
        short = kind.startswith(SHORT)
        taken = time.monotonic() - began
        window = self.window(began)
        self.counts[kind] += 1
        self.taken[kind].append(taken)
        window.ok += 1
        if short:
            window.taken.append(taken)
        if release:
            self.releases["short" if short else kind][release] += 1

    def fail(self, kind: str, began: float, why: str) -> None:
        """Count a request that was not."""
        self.window(began).failed += 1
        self.failures.append((round(time.monotonic() - self.start, 3), kind, why))

    def judge(self, kind: str, began: float, request: Request, status: int, release: str) -> None:
        """Count a complete response by its status."""
        if status in request.expected:
            self.succeed(kind, began, release)
        else:
            self.fail(kind, began, f"status {status} of {request.method} {request.path}")

    def paced(self, part: tuple[int, float]) -> float:
        """Seconds from one request of a worker to its next."""
        workers, share = part
        return workers / (self.options.rate * share)

    def cycle(self, worker: int) -> Iterator[Request]:
        """The requests in turn, every worker beginning at another one."""
        requests = self.options.requests
        return itertools.islice(itertools.cycle(requests), worker % len(requests), None)

    def headers(self, request: Request) -> list[tuple[str, str]]:
        """The headers of a request, as a page of the site itself would send them."""
        headers = [("host", self.options.host), ("accept", "*/*"), *self.options.headers]
        if request.method != "GET":
            headers += [("origin", self.options.origin), ("sec-fetch-site", "same-origin")]
            headers += [("content-type", request.content_type)]
            headers += [("content-length", str(len(request.body)))]
        return headers

    # HTTP/1.1

    async def connect(self) -> Connection:
        """A new connection; its time counts into the request that needed it."""
        name = None if self.options.plain else self.options.name
        opening = asyncio.open_connection(
            self.options.address, self.options.port, ssl=self.context, server_hostname=name
        )
        return Connection(*await opening)

    def send(self, connection: Connection, request: Request, *extra: tuple[str, str]) -> None:
        """Write a request."""
        lines = [f"{request.method} {request.path} HTTP/1.1"]
        lines += [f"{key}: {value}" for key, value in (*self.headers(request), *extra)]
        connection.writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + request.body)

    async def ask(
        self, kind: str, request: Request, connection: Connection | None, *extra: tuple[str, str]
    ) -> Connection | None:
        """One request, once: the connection to use again, None if it is over."""
        began = time.monotonic()
        reused = connection is not None
        try:
            async with asyncio.timeout(self.options.timeout):
                connection = connection or await self.connect()
                self.send(connection, request, *extra)
                response = await read_response(connection.reader)
        except Exception as error:  # whatever it is, the request was not answered
            self.fail(kind, began, reason(error) + (" (kept connection)" if reused else ""))
            if connection:
                connection.close()
            return None
        release = response.headers.get("x-release", "")
        self.judge(kind, began, request, response.status, release)
        if response.closes or extra:
            connection.close()
            return None
        return connection

    async def kept(self, worker: int) -> None:
        """Requests one after another on one connection, as long as the server keeps it."""
        connection = None
        pace = self.paced(KEPT_CONNECTIONS)
        await asyncio.sleep(pace * worker / KEPT_CONNECTIONS[0])
        for request in self.cycle(worker):
            if not self.running():
                break
            began = time.monotonic()
            connection = await self.ask(f"kept-{request.method}", request, connection)
            await asyncio.sleep(max(0, pace - (time.monotonic() - began)))
        if connection:
            connection.close()

    async def new(self, worker: int) -> None:
        """Requests on a connection each."""
        pace = self.paced(NEW_CONNECTIONS)
        for request in self.cycle(worker):
            if not self.running():
                break
            began = time.monotonic()
            await self.ask(f"new-{request.method}", request, None, ("connection", "close"))
            await asyncio.sleep(max(0, pace - (time.monotonic() - began)))

    # HTTP/2

    async def h2(self, client: httpx.AsyncClient, worker: int) -> None:
        """Requests one after another on a stream each of the one HTTP/2 connection."""
        pace = self.paced(H2_STREAMS)
        for request in self.cycle(worker):
            if not self.running():
                break
            began = time.monotonic()
            await self.ask_h2(client, request)
            await asyncio.sleep(max(0, pace - (time.monotonic() - began)))

    async def ask_h2(self, client: httpx.AsyncClient, request: Request) -> None:
        """One request, once."""
        kind = f"h2-{request.method}"
        began = time.monotonic()
        try:
            async with asyncio.timeout(self.options.timeout):
                response = await client.request(
                    request.method,
                    request.path,
                    content=request.body or None,
                    headers=self.headers(request),
                    extensions={"sni_hostname": self.options.name},
                )
        except Exception as error:
            self.fail(kind, began, reason(error))
            return
        if response.http_version != "HTTP/2":
            self.fail(kind, began, f"answered over {response.http_version}")
            return
        release = response.headers.get("x-release", "")
        self.judge(kind, began, request, response.status_code, release)

    def h2_client(self) -> httpx.AsyncClient:
        """A client with one connection and no proxy."""
        address = ipaddress.ip_address(self.options.address)
        host = f"[{address}]" if address.version == 6 else str(address)
        return httpx.AsyncClient(
            base_url=f"https://{host}:{self.options.port}",
            http2=True,
            verify=self.tls(),
            timeout=self.options.timeout,
            limits=httpx.Limits(max_connections=1),
            trust_env=False,
        )

    # What lasts

    async def streams(self, path: str) -> None:
        """Responses that take a while, begun every half second; the last ones may finish."""
        tasks = []
        while self.running():
            tasks.append(asyncio.create_task(self.one_stream(Request("GET", path))))
            await asyncio.sleep(STREAM_EVERY)
        await asyncio.gather(*tasks)

    async def one_stream(self, request: Request) -> None:
        """One response, which must be whole."""
        began = time.monotonic()
        connection = None
        try:
            async with asyncio.timeout(self.options.timeout):
                connection = await self.connect()
                self.send(connection, request, ("connection", "close"))
                response = await read_response(connection.reader)
        except Exception as error:
            self.fail("stream", began, reason(error))
            return
        finally:
            if connection:
                connection.close()
        # A proxy may end the chunks cleanly although the app behind it died.
        if not response.body.rstrip().endswith(self.options.stream_end.encode()):
            self.fail("stream", began, "cut before its end")
            return
        release = response.headers.get("x-release", "")
        self.judge("stream", began, request, response.status, release)

    async def sse(self, path: str) -> None:
        """An event stream, connected again whenever the server ends it."""
        request = Request("GET", path)
        while self.running():
            began = time.monotonic()
            connection = None
            try:
                async with asyncio.timeout(self.options.timeout):
                    connection = await self.connect()
                    self.send(connection, request, ("accept", "text/event-stream"))
                    status, headers = await read_head(connection.reader)
                self.judge("sse", began, request, status, headers.get("x-release", ""))
                if status in request.expected:
                    await self.listen(connection.reader, headers)
            except Exception as error:
                self.fail("sse", began, reason(error))
            finally:
                if connection:
                    connection.close()
            await self.pause()

    async def listen(self, reader: asyncio.StreamReader, headers: dict[str, str]) -> None:
        """Count an event stream's messages until it or the load ends."""
        # A task of its own: a read that is given up would lose the size of a chunk on its way.
        messages = asyncio.create_task(self.messages(reader, chunked(headers)))
        while self.running() and not messages.done():
            await asyncio.wait([messages], timeout=LOOK_EVERY)  # silence is no failure
        messages.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            self.events[f"sse ended: {await messages}"] += 1

    async def messages(self, reader: asyncio.StreamReader, in_chunks: bool) -> str:
        """Count an event stream's messages until it ends, and say how it did."""
        line = b""
        try:
            while part := await (read_chunk(reader) if in_chunks else reader.read(READ_AT_MOST)):
                *lines, line = (line + part).split(b"\n")
                self.events["sse messages"] += sum(whole.startswith(b"data") for whole in lines)
        except EOFError:
            return "connection closed"
        except OSError as error:
            return type(error).__name__
        except ValueError as error:  # what is no chunk is no end either
            self.fail("sse", time.monotonic(), reason(error))
            return type(error).__name__
        return "last chunk" if in_chunks else "connection closed"

    async def websocket(self, path: str) -> None:
        """A WebSocket, pinged all the time and connected again whenever the server ends it."""
        while self.running():
            began = time.monotonic()
            try:
                socket = await self.open_websocket(path)
            except Exception as error:
                self.fail("websocket", began, reason(error))
                await self.pause()
                continue
            answer = socket.response
            release = ", ".join(answer.headers.get_all("x-release")) if answer else ""
            self.succeed("websocket", began, release)
            try:
                await self.ping(socket)
            except websockets.ConnectionClosed as closed:
                how = f"code {closed.rcvd.code}" if closed.rcvd else "without a close frame"
                self.events[f"websocket ended: {how}"] += 1
            finally:
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(socket.close(), RECONNECT_PAUSE)
            await self.pause()

    async def open_websocket(self, path: str) -> websockets.ClientConnection:
        """A WebSocket to the address under test, whatever its name resolves to."""
        scheme = "ws" if self.options.plain else "wss"
        return await websockets.connect(
            f"{scheme}://{self.options.host}{path}",
            host=self.options.address,
            port=self.options.port,
            ssl=self.context,
            origin=websockets.Origin(self.options.origin),
            additional_headers=list(self.options.headers),
            open_timeout=self.options.timeout,
            close_timeout=RECONNECT_PAUSE,
            ping_interval=None,
            proxy=None,
        )

    async def ping(self, socket: websockets.ClientConnection) -> None:
        """Ping until the load ends: every server answers that, whatever its messages mean."""
        while self.running():
            began = time.monotonic()
            try:
                async with asyncio.timeout(self.options.timeout):
                    await (await socket.ping())
            except websockets.ConnectionClosed:
                raise  # that is an event
            except Exception as error:
                self.fail("websocket-ping", began, reason(error))
                return
            self.succeed("websocket-ping", began)
            await asyncio.sleep(PING_EVERY)

    async def pause(self) -> None:
        """Wait before connecting again, so that a refusing server is not flooded."""
        if self.running():
            await asyncio.sleep(RECONNECT_PAUSE)

    # The whole

    def jobs(self, client: httpx.AsyncClient | None) -> list[Coroutine[Any, Any, None]]:
        """Everything that runs at the same time."""
        jobs = [self.kept(worker) for worker in range(KEPT_CONNECTIONS[0])]
        jobs += [self.new(worker) for worker in range(NEW_CONNECTIONS[0])]
        if client:
            jobs += [self.h2(client, worker) for worker in range(H2_STREAMS[0])]
        if self.options.stream:
            jobs += [self.streams(self.options.stream)]
        if self.options.sse:
            jobs += [self.sse(self.options.sse) for _ in range(SSE_CLIENTS)]
        if self.options.websocket:
            jobs += [self.websocket(self.options.websocket) for _ in range(WEBSOCKET_CLIENTS)]
        return jobs

    async def run(self) -> Result:
        """Run until the time is over or the file is there, and say what was seen."""
        if self.options.plain:
            await asyncio.gather(*self.jobs(None))
        else:
            async with self.h2_client() as client:
                await asyncio.gather(*self.jobs(client))
        return self.result()

    def result(self) -> Result:
        """What was seen so far."""
        failures: dict[str, dict[str, int]] = collections.defaultdict(collections.Counter)
        for _, kind, why in self.failures:
            failures[kind][why] += 1
        return Result(
            seconds=round(time.monotonic() - self.start, 1),
            ok=self.counts.total(),
            failed=len(self.failures),
            counts=dict(self.counts),
            failures={kind: dict(whys) for kind, whys in failures.items()},
            latency_ms={kind: latencies(taken) for kind, taken in self.taken.items()},
            releases=dict(sum(self.releases.values(), collections.Counter())),
            releases_by_kind={kind: dict(seen) for kind, seen in self.releases.items()},
            windows=self.seen_by_window(),
            events=dict(self.events),
            first_failures=self.failures[:LISTED_FAILURES],
        )

    def seen_by_window(self) -> dict[str, dict[str, float]]:
        """What was seen under each mark."""
        lasted = dict.fromkeys(self.windows, 0.0)
        for (began, name), (ended, _) in itertools.pairwise([*self.marks, (time.monotonic(), "")]):
            lasted[name] += ended - began
        return {
            name: {"ok": window.ok, "failed": window.failed, "seconds": round(lasted[name], 2)}
            | (latencies(window.taken) if window.taken else {})
            for name, window in self.windows.items()
        }


def refused(options: Options) -> str:
    """Why the load must not be aimed there, "" if it may."""
    try:
        address = ipaddress.ip_address(options.address)
        networks = [ipaddress.ip_network(network) for network in options.networks]
    except ValueError as error:
        return f"{error}: give addresses, not names"
    for network in networks:
        if not any(inside(network, private) for private in PRIVATE):
            return f"{network} is not a private network"
    if address.is_loopback or any(address in network for network in networks):
        return ""
    return f"{address} is neither loopback nor in the test network ({', '.join(options.networks)})"


def inside(network: Network, outer: Network) -> bool:
    """Whether a network is part of another one of its kind."""
    return network.version == outer.version and network.subnet_of(outer)  # type: ignore[arg-type]


def run(options: Options) -> Result:
    """Run the load and say what was seen; ValueError for an address that is not a test's."""
    if why := refused(options):
        raise ValueError(why)
    return asyncio.run(Load(options).run())


def post(text: str) -> tuple[str, bytes]:
    """PATH=BODY, where the body may be a file's name."""
    path, equals, body = text.partition("=")
    if not equals or not path.startswith("/"):
        raise argparse.ArgumentTypeError("give PATH=BODY or PATH=FILE")
    with contextlib.suppress(OSError, ValueError):  # a long or odd literal is no file's name
        return path, Path(body).read_bytes()
    return path, body.encode()


def statuses(text: str) -> frozenset[int]:
    """Statuses separated by commas."""
    return frozenset(int(status) for status in text.split(","))


def header(text: str) -> tuple[str, str]:
    """NAME: VALUE."""
    name, _, value = text.partition(":")
    return name.strip().lower(), value.strip()


def parsed(argv: Sequence[str]) -> Options:
    """The command line as options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add: Callable[..., Any] = parser.add_argument
    add("--address", required=True, help="IP address to connect to")
    add("--name", required=True, help="the site's name (Host header, TLS)")
    add("--http-port", type=int, default=80)
    add("--https-port", type=int, default=443)
    add("--ca", type=Path, help="CA file to trust (default: the system's)")
    add("--seconds", type=float, default=60, help="how long at most")
    add("--until", type=Path, metavar="FILE", help="stop as soon as this file appears")
    add("--marks", type=Path, metavar="FILE", help="a line added to it begins a window so named")
    add("--get", action="append", default=[], metavar="PATH", help="200 expected (default: /)")
    add("--post", action="append", default=[], type=post, metavar="PATH=BODY", help="or PATH=FILE")
    add("--post-status", type=statuses, default=frozenset({200}), metavar="200,303")
    add("--header", action="append", default=[], type=header, help="sent with every request")
    add("--stream", metavar="PATH", help="a response that takes a while")
    add("--stream-end", default="", metavar="TEXT", help="how a whole stream ends")
    add("--sse", metavar="PATH", help="an event stream")
    add("--websocket", metavar="PATH")
    add("--plain", action="store_true", help="plain HTTP instead of HTTPS, no HTTP/2")
    add("--rate", type=float, default=250, help="requests per second, all kinds together")
    add("--timeout", type=float, default=30, help="seconds for one request")
    add("--network", action="append", default=[], metavar="CIDR", help=f"default: {TEST_NETWORK}")
    given = vars(parser.parse_args(argv))
    requests = [Request("GET", path) for path in given.pop("get")]
    expected = given.pop("post_status")
    requests += [Request("POST", path, expected, body) for path, body in given.pop("post")]
    given["requests"] = requests or [Request("GET", "/")]
    given["headers"] = given.pop("header")
    given["networks"] = given.pop("network") or [TEST_NETWORK]
    return Options(**given)


def main(argv: Sequence[str]) -> int:
    """Print the result; 1 if anything failed, 2 if the load was refused."""
    try:
        result = run(parsed(argv))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(asdict(result)))
    return 1 if result.failed or not result.ok else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
