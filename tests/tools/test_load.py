"""molecule/shared/load.py: nothing fails on a good server, and each fault is counted once."""

import asyncio
import contextlib
import json
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamEnded
from websockets.http11 import Request as Upgrade
from websockets.server import ServerProtocol

ROOT = Path(__file__).resolve().parents[2]
LOAD = ROOT / "molecule" / "shared" / "load.py"
sys.path.insert(0, str(LOAD.parent))
import load  # noqa: E402

CUT = {"drop", "half", "half-headers"}  # faults that end the connection
MESSAGE = b"9\r\ndata: x\n\n\r\n"


class Server:
    """A server on loopback which misbehaves where it is told to."""

    def __init__(self, context=None):
        self.context = context
        self.faults = {}  # number of a request: what happens to it
        self.seen = 0
        self.bodies = set()
        self.paths = set()
        self.release = "r1"
        self.delay = 0
        self.framing = "transfer-encoding: chunked"
        self.events_sent = [MESSAGE, MESSAGE, MESSAGE, b"0\r\n\r\n"]

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        start = asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=self.context)
        self.server = self.loop.run_until_complete(start)
        self.port = self.server.sockets[0].getsockname()[1]
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.server.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0.05))
        self.loop.close()

    async def serve(self, reader, writer):
        tls = writer.get_extra_info("ssl_object")
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            if tls and tls.selected_alpn_protocol() == "h2":
                await self.http2(reader, writer)
            else:
                while await self.http1(reader, writer):
                    pass
        writer.close()

    async def http1(self, reader, writer):
        """Answer one request; true while the connection is kept."""
        head = await reader.readuntil(b"\r\n\r\n")
        method, path, _ = head.decode().split(" ", 2)
        if path == "/ws":
            return await self.websocket(head, reader, writer)
        if path == "/sse":
            return await self.events(writer)
        if b"content-length: " in head:
            length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            self.bodies.add((path, await reader.readexactly(length)))
        if path == "/slow":
            return await self.slow(writer)
        self.seen += 1
        self.paths.add(f"{method} {path}")
        fault = self.faults.get(self.seen)
        status = "500 No" if fault == "status" else "303 See" if method == "POST" else "200 OK"
        await asyncio.sleep(self.delay)
        headers = f"x-release: {self.release}\r\ncontent-length: 5"
        answer = f"HTTP/1.1 {status}\r\n{headers}\r\n\r\nhello".encode()
        cut = {"drop": b"", "half": answer[:-3], "half-headers": answer[:30]}
        writer.write(cut.get(fault, answer))
        await writer.drain()
        return fault not in CUT and fault != "quiet"

    async def slow(self, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        await asyncio.sleep(0.1)
        writer.write(b"" if self.faults.get("slow") == "clean" else b"3\r\nEND\r\n")
        writer.write(b"" if self.faults.get("slow") == "cut" else b"0\r\n\r\n")

    async def events(self, writer):
        head = f"HTTP/1.1 200 OK\r\nx-release: {self.release}\r\n{self.framing}\r\n\r\n"
        writer.write(head.encode())
        for part in self.events_sent:
            writer.write(part)
            await asyncio.sleep(0.05)

    async def websocket(self, head, reader, writer):
        protocol = ServerProtocol()
        protocol.receive_data(head)
        for event in protocol.events_received():
            assert isinstance(event, Upgrade)
            response = protocol.accept(event)
            response.headers["x-release"] = self.release
            protocol.send_response(response)
        pings = 0
        while True:
            for data in protocol.data_to_send():
                writer.write(data)
            data = await reader.read(4096)
            if not data or pings == 3:
                protocol.send_close(1012)
                writer.write(b"".join(protocol.data_to_send()))
                return False
            pings += 1
            protocol.receive_data(data)

    async def http2(self, reader, writer):
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        methods = {}
        while True:
            writer.write(connection.data_to_send())
            data = await reader.read(65535)
            if not data:
                return
            for event in connection.receive_data(data):
                if isinstance(event, RequestReceived):
                    methods[event.stream_id] = dict(event.headers)[":method"]
                elif isinstance(event, StreamEnded):
                    status = "303" if methods[event.stream_id] == "POST" else "200"
                    headers = [(":status", status), ("x-release", "r2")]
                    connection.send_headers(event.stream_id, headers, end_stream=True)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tls")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key.pem")
    name = ("-subj", "/CN=app.test", "-addext", "subjectAltName=DNS:app.test")
    argv = ("openssl", "req", "-x509", "-days", "2", *key, "-out", "cert.pem", *name)
    subprocess.run(argv, cwd=directory, check=True, capture_output=True)
    return directory


def options(server, **changes):
    post = load.Request("POST", "/form", frozenset({303}), b"a=b")
    given = {"address": "127.0.0.1", "name": "app.test", "seconds": 1.0, "plain": True}
    given |= {"requests": (load.Request("GET", "/"), post), "http_port": server.port}
    return load.Options(**(given | changes))


def test_a_good_server_over_https_has_no_failures(certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    context.set_alpn_protocols(["h2", "http/1.1"])
    with Server(context) as server:
        result = load.run(
            options(
                server,
                plain=False,
                https_port=server.port,
                ca=certificate / "cert.pem",
                stream="/slow",
                stream_end="END",
                sse="/sse",
                websocket="/ws",
                seconds=2,
            )
        )
    assert result.failures == {}
    kinds = {f"{way}-{method}" for way in ("kept", "new", "h2") for method in ("GET", "POST")}
    assert set(result.counts) == kinds | {"stream", "sse", "websocket", "websocket-ping"}
    assert set(result.latency_ms) == set(result.counts)
    assert set(result.releases) == {"r1", "r2"}
    assert server.bodies == {("/form", b"a=b")}
    assert result.events["sse ended: last chunk"] > 0
    assert result.events["websocket ended: code 1012"] > 0
    asked = sum(count for kind, count in result.counts.items() if kind in kinds)
    assert asked > 250  # 500 on an idle machine


@pytest.mark.parametrize("fault", ["drop", "status", "half", "half-headers", "quiet"])
def test_each_fault_is_counted_once(fault):
    with Server() as server:
        server.faults = dict.fromkeys((15, 40, 41, 77), fault)
        result = load.run(options(server, seconds=1.5))
    assert server.seen > 100
    lost = sum(count for kind in result.failures.values() for count in kind.values())
    assert result.failed == lost
    assert result.ok + result.failed >= server.seen
    if fault == "quiet":  # seen by the next request, if the connection was to have one
        assert 1 <= lost <= 4
        assert all("kept connection" in why for kind in result.failures.values() for why in kind)
    else:
        assert lost == 4


@pytest.mark.parametrize("fault", ["cut", "clean"])
def test_a_stream_must_be_whole(fault):
    with Server() as server:
        server.faults = {"slow": fault}
        result = load.run(options(server, stream="/slow", stream_end="END", rate=20))
    assert result.failed == 2
    assert set(result.failures) == {"stream"}


@pytest.mark.parametrize(
    ("parts", "messages", "end"),
    [
        ([MESSAGE, b"0\r\n\r\n"], 1, "last chunk"),
        ([MESSAGE, b"00;last\r\n\r\n"], 1, "last chunk"),
        ([MESSAGE], 1, "connection closed"),
        ([MESSAGE, b"9\r\ndata"], 1, "connection closed"),
        # What looks like the frame is not taken for it, and the other way round.
        ([b"e\r\ndata: x\n0\r\ny\n\n\r\n", MESSAGE, b"0\r\n\r\n"], 2, "last chunk"),
        ([b"2\r\nda\r\n", b"7\r\nta: x\n\n\r\n", b"0\r\n\r\n"], 1, "last chunk"),
        ([b"9\r\n", *[b""] * 8, b"data: x\n\n\r\n", b"0\r\n\r\n"], 1, "last chunk"),
    ],
)
def test_the_end_of_an_event_stream_is_told_from_its_data(parts, messages, end):
    with Server() as server:
        server.events_sent = parts
        result = load.run(options(server, sse="/sse", rate=20))
    assert result.failures == {}
    (ended,) = set(result.events) - {"sse messages"}
    assert ended == f"sse ended: {end}"
    assert result.events["sse messages"] >= messages * result.events[ended] > 0
    assert result.events["sse messages"] <= messages * result.counts["sse"]


def test_an_event_stream_without_chunks_ends_with_its_connection():
    with Server() as server:
        server.framing = "connection: close"
        server.events_sent = [b"data: 1\n\n", b"0\r\n", b"data: 2\n\n"]
        result = load.run(options(server, sse="/sse", rate=20))
    assert result.failures == {}
    assert set(result.events) == {"sse messages", "sse ended: connection closed"}
    assert result.events["sse messages"] >= 2 * result.events["sse ended: connection closed"] > 0


def test_an_event_stream_that_is_none_has_failed():
    with Server() as server:
        server.events_sent = [MESSAGE, b"data: x\r\n"]
        result = load.run(options(server, sse="/sse", rate=20))
    assert set(result.failures) == {"sse"}
    assert result.failed == result.events["sse ended: ValueError"] > 0


def test_what_is_connected_again_is_answered_by_the_new_release():
    with Server() as server, ThreadPoolExecutor(1) as pool:
        given = options(server, stream="/slow", sse="/sse", websocket="/ws", seconds=2)
        running = pool.submit(load.run, given)
        time.sleep(0.8)
        server.release = "r-next"
        result = running.result()
    assert result.failures == {}
    seen = result.releases_by_kind
    assert set(seen) == {"short", "sse", "websocket"}  # this server's /slow does not say
    for kind in ("sse", "websocket"):
        assert list(seen[kind]) == ["r1", "r-next"]
        assert sum(seen[kind].values()) == result.counts[kind]
    assert set(result.releases) == {"r1", "r-next"}
    for release, count in result.releases.items():
        assert count == sum(releases[release] for releases in seen.values())


def test_each_window_has_the_requests_that_began_in_it(tmp_path):
    marks = tmp_path / "marks"

    def mark(text):
        with marks.open("a") as file:
            file.write(text)
        time.sleep(0.2)

    with Server() as server, ThreadPoolExecutor(1) as pool:
        given = options(server, marks=marks, sse="/sse", websocket="/ws", seconds=4)
        running = pool.submit(load.run, given)
        time.sleep(0.5)
        mark("swi")
        mark("tch\n")
        server.faults[server.seen + 5] = "drop"
        server.delay = 0.4
        time.sleep(0.6)
        server.delay = 0
        mark("quiet\n")  # while late answers to the requests before it still come
        time.sleep(0.4)
        mark("switch\n")
        mark("start\n")
        result = running.result()
    windows = result.windows
    assert list(windows) == ["start", "switch", "quiet"]
    assert sum(window["ok"] for window in windows.values()) == result.ok
    assert [window["failed"] for window in windows.values()] == [0, 1, 0]
    assert result.failed == 1
    lasted = {name: window["seconds"] for name, window in windows.items()}
    assert 0.4 < lasted["quiet"] < lasted["switch"] < lasted["start"]
    assert sum(lasted.values()) == pytest.approx(result.seconds, abs=0.1)
    assert windows["switch"]["max"] >= windows["switch"]["p99"] >= 400
    for name in ("start", "quiet"):
        assert windows[name]["p50"] <= windows[name]["p99"] <= windows[name]["max"] < 400
    assert set(windows["start"]) == {"ok", "failed", "seconds", "p50", "p99", "max"}


def test_only_short_requests_count_into_a_windows_latency():
    with Server() as server:
        result = load.run(options(server, stream="/slow", websocket="/ws", sse="/sse"))
    assert result.latency_ms["stream"]["p50"] > 90
    short = [times for kind, times in result.latency_ms.items() if kind[:3] in ("kep", "new")]
    assert list(result.windows) == ["start"]
    assert result.windows["start"]["max"] == max(times["max"] for times in short)
    assert result.windows["start"]["ok"] == result.ok


def test_a_window_without_answers_has_no_latency():
    with Server() as server:
        gone = options(server, seconds=0.3)
    (window,) = load.run(gone).windows.values()
    assert set(window) == {"ok", "failed", "seconds"}
    assert window["failed"] > 0


def test_a_server_that_is_gone_fails_every_request():
    with Server() as server:
        gone = options(server, sse="/sse", websocket="/ws", seconds=0.5)
    result = load.run(gone)
    assert result.ok == 0
    assert result.failed > 20
    assert {"kept-GET", "new-GET", "sse", "websocket"} <= set(result.failures)


def test_the_program_prints_one_line_and_stops_at_the_file(tmp_path):
    stop = tmp_path / "stop"
    marks = tmp_path / "marks"
    body = tmp_path / "body"
    body.write_text("from=file")
    with Server() as server:
        server.faults = {9: "drop"}
        argv = [sys.executable, LOAD, "--address", "127.0.0.1", "--name", "app.test", "--plain"]
        argv += ["--http-port", server.port, "--seconds", "60", "--until", stop, "--get", "/a"]
        argv += ["--post", f"/b={body}", "--post", '/c={"d": 1}', "--post-status", "200,303"]
        argv += ["--marks", marks]
        process = subprocess.Popen(list(map(str, argv)), stdout=subprocess.PIPE, text=True)
        time.sleep(1.5)
        marks.write_text("deploy\n")
        time.sleep(0.5)
        stop.touch()
        output, _ = process.communicate(timeout=10)
    assert process.returncode == 1
    (line,) = output.splitlines()
    result = json.loads(line)
    assert result["failed"] == 1
    assert result["seconds"] < 10
    assert result["releases"] == {"r1": result["ok"]}
    assert list(result["windows"]) == ["start", "deploy"]
    assert server.paths == {"GET /a", "POST /b", "POST /c"}
    assert {body for _, body in server.bodies} == {b"from=file", b'{"d": 1}'}


@pytest.mark.parametrize(
    ("address", "networks", "allowed"),
    [
        ("127.0.0.1", (), True),
        ("::1", (), True),
        ("10.213.4.5", (load.TEST_NETWORK,), True),
        ("10.214.0.1", (load.TEST_NETWORK,), False),
        ("192.0.2.1", (load.TEST_NETWORK,), False),
        ("192.0.2.1", ("192.0.2.0/24",), False),
        ("10.0.0.1", ("0.0.0.0/0",), False),
        ("169.254.169.254", ("169.254.0.0/16",), False),
        ("fd00::1", ("fd00::/64",), True),
        ("app.test", (load.TEST_NETWORK,), False),
    ],
)
def test_it_is_never_aimed_at_a_foreign_host(address, networks, allowed):
    aimed = load.Options(address=address, name="app.test", seconds=1, networks=networks)
    assert (load.refused(aimed) == "") is allowed
    if not allowed:
        with pytest.raises(ValueError, match=r"\w"):
            load.run(aimed)


def test_what_a_reload_of_caddy_costs_is_excused_twice_and_nothing_else():
    alert = "SSLError (1, '[SSL: TLSV1_ALERT_INTERNAL_ERROR] tlsv1 alert internal error')"
    error = "WriteError"  # of a stream only
    found = [(1.0, "kept-GET", alert), (1.0, "new-GET", error), (2.0, "h2-GET", error)]
    assert load.Result(failed=3, first_failures=found).lost == found[1:2]
    found += [(2.01, "kept-GET", alert), (2.05, "kept-GET", alert)]  # of one moment
    assert load.Result(failed=5, first_failures=found).lost == found[1:2]
    found += [(2.5, "kept-GET", alert)]
    assert len(load.Result(failed=6, first_failures=found).lost) == 6
