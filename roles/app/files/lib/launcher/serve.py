"""Uvicorn, with a shutdown that a proxy in front of it does not notice.

The slot's unit runs this with the application's own Python instead of `python -m uvicorn`; all
arguments are Uvicorn's. On SIGTERM Uvicorn closes its idle connections at once, so a request that
the proxy sends on a pooled one in that moment is lost, and it waits for event streams, which never
end. Here an idle connection stays for LINGER seconds, answers what still comes, and says
`connection: close`; an event stream is ended as if the application had ended it, so that the
browser's EventSource connects again, to the next release; a WebSocket is closed with code 1012, as
by Uvicorn, but stays for a moment: a proxy that could not deliver a message passes nothing more on.
All else is Uvicorn's own: a response under way is finished.

A request's body may take as long as it likes while it comes. A client that sends nothing of it for
PERGOLA_UPLOAD_IDLE_SECONDS gets 408, and for the application it has disconnected. (Uvicorn would
wait for ever, and Caddy only knows a limit for the whole body.)

Needs Uvicorn and the standard library, and works with any of Uvicorn's HTTP implementations. An
application whose lock has no Uvicorn gets Pergola's, which Python finds after all that it has.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

OWN_UVICORN = Path(sys.prefix, "lib/pergola")
if OWN_UVICORN.is_dir():
    sys.path.append(str(OWN_UVICORN))

import uvicorn  # noqa: E402 - found through the lines above

LINGER = 1.0  # seconds
FAREWELL = 0.5  # seconds
UPLOAD_IDLE = float(os.environ.get("PERGOLA_UPLOAD_IDLE_SECONDS", "60"))  # seconds

CLOSE = (b"connection", b"close")
TEXT = (b"content-type", b"text/plain; charset=utf-8")
STOOD_STILL = b"408 Request Timeout: the upload stood still for too long\n"
EVENT_STREAM = b"text/event-stream"
END = {"type": "http.response.body", "body": b"", "more_body": False}
# What the code below uses of Uvicorn's protocol classes.
EXPECTED = {
    "app",
    "connection_made",
    "cycle",
    "loop",
    "on_response_complete",
    "response_complete",
    "shutdown",
    "transport",
}

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class Drain:
    """Goes before one of Uvicorn's HTTP protocols; an instance is a connection.

    It wraps the application rather than the protocol's inner parts: what is seen and sent there is
    ASGI, which stays.
    """

    draining = False  # of all connections, as a process has one server

    app: Application
    cycle: Any
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.application, self.app = self.app, self.run
        self.end_stream: Callable[[], None] | None = None  # if one is under way

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        if Drain.draining:  # it was accepted just before the listener was closed
            self.linger()

    def shutdown(self) -> None:
        """Called by the server, once for each connection."""
        Drain.draining = True
        if self.cycle is None or self.cycle.response_complete:
            self.linger()
        elif self.end_stream:
            self.end_stream()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.end_stream = None
        # A response that began before the shutdown did not say `close`: the proxy may go on here.
        if Drain.draining:
            self.linger()

    def linger(self) -> None:
        """Do later what Uvicorn would do at once."""
        self.loop.call_later(LINGER, self.close)

    def close(self) -> None:
        """Close, after the response that is under way if there is one."""
        if self.transport.is_closing():
            return
        protocol: Any = self.transport.get_protocol()
        if protocol is self:
            super().shutdown()
        else:  # meanwhile it became a WebSocket
            protocol.shutdown()

    async def run(self, scope: Message, receive: Receive, send: Send) -> None:
        """Run the application for one request, and look at what it sends."""
        ended = False

        def end() -> None:
            nonlocal ended
            ended = True
            self.ending = self.loop.create_task(self.finish(send))

        async def watched(message: Message) -> None:
            if ended:
                # An application that awaits nothing but `send` would block the loop.
                await asyncio.sleep(0)
                return
            if message["type"] != "http.response.start":
                await send(message)
                return
            headers = list(message.get("headers", ()))
            if Drain.draining:
                headers = [item for item in headers if item[0].lower() != b"connection"] + [CLOSE]
            await send({**message, "headers": headers})
            # Only EventSource is known to connect again, and that sends GET; the events that answer
            # a POST are a response like any other.
            if scope["method"] == "GET" and is_event_stream(headers):
                self.end_stream = end
                if Drain.draining:
                    end()

        if has_body(scope):
            return await Upload(self.application, receive, watched).run(scope)
        return await self.application(scope, receive, watched)

    async def finish(self, send: Send) -> None:
        """Complete a response; the application's `receive` then says http.disconnect."""
        # A client that reads nothing would hold up everyone.
        timer = self.loop.call_later(LINGER, self.transport.abort)
        try:
            await send(END)
        except Exception:  # such as a content-length that is not reached
            self.transport.close()
        timer.cancel()


class Upload:
    """One request with a body, given up when its client stands still in the middle of it."""

    def __init__(self, application: Application, receive: Receive, send: Send) -> None:
        self.application, self.receive, self.send = application, receive, send
        self.coming = True  # there is more of the body
        self.answered = False  # the application has begun its answer
        self.given_up = False

    async def run(self, scope: Message) -> None:
        try:
            await self.application(scope, self.next, self.answer)
        except Exception:
            if not self.given_up:
                raise
            # It is told that the client has gone, and that is what most applications raise then.

    async def next(self) -> Message:
        """What the application waits for; only that time counts, not what it takes itself."""
        if not self.coming:
            return await self.receive()
        try:
            message = await asyncio.wait_for(self.receive(), UPLOAD_IDLE)
        except TimeoutError:
            await self.give_up()
            return {"type": "http.disconnect"}
        self.coming = bool(message.get("more_body"))
        return message

    async def give_up(self) -> None:
        self.coming, self.given_up = False, True
        if not self.answered:
            await self.send(
                {"type": "http.response.start", "status": 408, "headers": [TEXT, CLOSE]}
            )
            await self.send({"type": "http.response.body", "body": STOOD_STILL})

    async def answer(self, message: Message) -> None:
        """What the application sends; after it was given up that goes nowhere."""
        self.answered = True
        if not self.given_up:
            await self.send(message)
        else:
            await asyncio.sleep(0)


class Farewell:
    """Goes before one of Uvicorn's WebSocket protocols; an instance is a connection."""

    loop: asyncio.AbstractEventLoop
    transport: Any

    def shutdown(self) -> None:
        """Called by the server, once for each connection."""
        self.transport = LateClose(self.transport, self.loop)
        super().shutdown()


class LateClose:
    """A transport that closes a moment after it was told to."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.transport, self.loop = transport, loop

    def close(self) -> None:
        self.loop.call_later(FAREWELL, self.transport.close)

    def __getattr__(self, name: str) -> object:
        return getattr(self.transport, name)


def has_body(scope: Message) -> bool:
    """Whether a request brings a body, by its headers."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )


def is_event_stream(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(
        name.lower() == b"content-type" and value.lower().startswith(EVENT_STREAM)
        for name, value in headers
    )


def check(protocol: type, expected: set[str]) -> None:
    """Raise AttributeError if the protocol does not look like those that this file was made for."""
    members = {name: value for base in protocol.__mro__ for name, value in vars(base).items()}
    methods = [value for value in members.values() if hasattr(value, "__code__")]
    known = set(members).union(*(method.__code__.co_names for method in methods))
    if missing := expected - known:
        raise AttributeError(f"{protocol.__name__} has no {', '.join(sorted(missing))}")


unknown = ""
try:
    from uvicorn.config import HTTP_PROTOCOLS, WS_PROTOCOLS
    from uvicorn.protocols.http.auto import AutoHTTPProtocol
    from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol

    check(AutoHTTPProtocol, EXPECTED)

    class Protocol(Drain, AutoHTTPProtocol):
        """The HTTP protocol that Uvicorn would have chosen, with a better shutdown."""

    # What `--http auto` means, the default; not every Uvicorn takes a class for --http. A worker
    # process (--workers) has this file as its __main__ too, and by that name no module of the
    # application can get in between.
    HTTP_PROTOCOLS["auto"] = "__main__:Protocol"

    if AutoWebSocketsProtocol:
        check(AutoWebSocketsProtocol, {"loop", "shutdown", "transport"})

        class WebSocketProtocol(Farewell, AutoWebSocketsProtocol):
            """The same for WebSockets."""

        WS_PROTOCOLS["auto"] = "__main__:WebSocketProtocol"
except (ImportError, AttributeError) as error:
    unknown = str(error)


def main() -> None:
    if unknown:
        print(f"serve.py: running plain Uvicorn {uvicorn.__version__}: {unknown}", file=sys.stderr)
    # As `python -m uvicorn` has it: the application's directory instead of this file's.
    here = str(Path(__file__).resolve().parent)
    sys.path[:] = [str(Path.cwd()) if path == here else path for path in sys.path]
    uvicorn.main(prog_name="uvicorn")


if __name__ == "__main__":
    main()
