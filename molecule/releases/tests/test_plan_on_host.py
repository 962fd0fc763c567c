"""What `--check --diff` says a deploy would do, on a server: all of it, and nothing is done."""

import re

import pytest
import scenario

# Everything that a deploy may touch. The application itself writes to /var/lib/probe.
LISTING = (
    "find /srv /etc /run/probe /var/cache /var/lib/probe -xdev ! -path '/var/lib/probe/*' "
    "-printf '%p %y %m %u %g %s %T@ %l\\n'; "
    "systemctl list-units --all --plain --no-legend 'probe*'; cat /srv/probe/ledger.jsonl"
)
PROCESS = {"name": "worker", "command": "python worker.py plan"}
SCHEDULE = {"name": "nightly", "command": "python job.py nightly 0", "on_calendar": "03:00"}
SECRET = "a value that is nobody's business"
MIGRATION = "migrations/0002_more.sql"


def everything(host):
    """All of it, line by line."""
    return set(host.check_output(LISTING).splitlines())


@pytest.fixture(scope="module")
def plan(playbook, probe):
    """What a check of a deploy prints, line by line, without Ansible's frame around it."""

    def run(playbook_file="playbooks/deploy.yml", *arguments, **more):
        more = {"app_source": str(probe.path), "app_version": "HEAD", **more}
        done = playbook(playbook_file, "--check", "--diff", *arguments, **more)
        assert done.returncode == 0, done.stdout
        assert SECRET not in done.stdout
        return done.stdout

    return run


@pytest.fixture(scope="module")
def live(probe, server, deploy, playbook, environment):
    """A release with a process and a variable, which the next one has not."""
    probe.reset()
    probe.commit("note", "before the plan", "The release before")
    deploy(**environment(PROBE_OLD="1"), app_processes=[PROCESS])
    # What it needs of the server as well, as the other tests' deploys do not.
    done = playbook("playbooks/deploy.yml", "--tags=app", app_processes=[PROCESS])
    assert done.returncode == 0, done.stdout
    server.comes_to_rest()
    yield server.live()
    done = playbook("playbooks/deploy.yml", "--tags=app")
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def told(web1, server, live, probe, plan, environment):
    """The plan of a release that differs in everything a plan tells of."""
    lock = (probe.path / "requirements.txt").read_text()
    older = re.sub(r"^h11==\S+", "h11==0.0.1", lock, flags=re.MULTILINE)
    assert older != lock
    probe.commit("requirements.txt", older, "Another h11")
    (probe.path / "migrations").mkdir()
    commit = probe.commit(MIGRATION, "select 1;\n", "One more migration")
    before = everything(web1)
    said = plan(
        **environment(PROBE_NEW=SECRET), app_schedules=[SCHEDULE], app_workers=3, app_processes=[]
    )
    changed = before ^ everything(web1)
    return {"commit": commit, "said": said, "changed": changed}


def test_it_changes_nothing(told, server, live):
    assert told["changed"] == set()
    assert server.live() == live


def test_it_names_the_releases_the_commits_and_the_packages(told, live):
    said = told["said"]
    assert f"probe on web1: {live} -> {told['commit'][:12]}-" in said
    assert "commits      2 new:" in said
    for subject in ("Another h11", "One more migration"):
        assert re.search(rf"\+ [0-9a-f]{{7}} {subject} \(Tests, ", said)
    assert re.search(r"packages     ~ h11 [0-9.]+ -> 0\.0\.1", said)


def test_it_names_the_migrations_and_where_the_database_is(told, server):
    revision = server.sql("select max(version) from probe_schema")
    assert f"migrations   database at {revision}:" in told["said"]
    assert f"+ {MIGRATION}" in told["said"]


def test_it_names_variables_settings_and_units_but_no_value_of_the_environment(told):
    said = told["said"]
    assert "+ PROBE_NEW" in said
    assert "- PROBE_OLD" in said
    assert "~ workers 2 -> 3" in said
    assert "processes    - worker" in said
    assert "schedules    + nightly" in said
    assert "units        probe@<slot> starts again beside the old one" in said
    assert "worker stops for good" in said
    assert "expected interruption: none" in said


def test_the_same_release_again_is_told_to_change_nothing(live, plan, probe, environment, told):
    said = plan(
        app_version=live.partition("-")[0], **environment(PROBE_OLD="1"), app_processes=[PROCESS]
    )
    assert "is live already: a deploy would change nothing" in said
    assert "changed=0 " in said


NEWCOMER = {
    "app_name": "newcomer",
    "app_domain": "newcomer.test",
    "app_asgi": "probe:app",
    "app_processes": [PROCESS],
    "app_environment": {"PROBE_NEW": SECRET},
    "app_certificates": "internal",
}


def test_a_server_that_has_nothing_of_it_is_told_what_a_first_deploy_makes(
    tmp_path, web1, probe, plan, told
):
    """An application beside the probe, which deploy.yml alone will bring."""
    inventory = scenario.described(tmp_path, {"app": ["web1"], "db": ["web1"]}, NEWCOMER)
    before = everything(web1)

    said = plan(inventory=inventory)

    assert f"newcomer on web1: first deploy; it makes {told['commit'][:12]}-" in said
    assert everything(web1) == before
    assert re.search(r"packages     [0-9]+ to install", said)
    assert "environment  + PGDATABASE" in said
    assert "+ PROBE_NEW" in said
    assert "units        newcomer@<slot> starts" in said
    assert "worker starts" in said


def test_a_server_that_nobody_provisioned_gets_no_application(tmp_path, web1, playbook, probe):
    inventory = scenario.described(tmp_path, {"app": ["bare1"], "db": ["bare1"]}, NEWCOMER)
    bare1 = web1.get_host("ansible://bare1", ansible_inventory=scenario.INVENTORY, sudo=True)
    listing = "find /etc /srv -xdev ! -path '/etc/pergola*' -printf '%p %T@\\n' | sort"
    before = bare1.check_output(listing)

    more = {"app_source": str(probe.path), "app_version": "HEAD"}
    done = playbook("playbooks/deploy.yml", inventory=inventory, **more)

    assert done.returncode != 0
    said = scenario.said(done)
    assert "bare1" in said
    assert re.search(r"run:? .*site\.yml", said, re.IGNORECASE), said
    assert bare1.check_output(listing) == before


def test_the_next_deploy_does_what_the_plan_said(told, probe, deploy, server, live):
    """A good release for whoever comes next; its lock is whole again."""
    probe.reset()
    commit = probe.commit("note", "after the plan", "After the plan")
    deploy()
    assert server.live().startswith(commit[:12])
    assert server.live() != live
