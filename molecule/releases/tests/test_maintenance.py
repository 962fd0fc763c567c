"""A maintenance page that comes and goes without a reload, and a pause that no request notices."""

import json
import re
import socket
import ssl
import time
from functools import partial
from ipaddress import ip_network

import pytest
import scenario
import websockets.sync.client
from scenario import wait_for

PLAYBOOK = "playbooks/maintenance.yml"
# What somebody at another address gets: only the status.
FROM_THE_SERVER_ITSELF = """
import socket, ssl
trust = ssl._create_unverified_context()
plain = socket.create_connection(("127.0.0.1", 443))
with trust.wrap_socket(plain, server_hostname="probe.test") as secured:
    secured.sendall(b"GET / HTTP/1.1\\r\\nHost: probe.test\\r\\nConnection: close\\r\\n\\r\\n")
    print(secured.recv(99).split()[1].decode())
"""
HTMX = {"HX-Request": "true"}


@pytest.fixture(scope="module")
def release(probe, deploy, server):
    probe.reset()
    probe.commit("note", "maintenance", "A release to hide")
    deploy()
    return server.live()


@pytest.fixture
def maintenance(release, playbook, web1):
    """Turn the page on or off, or hold the requests; at the end of each test all is off."""

    def run(state, **more):
        done = playbook(PLAYBOOK, state=state, **more)
        assert done.returncode == 0, done.stdout
        return done

    yield run
    wait_for("a login", lambda: web1.run("/srv/probe/bin/release maintenance off").rc == 0)


def caddy(host):
    """Caddy's process, and how often it was started or its configuration changed."""
    shown = host.check_output("systemctl show --property=MainPID,ExecMainStartTimestamp caddy")
    reloads = host.check_output("journalctl --boot --unit caddy --grep 'eload' | wc -l")
    return shown, reloads


def power_loss(host):
    boot = "cat /proc/sys/kernel/random/boot_id"
    before = host.check_output(boot)
    scenario.testhosts("kill", "web1")
    scenario.testhosts("start", "web1")
    wait_for("a login", lambda: host.run(boot).stdout.strip() not in ("", before))


def websocket(site):
    """An open WebSocket of a site."""
    trust = ssl.create_default_context(cafile=str(scenario.AUTHORITY))
    connection = socket.create_connection((site.server, 443), 30)
    return websockets.sync.client.connect(
        f"wss://{site.name}/ws", sock=connection, ssl=trust, server_hostname=site.name, proxy=None
    )


def test_the_page_is_there_for_people_and_htmx_but_not_for_health_checks(
    maintenance, site, web1, server
):
    before = caddy(web1)
    with websocket(site) as socket_:
        said = maintenance("on", message="Back at <noon>.")
        assert '"maintenance": "on"' in said.stdout
        page = site.get("/", headers={"Accept": "text/html"})
        assert page.status_code == 503
        assert int(page.headers["retry-after"]) > 0
        assert page.headers["content-type"].startswith("text/html")
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["strict-transport-security"]
        assert "<!doctype html>" in page.text
        assert "Back at &lt;noon&gt;." in page.text
        assert site.get("/no/such/page").status_code == 503
        assert site.get("/").headers.get("x-release") is None
        with site.client() as client:
            assert client.post("/echo", content=b"x").status_code == 503
            piece = client.get("/", headers=HTMX)
        assert piece.status_code == 503
        assert int(piece.headers["retry-after"]) > 0
        assert "<html" not in piece.text
        assert "Back at &lt;noon&gt;." in piece.text
        assert site.get("/readyz").status_code == 200
        assert server.status()["maintenance"] == "on"
        socket_.send("still here?")
        assert socket_.recv(10) == "still here?"
        again = maintenance("off")
        assert "changed=1" in again.stdout
        assert site.get("/").status_code == 200
        socket_.send("and now?")
        assert socket_.recv(10) == "and now?"
    assert caddy(web1) == before
    assert "changed=0" in maintenance("off").stdout


def test_a_page_of_ones_own_is_shown_as_it_is(maintenance, site, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<!doctype html>\n<title>Ours</title>\n<p>Ünsere Seite {kept} as it is</p>\n")
    maintenance("on", release_maintenance_page=str(page))
    answer = site.get("/")
    assert answer.status_code == 503
    assert answer.text.strip() == page.read_text().strip()
    assert "<title>Ours" not in site.get("/", headers=HTMX).text


def test_a_page_for_some_time_goes_by_itself(maintenance, site, server):
    maintenance("on", duration="8s")
    assert server.status()["maintenance"] == "on, for a time"
    assert site.get("/").status_code == 503
    wait_for("the end of the maintenance", lambda: site.get("/").status_code == 200)
    assert server.status()["maintenance"] == "off"


def test_a_lasting_page_survives_a_power_loss_and_a_timed_one_ends_with_it(
    maintenance, site, web1, server
):
    maintenance("on")
    power_loss(web1)
    wait_for("the page", lambda: site.get("/").status_code == 503)
    wait_for("the release behind it", lambda: web1.service(server.slot()).is_running)
    assert site.get("/").status_code == 503
    web1.check_output("/srv/probe/bin/release maintenance on --for 2h </dev/null")
    assert site.get("/").status_code == 503
    power_loss(web1)
    wait_for("the site", lambda: site.get("/").status_code == 200)
    assert server.status()["maintenance"] == "off"


def test_a_deploy_behind_the_page_is_not_taken_back_because_of_the_page(
    maintenance, site, probe, deploy, server
):
    """The 503 of the page says nothing about the release."""
    maintenance("on")
    commit = probe.commit("note", "behind the page", "Behind the page")
    with site.client() as client, scenario.ThreadPoolExecutor(1) as pool:
        done = pool.submit(partial(deploy, app_bake_seconds=3))
        while not done.done():
            assert client.get("/").status_code == 503
            time.sleep(0.1)
        done.result()
    assert server.live().startswith(commit[:12])


@pytest.mark.parametrize("ends", ["resume", "by itself"])
def test_a_pause_fails_no_request(maintenance, web1, server, load, ends):
    release = "/srv/probe/bin/release"
    with load(rate=40) as running:
        time.sleep(1)
        running.mark("pause")
        if ends == "resume":
            said = json.loads(web1.check_output(f"{release} pause on --for 30s"))
            assert said["pause"] == "on"
            time.sleep(3)
            running.mark("after")
            maintenance("resume")
        else:
            maintenance("pause", duration="3s")
        wait_for("the release", lambda: web1.service(server.slot()).is_running)
        running.mark("after")
        time.sleep(1)
        seen = running.end()
    print(f"ended {ends}: {seen.windows}")
    assert seen.failed == 0, seen.first_failures
    assert max(window["max"] for window in seen.windows.values()) > 2000, "nothing was held"


def test_those_who_are_allowed_see_the_site_while_others_see_the_page(
    maintenance, site, web1, playbook
):
    ours = str(ip_network(json.loads((scenario.RUN / "hosts.json").read_text())["network"]))
    before = web1.check_output("systemctl show --property=MainPID caddy")
    try:
        done = playbook(
            "playbooks/deploy.yml", "--tags=app", app_maintenance_allowed_networks=[ours]
        )
        assert done.returncode == 0, done.stdout
        maintenance("on")
        assert site.get("/").status_code == 200
        assert web1.check_output("python3 -c %s", FROM_THE_SERVER_ITSELF) == "503"
    finally:
        done = playbook("playbooks/deploy.yml", "--tags=app")
    assert done.returncode == 0, done.stdout
    assert site.get("/").status_code == 503
    assert web1.check_output("systemctl show --property=MainPID caddy") == before


def test_a_pause_longer_than_a_proxy_waits_is_refused(maintenance, playbook):
    done = playbook(PLAYBOOK, state="pause", duration="2m")
    assert done.returncode != 0
    said = re.sub(r"\s+", " ", done.stdout)
    assert "a pause of 120 s is longer than Caddy waits for an answer" in said
    assert "next: pause for at most 50s, or use maintenance" in said
