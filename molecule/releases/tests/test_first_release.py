"""An application's first releases on a server: refused ones leave nothing, others serve it."""

import json
import time

import pytest
import scenario
from load import Request
from scenario import Server, Site, address, said

NAME = "newcomer.test"
PAGES = [Request("GET", "/"), Request("POST", "/echo", body=b"a body")]
PORT = "uvicorn probe:app --port $PORT"
SOCKET = 'uvicorn probe:app --uds "$PERGOLA_SOCKET" --forwarded-allow-ips="*"'
GIVEN = "test -e probe.py && exec uvicorn probe:app --fd 3"


@pytest.fixture(scope="module")
def run(probe, playbook, server, tmp_path_factory):
    """Run a playbook on the new application, whose name the site of the server's probe trusts."""
    del server
    probe.reset()
    settings = {
        "app_name": "newcomer",
        "app_domain": NAME,
        "app_source": str(probe.path),
        "app_asgi": "probe:app",
        "app_health_path": "/readyz",
        "app_schema_query": "",
        "app_workers": 1,
        "app_drain_seconds": 5,
        "app_start_timeout_seconds": 15,
        "app_certificates": "internal",
    }
    groups = {"app": ["web1"], "db": ["web1"]}
    inventory = scenario.described(tmp_path_factory.mktemp("newcomer"), groups, settings)

    def call(book, *arguments, fails=False, **more):
        done = playbook(f"playbooks/{book}.yml", *arguments, inventory=inventory, **more)
        assert (done.returncode != 0) == fails, done.stdout
        return said(done)

    yield call
    call("remove", confirm="newcomer")


@pytest.fixture(scope="module")
def newcomer(web1):
    return Server(web1, "newcomer")


@pytest.mark.parametrize("attempt", ["first", "second"])
def test_a_first_release_that_is_refused_leaves_nothing_that_is_called_live(
    run, newcomer, web1, attempt
):
    message = run("deploy", fails=True, app_asgi="probe:application")
    assert "what to do: Setting: app_asgi" in message
    assert "the release has no 'probe:application'; it has probe:app" in message
    assert "live now: no release yet" in message
    status = newcomer.status()
    assert (status["live"], status["slot"], status["good"]) == (None, None, [])
    assert {line["outcome"] for line in newcomer.ledger()} == {"refused"}
    assert "live: no release yet" in run("releases")
    assert "no release yet" in run("rollback", fails=True)
    looked = json.loads(web1.run("pergola status --json").stdout or "{}")
    assert "newcomer@" not in json.dumps(looked)
    page = Site(NAME, address("web1")).get("/")
    assert (page.status_code, page.headers["Retry-After"]) == (503, "120")
    assert "This site is being set up" in page.text
    assert attempt


def test_the_first_good_release_takes_the_pages_place(run, newcomer, web1):
    run("deploy")
    assert Site(NAME, address("web1")).release() == newcomer.live()
    assert not web1.file("/srv/newcomer/live/nothing.html").exists
    environment = web1.check_output("cat /srv/newcomer/slots/live/environment")
    assert f'SENTRY_RELEASE="{newcomer.live()}"' in environment


@pytest.mark.parametrize("command", [PORT, SOCKET, GIVEN])
def test_a_command_serves_and_no_request_is_lost_at_its_switches(run, newcomer, load, command):
    """From Uvicorn to the command, from one of it to the next, and back."""
    before = newcomer.live()
    with load(NAME, requests=PAGES, rate=20) as running:
        time.sleep(2)
        run("deploy", app_server="command", app_server_command=command)
        served = newcomer.live()
        more = {"app_environment": {"PROBE_NOTE": command}}
        run("deploy", app_server="command", app_server_command=command, **more)
        run("rollback", release=before)
        time.sleep(1)
        seen = running.end()
    assert seen.failed == 0, seen.first_failures
    assert {before, served} <= set(seen.releases)


def test_a_command_that_cannot_be_started_is_refused(run, newcomer):
    before = newcomer.live()
    message = run(
        "deploy", fails=True, app_server="command", app_server_command="gunicorn probe:app"
    )
    assert "app_server_command: the release has no program gunicorn: " in message
    assert newcomer.live() == before
