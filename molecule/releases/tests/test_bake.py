"""Bake time: after the switch a deploy looks at real requests, and takes a bad release back."""

import contextlib
import json
import re
import socket
import ssl
import threading
import time

import httpx
import pytest
from scenario import AUTHORITY

# Longer than anything bad takes to be noticed, also on a slow machine.
BAKING = {"app_bake_seconds": 30, "app_bake_error_percent": 20}
SHORT_BAKE = {"app_bake_seconds": 4, "app_bake_error_percent": 20}


@pytest.fixture(scope="module")
def good(probe, deploy, server):
    """A release to come back to."""
    probe.reset()
    probe.commit("note", "bake", "A release that is good")
    deploy()
    yield server.live()
    probe.reset()


@pytest.fixture
def candidate(probe, good):
    """A commit that is to be watched."""
    return lambda name: probe.commit("note", f"bake {name}", name)


@contextlib.contextmanager
def after_the_switch(server, site, do):
    """Do something again and again while another release than now answers."""
    old, over, seen = server.live(), threading.Event(), []

    def watch():
        with site.client() as client:
            while not over.wait(0.05):
                with contextlib.suppress(httpx.TransportError):
                    release = client.get("/").headers.get("x-release")
                    if release != old:
                        seen.append(release)
                        do(client)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


POST = "POST /echo HTTP/1.1\r\nHost: probe.test\r\nConnection: close\r\n"
# What Caddy answers itself, at a visitor's will: an error of its file server, a body whose end is
# no chunk, a client that is gone in the middle of it.
HOSTILE = {
    "a zero byte": "GET /static/%00 HTTP/1.1\r\nHost: probe.test\r\nConnection: close\r\n\r\n",
    "a bad chunk": POST + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nXYZ\r\n",
    "broken off": POST + "Content-Length: 5000\r\n\r\nhalf",
}


def hostile(site, request):
    """Send bytes as a visitor may; the status of the answer, if there is one."""
    trust = ssl.create_default_context(cafile=str(AUTHORITY))
    with (
        socket.create_connection((site.server, 443), timeout=10) as plain,
        trust.wrap_socket(plain, server_hostname=site.name) as connection,
    ):
        connection.sendall(request.encode())
        if request is HOSTILE["broken off"]:
            return 0
        return int(connection.recv(100).split()[1])


def said(done):
    """What a run said, as one line: Ansible folds and indents a message."""
    return re.sub(r"\s+", " ", done.stdout)


def test_a_release_that_answers_with_errors_is_taken_back_and_says_why(
    server, site, deploy, candidate, good
):
    commit = candidate("errors")
    with after_the_switch(server, site, lambda client: client.get("/fail?status=502")) as seen:
        done = deploy(**BAKING, fails=True)
    new = seen[0]
    assert new.startswith(commit[:12])
    assert server.live() == good
    assert site.get("/").headers["x-release"] == good
    assert f"phase: bake of release {new}" in said(done)
    assert re.search(r"\d+ of \d+ answers were errors of the server \(5xx\)", said(done))
    assert "502 GET /fail?status=502" in said(done)
    assert f"live now: {good}" in said(done)
    assert "next: " in said(done)
    line = server.ledger()[-1]
    assert (line["outcome"], line["phase"], line["to"]) == ("returned", "bake", new)
    assert "answers were errors" in line["reason"]


def test_a_release_that_dies_is_taken_back(server, site, web1, deploy, candidate, good):
    commit = candidate("death")
    killed = []

    def kill(client):
        if not killed:
            killed.append(server.slot())
            web1.check_output("systemctl kill --kill-whom=main --signal=KILL %s", killed[0])

    with after_the_switch(server, site, kill):
        done = deploy(**BAKING, fails=True)
    assert killed
    assert server.live() == good
    assert site.get("/").headers["x-release"] == good
    assert f"{killed[0]} died and was started again" in said(done)
    line = server.ledger()[-1]
    assert (line["outcome"], line["phase"]) == ("returned", "bake")
    assert line["to"].startswith(commit[:12])


def test_nobody_but_the_release_itself_can_make_a_bake_fail(
    server, site, web1, deploy, candidate, good
):
    commit = candidate("hostile")
    statuses = dict.fromkeys(HOSTILE)
    offset = web1.file("/var/log/caddy/probe.log").size

    def attack(client):
        client.get("/")
        for name, request in HOSTILE.items():
            with contextlib.suppress(OSError, IndexError):
                statuses[name] = hostile(site, request)

    with after_the_switch(server, site, attack):
        deploy(**SHORT_BAKE)
    assert server.live().startswith(commit[:12])
    assert statuses["a zero byte"] == 500
    assert statuses["a bad chunk"] == 408
    line = server.ledger()[-1]
    assert line["baked"]["errors"] == 0
    assert line["baked"]["answers"] > 0
    # By the whole log they would have been far too many.
    log = web1.check_output("tail -c +%s /var/log/caddy/probe.log", str(offset + 1))
    failed = [entry for entry in map(json.loads, log.splitlines()) if entry["status"] >= 500]
    assert len(failed) > 3
    assert not [entry for entry in failed if "X-Served-By" in entry["resp_headers"]]


def test_a_release_whose_workers_die_is_taken_back(server, site, web1, deploy, candidate):
    """Uvicorn starts them again by itself: systemd does not see it, Caddy answers 502 for it."""
    candidate("workers")
    old = server.live()

    def kill(client):
        del client
        workers = "pgrep -P $(systemctl show -P MainPID %s) -f spawn_main | head -1"
        web1.run(f"kill -KILL $({workers})", server.slot())

    with after_the_switch(server, site, kill):
        done = deploy(**BAKING, fails=True)
    assert server.live() == old
    assert "workers of probe@" in said(done)
    line = server.ledger()[-1]
    assert (line["outcome"], line["phase"]) == ("returned", "bake")


def test_a_release_with_few_errors_passes_and_is_watched_to_the_end(
    server, site, deploy, candidate, good
):
    commit = candidate("good")
    failed = []

    def fail_now_and_then(client):
        if len(failed) < 2:
            failed.append(client.get("/fail").status_code)

    began = time.monotonic()
    with after_the_switch(server, site, fail_now_and_then):
        deploy(**SHORT_BAKE)
    assert time.monotonic() - began > SHORT_BAKE["app_bake_seconds"]
    assert failed == [500, 500]
    assert server.live().startswith(commit[:12])
    line = server.ledger()[-1]
    assert line["outcome"] == "live"
    assert line["baked"]["errors"] == len(failed)
    assert line["baked"]["answers"] > 2 * len(failed)
    assert line["seconds"]["bake"] >= SHORT_BAKE["app_bake_seconds"]
