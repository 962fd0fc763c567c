"""A switch loses nothing: requests, bodies, streams, event streams, WebSockets."""

import time

import pytest

SWITCHES = 20
LONG = {"stream": "/stream", "stream_end": "END", "sse": "/sse", "websocket": "/ws"}


@pytest.fixture(scope="module")
def commits(probe, server, deploy):
    """Two releases of the probe, and the second one live."""
    probe.reset()
    first = probe.commit("note", "first", "The first of two releases")
    second = probe.commit("note", "second", "The second of two releases")
    deploy(first)
    deploy(second)
    return [first, second]


@pytest.fixture(scope="module")
def swapped(commits, deploy, site, load):
    """One run of the load: a quiet time, then deploy after deploy."""
    releases, took = [], []
    with load(rate=100, **LONG) as running:
        time.sleep(3)  # the first connections and caches are no quiet time
        running.mark("quiet")
        time.sleep(15)
        for number in range(SWITCHES):
            running.mark("switch")
            began = time.monotonic()
            deploy(commits[number % 2])
            took.append(time.monotonic() - began)
            releases.append(site.release())
            running.mark("between")
            time.sleep(0.5)
        seen = running.end()
    return {"seen": seen, "releases": releases, "took": took}


def test_twenty_deploys_under_load_fail_no_request(swapped, commits):
    seen = swapped["seen"]
    for number, release in enumerate(swapped["releases"]):
        assert release.startswith(commits[number % 2][:12])
    assert seen.failed == 0, seen.first_failures
    kinds = {f"{how}-{method}" for how in ("kept", "new", "h2") for method in ("GET", "POST")}
    assert kinds | {"stream", "sse", "websocket"} <= set(seen.counts)
    assert set(seen.releases) == set(swapped["releases"])
