"""Uploads: slow ones arrive; those that stand still or break off are no failure of the site."""

import json
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from scenario import AUTHORITY, address, wait_for
from testinfra.host import Host

testinfra_hosts = ["ansible://web1"]

NAME, PATH = "linkboard.test", "/login"
WHOLE = 60_000  # bytes: linkboard takes no more than 64 KB of a form
# Longer than the minute that was the limit for the whole body.
SLOW_SECONDS = 66
STANDS_STILL_SECONDS = 8  # app_upload_idle_seconds of the scenario
LOG = f"/var/log/caddy/{NAME.partition('.')[0]}.log"


class Upload:
    """A form on its way, over HTTP/1.1."""

    def __init__(self) -> None:
        plain = socket.create_connection((address("web1"), 443), timeout=30)
        trust = ssl.create_default_context(cafile=str(AUTHORITY))
        self.secure = trust.wrap_socket(plain, server_hostname=NAME)
        head = f"POST {PATH} HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {WHOLE}\r\n"
        kind = "Content-Type: application/x-www-form-urlencoded\r\n"
        self.secure.sendall(f"{head}{kind}User-Agent: upload\r\n\r\n".encode())

    def send(self, size: int) -> None:
        self.secure.sendall(b"a" * size)

    def status(self) -> int:
        return int(self.secure.recv(4096).split()[1])


def slow() -> int:
    """A whole form in small pieces, one a second; the status that answers it."""
    upload = Upload()
    for second in range(SLOW_SECONDS):
        upload.send(WHOLE // SLOW_SECONDS + (WHOLE % SLOW_SECONDS if second == 0 else 0))
        time.sleep(1)
    return upload.status()


@pytest.fixture(scope="module", autouse=True)
def on_its_way() -> Iterator[Future]:
    """A slow upload that the other tests do not wait for."""
    with ThreadPoolExecutor() as pool:
        yield pool.submit(slow)


def logged(host: Host, since: int) -> list[int]:
    """The statuses of the uploads in the access log after so many lines."""
    lines = host.check_output(f"tail -n +{since + 1} {LOG}").splitlines()
    entries = [json.loads(line) for line in lines]
    return [
        entry["status"]
        for entry in entries
        if entry["request"]["headers"].get("User-Agent") == ["upload"]
    ]


def lines(host: Host) -> int:
    return int(host.check_output(f"wc -l <{LOG}"))


def test_an_upload_that_stands_still_gets_408(host):
    upload = Upload()
    upload.send(9000)
    began = time.monotonic()
    assert upload.status() == 408
    assert time.monotonic() - began > STANDS_STILL_SECONDS - 1


def test_an_upload_that_breaks_off_is_no_failure_of_the_application(host):
    before = lines(host)
    for _ in range(5):
        upload = Upload()
        upload.send(9000)
        time.sleep(0.3)  # or nothing of it has reached the application
        upload.secure.close()
    wait_for("all are in the log", lambda: len(logged(host, before)) == 5)
    assert set(logged(host, before)) <= {0, 408, 499}


def test_an_upload_that_comes_slowly_arrives(on_its_way):
    """Wrong credentials, or a form that says nothing: linkboard has read all of it."""
    assert on_its_way.result(timeout=120) in (400, 401, 403, 422)
