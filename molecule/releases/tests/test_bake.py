"""Bake time: after the switch a deploy looks at real requests, and takes a bad release back."""

import contextlib
import re
import threading
import time

import httpx
import pytest

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
