"""Releases go live without a failed request, come back, and outlive a control node that dies."""

import json
import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

testinfra_hosts = ["ansible://web1"]

DEPLOY = "playbooks/deploy.yml"
ROLLBACK = "playbooks/rollback.yml"
HOME = "/srv/linkboard"
STYLES = "src/linkboard/static/app.css"
SETTINGS = Path(__file__).parents[1] / "inventory/group_vars/servers/settings.yml"


def settings_with(number):
    """The scenario's environment with one value of its own: a configuration-only change."""
    if number is None:
        return {}
    environment = yaml.safe_load(SETTINGS.read_text())["app_environment"]
    return {"app_environment": {**environment, "LINKBOARD_PAGE_SIZE": number}}


def status(host):
    return json.loads(host.check_output(f"{HOME}/bin/release status"))


def ledger(host):
    return [json.loads(line) for line in host.file(f"{HOME}/ledger.jsonl").content.splitlines()]


def main_process(host):
    slot = status(host)["slot"]
    return host.check_output(f"systemctl show --property=MainPID --value linkboard@{slot}")


def page_size(host):
    """What the live process was started with."""
    environment = host.file(f"/proc/{main_process(host)}/environ").content.decode().split("\0")
    return dict(line.split("=", 1) for line in environment if line).get("LINKBOARD_PAGE_SIZE")


def kept(host):
    return set(host.file(f"{HOME}/releases").listdir())


def stylesheet(site):
    """The style sheet that the page now served names."""
    return re.search(r'"(/static/app\.\w+\.css)"', site.get("/login").text)[1]


@pytest.fixture(scope="module")
def deploy(playbook, application):
    def run(**more):
        done = playbook(DEPLOY, app_source=str(application.path), **more)
        assert done.returncode == 0, done.stdout
        return done.stdout

    application.reset()
    run()
    return run


@pytest.fixture(scope="module")
def rollback(playbook):
    def run(**more):
        done = playbook(ROLLBACK, **more)
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run


@pytest.fixture(scope="module")
def seen(host, site, load, deploy, rollback, application):
    """One run of the load over a new commit, another setting, and a rollback."""
    begun = len(ledger(host))
    releases, styles, took = [site.release()], [stylesheet(site)], []
    css = application.path / "sample_app" / STYLES
    application.commit(STYLES, f"{css.read_text()}\n/* another colour */\n", "Another colour")
    with load(rate=60) as end:
        for switch in (deploy, lambda: deploy(**settings_with("11")), rollback):
            began = time.monotonic()
            switch()
            took.append(time.monotonic() - began)
            releases.append(site.release())
            styles.append(stylesheet(site))
            time.sleep(1)
        result = end()
    return {
        "releases": releases,
        "styles": styles,
        "took": took,
        "load": result,
        "ledger": ledger(host)[begun:],
        "good": status(host)["good"],
    }


def test_the_same_commit_again_changes_nothing(host, site, deploy):
    before = (site.release(), main_process(host), len(ledger(host)))

    assert "changed=0 " in deploy()

    assert (site.release(), main_process(host), len(ledger(host))) == before


def test_three_switches_under_load_lose_no_request(seen, capsys):
    load = seen["load"]
    # A wrong password costs an Argon2 check on purpose, hence the POSTs are told apart.
    worst = {
        method: max(v["max"] for kind, v in load.latency_ms.items() if kind.endswith(method))
        for method in ("GET", "POST")
    }
    with capsys.disabled():
        print(
            f"\n{load.ok + load.failed} requests, {load.failed} failed, 3 switches, "
            f"worst GET {worst['GET']:.0f} ms, worst POST {worst['POST']:.0f} ms"
        )

    assert load.failed == 0, load.first_failures
    assert load.ok > 500
    # Each of the three releases answered while the load ran.
    assert set(load.releases) == set(seen["releases"])
    assert {"kept-GET", "kept-POST", "new-GET", "new-POST", "h2-GET", "h2-POST"} <= set(load.counts)


def test_another_setting_is_another_release_of_the_same_commit(seen):
    first, second, third, _ = seen["releases"]
    assert first.split("-")[0] != second.split("-")[0] == third.split("-")[0]
    assert third != second


def test_a_rollback_without_a_name_returns_to_the_release_before(seen):
    _, second, third, after = seen["releases"]
    assert after == second
    assert seen["took"][2] < 30
    assert seen["good"][0] == second
    assert third not in seen["good"], "a release that was rolled back from counts as good"


def test_pages_of_the_old_release_keep_their_assets(site, seen):
    old, new = seen["styles"][:2]
    assert old != new
    assert "another colour" not in site.get(old).raise_for_status().text
    assert "another colour" in site.get(new).raise_for_status().text
    assert "immutable" in site.get(old).headers["cache-control"]


def test_the_ledger_tells_what_was_done_by_whom_and_how_long_it_took(seen):
    first, second, third, _ = seen["releases"]
    lines = [line for line in seen["ledger"] if line["action"] != "migrate"]
    told = [(line["action"], line["from"], line["release"], line["outcome"]) for line in lines]
    assert told == [
        ("deploy", first, second, "live"),
        ("deploy", second, third, "live"),
        ("rollback", third, second, "live"),
    ]
    for line in lines:
        assert line["who"]
        assert line["time"] > "2026"
        assert 0 < line["seconds"]["gate"] < 30
        assert 0 <= line["seconds"]["switch"] < 5


def test_a_rollback_goes_to_the_release_that_is_named(host, site, seen, rollback):
    third = seen["releases"][2]

    rollback(release_to=third)

    assert site.release() == third
    assert page_size(host) == "11"
    assert status(host)["good"][0] == third


def test_a_rollback_to_what_is_not_there_names_what_is(host, site, seen, playbook):
    live = site.release()

    done = playbook(ROLLBACK, release_to="0123456789ab-01234567")

    assert done.returncode != 0
    assert "there is no release 0123456789ab-01234567 on this host" in done.stdout
    assert f"kept releases: {', '.join(sorted(kept(host)))}" in done.stdout
    assert site.release() == live


def test_a_rollback_goes_through_the_gate(host, site, seen, playbook):
    live, second = site.release(), seen["releases"][1]
    python = f"{HOME}/releases/{second}/venv/bin/python"
    host.check_output(f"mv {python} {python}.away")
    try:
        done = playbook(ROLLBACK, release_to=second)
    finally:
        host.check_output(f"mv {python}.away {python}")

    assert done.returncode != 0
    assert "phase: gate" in done.stdout
    assert site.release() == live
    assert ledger(host)[-1]["outcome"] == "refused"


def test_old_releases_are_removed_but_neither_the_live_one_nor_the_one_before(
    host, site, seen, deploy
):
    before = site.release()

    deploy(release_keep=2, **settings_with("12"))

    assert kept(host) == {before, site.release()}
    incoming = {name.split(".")[0] for name in host.file(f"{HOME}/incoming").listdir()}
    assert incoming <= kept(host)


def descendants(process):
    """A process and all that it started, the oldest first."""
    found = [process]
    with suppress(FileNotFoundError):
        for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
            found += descendants(int(child))
    return found


# The second one brings the usual settings back.
@pytest.mark.parametrize(
    ("phase", "size", "host_too"), [("prepare", "13", True), ("activate", None, False)]
)
def test_a_deploy_whose_control_node_dies_leaves_a_site_and_the_next_one_finishes(
    host, site, seen, load, playbook, application, deploy, phase, size, host_too
):
    before = site.release()
    at_work = f"pgrep --full 'bin/release --who=[^ ]* [{phase[0]}]{phase[1:]} '"
    with load(rate=20) as end:
        process = playbook.start(DEPLOY, app_source=str(application.path), **settings_with(size))
        host.check_output(f'timeout 60 sh -c "until {at_work}; do sleep 0.02; done"')
        for number in descendants(process.pid):
            os.kill(number, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        if host_too:  # as when the server loses its power as well
            host.run(f"kill -KILL $({at_work})")
        host.check_output(f'timeout 60 sh -c "while {at_work}; do sleep 0.1; done"')
        after = site.release()
        assert (after == before) == (page_size(host) != size)

        deploy(**settings_with(size))

        assert page_size(host) == size
        result = end()
    assert result.failed == 0, result.first_failures
    assert set(result.releases) == {before, site.release()}
    idle = {"blue": "green", "green": "blue"}[status(host)["slot"]]
    stopped = f"systemctl is-active --quiet linkboard@{idle}.socket linkboard@{idle}.service"
    host.check_output(f"timeout 30 sh -c 'while {stopped}; do sleep 0.2; done'")
