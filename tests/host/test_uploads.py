"""Uploads: one that comes takes as long as it likes, one that stands still gets 408 (serve.py)."""

import asyncio
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
SCOPE = {"type": "http", "method": "POST", "headers": [(b"content-length", b"9")]}


@pytest.fixture(scope="module")
def serve():
    """The launcher, without Uvicorn, which belongs to the application."""
    there = sys.modules.get("uvicorn")
    sys.modules["uvicorn"] = ModuleType("uvicorn")
    try:
        path = PROJECT / "roles/app/files/lib/launcher/serve.py"
        spec = importlib.util.spec_from_file_location("serve", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.modules.pop("uvicorn")
        if there:
            sys.modules["uvicorn"] = there
    module.UPLOAD_IDLE = 0.2
    return module


def upload(serve, pieces, application):
    """Run an application on a body whose pieces come after so many seconds; what it sent."""
    sent, coming = [], iter(pieces)

    async def receive():
        seconds, message = next(coming)
        await asyncio.sleep(seconds)
        return message

    async def send(message):
        sent.append(message)

    asyncio.run(serve.Upload(application, receive, send).run(SCOPE))
    return [message.get("status", message.get("body")) for message in sent]


def piece(seconds, more=True):
    return seconds, {"type": "http.request", "body": b"abc", "more_body": more}


async def answer(send, status=200):
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


async def reads_all(_scope, receive, send):
    """As Starlette does: a client that has gone is an exception."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client has gone")
        more = message["more_body"]
    await answer(send)


def test_a_body_that_comes_may_take_longer_than_the_limit(serve):
    pieces = [piece(0.1) for _ in range(5)] + [piece(0.1, more=False)]
    assert upload(serve, pieces, reads_all) == [200, b"done"]


def test_a_body_that_stands_still_gets_408_and_the_application_says_nothing_more(serve):
    assert upload(serve, [piece(0), piece(5)], reads_all) == [408, serve.STOOD_STILL]

    async def catches(scope, receive, send):
        try:
            await reads_all(scope, receive, send)
        except ConnectionError:
            await answer(send, 500)

    assert upload(serve, [piece(0), piece(5)], catches) == [408, serve.STOOD_STILL]


def test_what_the_application_does_meanwhile_is_not_the_clients_time(serve):
    async def slow(_scope, receive, send):
        await receive()
        await asyncio.sleep(0.5)
        await receive()
        await asyncio.sleep(0.5)
        await answer(send)

    assert upload(serve, [piece(0), piece(0, more=False)], slow) == [200, b"done"]


def test_after_the_body_a_disconnect_is_waited_for_as_long_as_it_takes(serve):
    async def waits(_scope, receive, send):
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        await answer(send)

    pieces = [piece(0, more=False), (0.5, {"type": "http.disconnect"})]
    assert upload(serve, pieces, waits) == [200, b"done"]


def test_an_error_of_the_application_itself_stays_one(serve):
    async def fails(_scope, receive, _send):
        await receive()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        upload(serve, [piece(0)], fails)


def test_only_requests_with_a_body_are_watched(serve):
    def headers(*pairs):
        return {"headers": list(pairs)}

    assert serve.has_body(headers((b"content-length", b"1")))
    assert serve.has_body(headers((b"transfer-encoding", b"chunked")))
    assert not serve.has_body(headers((b"content-length", b"0"), (b"accept", b"*/*")))


# As Caddy 2.6 said it on a host when this happened.
CLIENT = [
    "read tcp 10.0.0.1:443->10.0.0.2:37580: read: connection reset by peer",
    "read tcp 10.0.0.1:443->10.0.0.2:58790: i/o timeout",
    "unexpected EOF",
    "i/o timeout",
    "invalid byte in chunk length",
]
APPLICATION = [
    "dial unix /run/linkboard/blue.sock: connect: no such file or directory",
    "write unix @->/run/linkboard/blue.sock: use of closed network connection",
    "read unix @->/run/linkboard/blue.sock: read: connection reset by peer",
    "EOF",
    "net/http: timeout awaiting response headers",
    "net/http: HTTP/1.x transport connection broken: unexpected EOF",
]


def test_what_a_client_did_not_send_is_told_from_what_the_application_did_not_answer():
    variables = yaml.safe_load((PROJECT / "roles/app/vars/main.yml").read_text())
    cut = re.compile(f"^({'|'.join(variables['__app_cut_messages'])})")
    assert [message for message in CLIENT + APPLICATION if cut.search(message)] == CLIENT
