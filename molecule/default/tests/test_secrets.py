"""No secret stands in what a run prints: at -vvv, with --diff, in success and in failure."""

import re

import pytest
import yaml
from scenario import Playbooks

testinfra_hosts = ["ansible://web1"]

MARK = "mark-of-a-secret"
SECRETS = {
    "app_secrets": {"LINKBOARD_SESSION_SECRET": f"{MARK}-in-the-environment-0123456789abcdef"},
    "app_credentials": {"probe": f"{MARK}-in-a-file"},
    "release_notify_urls": [f"https://acme.test/nobody/{MARK}-in-a-path?token={MARK}-in-a-query"],
    "release_notify_mail": {
        "to": ["ops@example.org"], "host": "acme.test", "port": 9,
        "username": "ops", "password": f"{MARK}-of-mail",
    },
    "backup_s3": {
        "bucket": "b", "endpoint": "acme.test", "region": "r",
        "key": f"{MARK}-of-s3", "key_secret": f"{MARK}-of-s3-too",
    },
}  # fmt: skip


def shown(done):
    """The lines in which a mark stands, cut to what is around it."""
    return [done.stdout[max(found.start() - 200, 0) : found.end() + 60]
            for found in re.finditer(MARK, done.stdout)]  # fmt: skip


@pytest.fixture(params=["-vvv", "without -v"])
def run(request):
    """Run a playbook with the output that users have; -vvv makes Ansible's own of it."""
    verbose = request.param == "-vvv"
    own = Playbooks("pergola")

    def ran(playbook, *arguments, **more):
        done = own(playbook, *arguments, *(["-vvv"] if verbose else []), **more)
        assert ("TASK [" in done.stdout) == verbose
        return done

    return ran


@pytest.fixture
def with_secrets(tmp_path):
    """Give the settings as a user does: in a file, as those of the vault become."""
    path = tmp_path / "secrets.yml"
    path.write_text(yaml.safe_dump(SECRETS))
    return f"@{path}"


def test_site_as_it_would_be_run_shows_none(run, with_secrets):
    done = run("site.yml", "--check", "--diff", "-e", with_secrets)
    assert done.returncode == 0, done.stdout[-3000:]
    # What is shown is the real thing: files would change, and say how.
    assert "monitoring and restore checks" in done.stdout
    assert not shown(done)


def test_a_refused_deploy_shows_none(site, run, with_secrets):
    before = site.release()
    done = run(
        "playbooks/deploy.yml", "--diff", "-e", with_secrets,
        app_static_command="echo this release is refused; false",
    )  # fmt: skip
    assert done.returncode != 0
    assert "this release is refused" in done.stdout
    assert "nobody was told" in done.stdout
    assert not shown(done)
    assert site.release() == before


def test_a_refused_setting_shows_none(run, with_secrets):
    done = run(
        "playbooks/deploy.yml", "-e", with_secrets,
        app_secrets={"bad name": f"{MARK}-refused"}, release_notify_urls=f"{MARK}-no-list",
    )  # fmt: skip
    assert done.returncode != 0
    assert not shown(done)


def test_the_backups_key_is_shown_by_nothing(host, run):
    key = host.check_output("sed -n 's/^repo1-cipher-pass=//p' /etc/pgbackrest/pgbackrest.conf")
    assert len(key) > 20
    done = run("playbooks/provision.yml", "--check", "--diff", "--tags=backup")
    assert done.returncode == 0, done.stdout[-3000:]
    assert key not in done.stdout
