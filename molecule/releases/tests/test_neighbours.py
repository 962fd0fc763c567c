"""Two applications on one server: what is done to one of them, the other does not notice."""

import re
import time

import pytest
import scenario
import yaml
from conftest import PROJECT, SHORT
from load import Request
from scenario import Repository, Server, Site, address

# Where everything of an application is; a site's certificate and log are Caddy's own.
PLACES = "/etc /srv /run /var/cache /var/lib /var/spool /tmp /var/tmp"
PAGES = [Request("GET", path) for path in ("/login", "/healthz", "/readyz")]
DUMPS = "/var/backups/pergola"


@pytest.fixture(scope="module")
def inventory(server, tmp_path_factory):
    """Linkboard as in the other scenario, on the server of the probe: its own settings only."""
    del server
    settings = yaml.safe_load(
        (PROJECT / "molecule/default/inventory/group_vars/servers/settings.yml").read_text()
    )
    own = {name: value for name, value in settings.items() if name.startswith("app_")}
    folder = tmp_path_factory.mktemp("neighbour")
    own["app_source"] = str(Repository.clone(folder / "clone").path)
    own["app_certificates"] = "internal"
    groups = {"app": ["web1"], "db": ["web1"]}
    return scenario.described(folder / "inventory", groups, own)


@pytest.fixture(scope="module")
def linkboard(inventory, web1, playbook, probe, deploy):
    """Both are live. How one comes beside another under load: scenario postgresql."""
    probe.reset()
    probe.commit("note", "beside linkboard", "Beside linkboard")
    deploy()
    done = playbook("playbooks/deploy.yml", inventory=inventory)
    assert done.returncode == 0, done.stdout
    return Server(web1, "linkboard")


@pytest.fixture(scope="module")
def change(inventory, playbook):
    """Run a playbook on linkboard; returns what it said, in one line."""

    def run(book, *arguments, fails=False, **more):
        done = playbook(f"playbooks/{book}.yml", *arguments, inventory=inventory, **more)
        assert (done.returncode != 0) == fails, done.stdout
        return re.sub(r"\s+", " ", done.stdout)

    return run


def left_of_linkboard(host):
    """What the server still has of it, by name, by account and by database."""
    found = host.check_output(
        f"find {PLACES} -xdev -iname '*linkboard*' ! -path '/var/lib/caddy/*'"
    )
    units = host.check_output("systemctl list-units --all --plain --no-legend 'linkboard*'")
    accounts = host.check_output("getent passwd; getent group") + host.check_output(
        "cd / && runuser -u postgres -- psql -Atc 'select datname from pg_database union all "
        "select rolname from pg_roles'"
    )
    words = [*found.split("\n"), *units.split("\n"), *accounts.split("\n")]
    return [word for word in words if "linkboard" in word]


def test_the_probe_does_not_notice_deploys_and_rollbacks_of_linkboard(
    linkboard, change, load, server
):
    here, there = server.live(), linkboard.live()
    with load(requests=SHORT) as running:
        time.sleep(2)
        change("deploy", "--tags=release", app_workers=1)
        other = linkboard.live()
        change("rollback")
        time.sleep(1)
        seen = running.end()
    assert other != there
    assert linkboard.live() == there
    assert seen.failed == 0, seen.first_failures
    assert set(seen.releases) == {here}
    assert seen.ok > 200


def test_linkboard_does_not_notice_deploys_and_rollbacks_of_the_probe(
    linkboard, load, server, deploy, rollback, probe
):
    here = server.live()
    probe.commit("note", "once more beside linkboard", "Once more")
    with load("linkboard.test", requests=PAGES) as running:
        time.sleep(2)
        deploy()
        assert server.live() != here
        rollback()
        time.sleep(1)
        seen = running.end()
    assert server.live() == here
    assert seen.failed == 0, seen.first_failures
    assert set(seen.releases) <= {linkboard.live()}
    assert seen.ok > 200


@pytest.mark.parametrize("confirm", [{}, {"confirm": "probe"}])
def test_a_removal_that_does_not_name_it_is_refused(linkboard, change, confirm):
    before = linkboard.live()

    said = change("remove", fails=True, **confirm)

    assert "This removes linkboard from web1: " in said
    assert "add `-e confirm=linkboard`. Nothing was changed." in said
    assert linkboard.live() == before
    Site("linkboard.test", address("web1")).get("/readyz").raise_for_status()


def test_without_a_last_dump_nothing_is_removed(linkboard, change, web1):
    before = linkboard.live()
    dumps = web1.run(f"ls {DUMPS}").stdout
    web1.check_output("mv /usr/bin/pg_dump /usr/bin/pg_dump.away")
    try:
        change("remove", fails=True, confirm="linkboard")
    finally:
        web1.check_output("mv /usr/bin/pg_dump.away /usr/bin/pg_dump")
    assert linkboard.live() == before
    Site("linkboard.test", address("web1")).get("/readyz").raise_for_status()
    assert web1.run(f"ls {DUMPS}").stdout == dumps


@pytest.fixture(scope="module")
def removed(change, load, server, web1, linkboard):
    """Linkboard is removed, while the probe is under load."""
    web1.check_output(f"rm -rf {DUMPS}; rm -f /var/tmp/backed-up")
    here = server.live()
    with load(requests=SHORT) as running:
        time.sleep(2)
        said = change(
            "remove",
            confirm="linkboard",
            remove_backup_command="test -d /srv/linkboard/releases; date >/var/tmp/backed-up",
        )
        time.sleep(1)
        seen = running.end()
    return {"seen": seen, "said": said, "live": here}


def test_the_probe_does_not_notice_the_removal(removed, server):
    seen = removed["seen"]
    assert seen.failed == 0, seen.first_failures
    assert set(seen.releases) == {removed["live"]} == {server.live()}
    assert seen.ok > 100


def test_nothing_of_it_is_left_but_a_last_dump(removed, web1):
    assert left_of_linkboard(web1) == []
    assert web1.run("grep -r linkboard_migration /etc/postgresql").rc == 1
    (dump,) = web1.check_output(f"ls {DUMPS}/linkboard-*").split("\n")
    assert dump in removed["said"]
    assert web1.file(dump).mode == 0o600
    assert web1.file(DUMPS).mode == 0o700
    assert "TABLE public users linkboard" in web1.check_output(f"pg_restore --list {dump}")
    assert web1.file("/var/tmp/backed-up").exists
    assert web1.check_output("systemctl list-units --failed --plain --no-legend") == ""


def test_the_probe_is_provisioned_as_before_and_then_nothing_changes(
    removed, playbook, server, site, probe
):
    more = {"app_source": str(probe.path), "app_version": removed["live"].partition("-")[0]}
    first = playbook("site.yml", **more)
    assert first.returncode == 0, first.stdout
    assert server.live() == site.release() == removed["live"]
    assert Site("linkboard.test", address("web1")).get("/", plain=True).status_code == 421

    assert "changed=0 " in playbook("site.yml", **more).stdout
