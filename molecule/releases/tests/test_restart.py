"""What else happens to a live release under load: restarts, a reload, another configuration."""

import time

import pytest

KINDS = {f"{how}-{method}" for how in ("kept", "new", "h2") for method in ("GET", "POST")}
# So many requests of the load are under way at once, at most: its connections, and its streams,
# of which one begins every half second and takes three.
AT_ONCE = 11 + 7
# Seconds in which the effects of an event are looked for.
EFFECTS = 4


@pytest.fixture(scope="module")
def events(probe, deploy, rollback, server, site, web1, environment):
    """What is done to the server, in this order; each returns what shows that it was done."""
    probe.reset()
    probe.commit("note", "restart", "A release to disturb")
    deploy()
    before = server.live()

    def restart():
        old = web1.check_output(f"systemctl show --property=MainPID {server.slot()}")
        web1.check_output(f"systemctl restart {server.slot()}")
        return old != web1.check_output(f"systemctl show --property=MainPID {server.slot()}")

    def reload_database():
        loaded = "select pg_conf_load_time()"
        old = server.sql(loaded)
        web1.check_output("systemctl reload postgresql")
        return old != server.sql(loaded)

    def configure():
        deploy(**environment(PROBE_COLOUR="green"))
        return (
            server.live() != before
            and server.live()[:12] == before[:12]
            and site.get("/env?name=COLOUR").text == "green"
        )

    def go_back():
        rollback()
        return server.live() == before and site.get("/env?name=COLOUR").text == ""

    return {
        "a restart of the live slot": restart,
        "a reload of PostgreSQL": reload_database,
        "another environment for the same commit": configure,
        "a rollback": go_back,
    }


@pytest.fixture(scope="module")
def disturbed(events, load):
    """One run of the load through all of them; a window for each."""
    done = {}
    with load(rate=80) as running:
        time.sleep(2)
        for name, event in events.items():
            running.mark(name)
            done[name] = event()
            time.sleep(EFFECTS)
        seen = running.end()
    return {"seen": seen, "done": done}


@pytest.mark.parametrize(
    "event",
    [
        "a restart of the live slot",
        "a reload of PostgreSQL",
        "another environment for the same commit",
        "a rollback",
    ],
)
def test_no_request_fails_through(event, disturbed):
    seen, window = disturbed["seen"], disturbed["seen"].windows[event]
    assert disturbed["done"][event]
    print(f"{event}: {window}")
    assert window["ok"] > 100
    assert window["failed"] == 0, seen.first_failures
    assert set(seen.counts) >= KINDS


def test_the_death_of_one_worker_fails_nothing_but_what_it_was_at(events, load, server, web1):
    main = f"$(systemctl show --property=MainPID --value {server.slot()})"
    workers = f"pgrep --parent {main} --full spawn_main | sort"
    before = web1.check_output(workers).split()
    # Long answers are always under way, so there is something to lose.
    with load(rate=80, stream="/stream", stream_end="END", counted=False) as running:
        time.sleep(3)
        running.mark("death")
        web1.check_output(f"kill -KILL {before[0]}")
        time.sleep(0.5)
        running.mark("after")
        time.sleep(EFFECTS)
        seen = running.end()
    after = web1.check_output(workers).split()
    print(f"a worker's death: {seen.failed} failed of {seen.ok + seen.failed}: {seen.failures}")
    assert before[0] not in after
    assert before[1] in after, "the other one had nothing to do with it"
    assert len(after) == len(before)
    assert 0 < seen.failed <= AT_ONCE, seen.first_failures
    assert seen.windows["after"]["failed"] == 0, seen.first_failures
