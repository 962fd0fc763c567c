"""A deploy and a rollback of linkboard lose no request; the scenario `releases` has the rest."""

import json

import pytest

testinfra_hosts = ["ansible://web1"]

HOME = "/srv/linkboard"
STYLES = "src/linkboard/static/app.css"


def status(host):
    return json.loads(host.check_output(f"{HOME}/bin/release status"))


def main_process(host):
    slot = status(host)["slot"]
    return host.check_output(f"systemctl show --property=MainPID --value linkboard@{slot}")


@pytest.fixture(scope="module")
def deploy(playbook, application):
    def run():
        done = playbook("playbooks/deploy.yml", app_source=str(application.path))
        assert done.returncode == 0, done.stdout
        return done.stdout

    application.reset()
    run()
    return run


def test_systemd_has_reread_its_files(host, deploy):
    stale = "systemctl show --property=NeedDaemonReload 'linkboard*' caddy | sort --unique"
    assert host.check_output(stale).split() == ["NeedDaemonReload=no"]


def test_the_same_commit_again_changes_nothing(host, site, deploy):
    before = (site.release(), main_process(host))

    assert "changed=0 " in deploy()

    assert (site.release(), main_process(host)) == before


def test_a_deploy_and_a_rollback_under_load_lose_no_request(
    host, site, load, deploy, playbook, application
):
    before = site.release()
    css = (application.top / STYLES).read_text()
    application.commit(STYLES, f"{css}\n/* another colour */\n", "Another colour")
    with load(rate=60) as running:
        deploy()
        after = site.release()
        done = playbook("playbooks/rollback.yml")
        assert done.returncode == 0, done.stdout
        assert site.release() == before
        seen = running.end()
    assert before != after
    assert seen.failed == 0, seen.first_failures
    assert set(seen.releases) == {before, after}
    assert {"kept-GET", "kept-POST", "new-GET", "new-POST", "h2-GET", "h2-POST"} <= set(seen.counts)
    assert status(host)["good"][0] == before
