"""Going back: to the last good release or to a named one, through the gate, with its settings."""

import re

import pytest
from scenario import said

HOME = "/srv/probe"


def setting(site):
    """One of the live release's own settings."""
    return site.get("/env", params={"name": "ROLLBACK"}).raise_for_status().text


@pytest.fixture(scope="module")
def seen(probe, server, deploy, environment):
    """Two good releases with settings of their own, and one after them that was refused."""
    probe.reset()
    made = {}
    for name in ("first", "second"):
        probe.commit("note", f"rollback {name}", f"The {name} of two good ones")
        deploy(**environment(PROBE_ROLLBACK=name))
        made[name] = server.live()
    probe.commit("note", "bad", "A bad one")
    made["refusal"] = said(deploy(fails=True, app_asgi="probe:no_such_app"))
    made["ledger"] = server.ledger()
    made["bad"] = made["ledger"][-1]["to"]
    yield made
    probe.reset()
    deploy(probe.commit("note", "after", "After the rollbacks"))


def test_a_refused_release_is_kept_for_inspection_and_is_not_good(seen, server):
    assert seen["bad"] in server.kept()
    assert server.status()["good"][:2] == [seen["second"], seen["first"]]
    command = re.search(r"sudo (\S+/bin/release show \S+)", seen["refusal"])[1]
    assert '"outcome": "refused"' in server.host.check_output(command)


def test_a_rollback_without_an_argument_goes_to_the_last_good_release(seen, server, site, rollback):
    assert setting(site) == "second"

    rollback()

    assert server.live() == site.release() == seen["first"]
    assert setting(site) == "first", "it does not run with the settings it was deployed with"
    line = server.ledger()[-1]
    assert (line["action"], line["outcome"]) == ("rollback", "live")
    assert (line["from"], line["to"]) == (seen["second"], seen["first"])
    assert {"gate", "switch", "drain"} <= set(line["seconds"])
    assert seen["second"] not in server.status()["good"]


def test_a_rollback_goes_to_the_release_that_is_named(seen, server, site, rollback):
    rollback(release=seen["second"])

    assert server.live() == site.release() == seen["second"]
    assert setting(site) == "second"
    assert server.status()["good"][:2] == [seen["second"], seen["first"]]


def test_a_rollback_to_what_is_not_there_names_what_is(seen, server, rollback):
    done = rollback(release_to="0123456789ab-01234567", fails=True)

    assert "there is no release 0123456789ab-01234567 on this host" in said(done)
    assert f"kept releases: {', '.join(sorted(server.kept()))}" in said(done)
    assert server.live() == seen["second"]


def test_a_rollback_goes_through_the_gate(seen, server, site, rollback):
    module = f"{HOME}/releases/{seen['first']}/code/probe.py"
    server.host.check_output(f"mv {module} {module}.away")
    try:
        done = rollback(fails=True)
    finally:
        server.host.check_output(f"mv {module}.away {module}")

    assert "phase: gate" in said(done)
    assert f"live now: {seen['second']}" in said(done)
    line = server.ledger()[-1]
    assert (line["action"], line["outcome"], line["to"]) == ("rollback", "refused", seen["first"])
    assert site.release() == seen["second"]


def test_a_rollback_can_take_todays_settings(seen, server, site, probe, rollback, environment):
    rollback(env="current", app_source=str(probe.path), **environment(PROBE_ROLLBACK="today"))

    live = server.live()
    assert site.release() == live
    assert live not in (seen["first"], seen["second"])
    assert live.split("-")[0] == seen["first"].split("-")[0]
    assert setting(site) == "today"
    assert server.ledger()[-1]["action"] == "rollback"


def test_the_live_release_and_the_last_good_one_are_kept_whatever_the_setting_says(
    seen, server, probe, deploy
):
    before = server.live()
    probe.commit("note", "keep", "With one release to keep")
    deploy(release_keep=1)
    kept = {before, server.live()}
    assert server.kept() == kept, "the refused one is kept until the next good deploy"
    archives = set(server.host.file(f"{HOME}/incoming").listdir())
    assert archives <= {f"{name}.tar.gz" for name in kept}

    probe.commit("note", "bad again", "Another bad one")
    deploy(fails=True, release_keep=1, app_asgi="probe:no_such_app")

    assert server.kept() == kept | {server.ledger()[-1]["to"]}
    assert server.status()["good"] == [server.live(), before]


def test_a_rollback_works_on_the_server_by_hand(seen, server, site):
    before = server.status()["good"][1]

    server.host.check_output(f"SUDO_USER=ada {HOME}/bin/release rollback")

    assert server.live() == site.release() == before
    assert server.ledger()[-1]["who"] == "ada"
