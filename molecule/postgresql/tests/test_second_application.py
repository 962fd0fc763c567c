"""A second application is added by deploy.yml alone, beside one under load.

Its inventory has its own settings only: nothing of the server's changes, and what the server
cannot give is refused before the first change.
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import MANY, REQUESTS, SECOND, TOTAL
from scenario import Playbooks, Server, Site, address, described, said
from testinfra.host import Host

BOOKS = ("site.yml", "playbooks/provision.yml", "playbooks/upgrade.yml")
RESTARTS = r"PostgreSQL of web1 (?:would restart|restarts)"
PGAUDIT = {"app_databases": [{"name": "second", "extensions": ["pgaudit"]}]}
# What the inventory that provisions the server has made there. Lines about the roles of migrations
# in pg_hba.conf and pg_ident.conf are the applications'.
OWN = (
    "find /etc/pergola/firewall.d /etc/pergola/firewall.nft /etc/pergola/operators.d "
    "/etc/pergola/made-by.json /etc/pergola/postgresql.json /etc/pergola/monitoring/_server.json "
    "/etc/caddy/Caddyfile /etc/postgresql/*/main/conf.d/pergola.conf /etc/systemd/system/*.d "
    "/etc/ssh /etc/apt /etc/sudoers.d /etc/sysctl.d /etc/systemd/journald.conf.d "
    "-type f ! -path '*second*' -exec sha256sum {} + | sort -k 2"
)
ALL = "find /etc /srv -xdev -printf '%p %y %m %u %g %s %T@ %l\\n' | sort"


@dataclass(frozen=True)
class Kind:
    """An application that needs so much: what PostgreSQL restarts for; empty: it does not."""

    settings: dict[str, object] = field(default_factory=dict)
    restarts: str = ""


KINDS = {
    "needs no restart": Kind(),
    "needs more connections": Kind(MANY, "max_connections: 250 -> 340"),
    "needs a library": Kind(
        PGAUDIT, "shared_preload_libraries: pg_stat_statements -> pg_stat_statements,pgaudit"
    ),
}


@pytest.fixture
def untouched(web1: Host, database) -> Iterator[None]:
    """Neither files nor PostgreSQL's process are others after the test."""
    before, began = web1.check_output(ALL), database.began()
    yield
    assert set(web1.check_output(ALL).splitlines()) ^ set(before.splitlines()) == set()
    assert database.began() == began


@pytest.fixture
def goes(web1: Host, database, playbook: Playbooks, provision, second) -> Iterator[None]:
    """After the test the application is gone, and PostgreSQL as it was before."""
    yield
    removed = playbook("playbooks/remove.yml", inventory=second, confirm="second")
    assert removed.returncode == 0, removed.stdout
    TOTAL.restart(provision())
    assert database("show max_connections") == "250"
    web1.check_output(f"apt-get -qqy purge 'postgresql-{database.version}-pgaudit'")


@pytest.mark.usefixtures("untouched")
def test_a_setting_of_the_server_in_its_inventory_is_refused_by_name_with_file_and_line(
    tmp_path: Path, deploy: Callable[..., str]
):
    servers = {"postgresql_settings": {"work_mem": "64MB"}, "base_timezone": "Europe/Vienna"}
    groups = {"app": ["web1"], "db": ["web1"]}
    inventory = described(tmp_path, groups, {**SECOND, **servers})
    lines = (tmp_path / "group_vars/servers/settings.yml").read_text().splitlines()

    output = deploy(inventory=inventory, fails=True)

    for name in servers:
        assert (
            f"{name} is a setting of the server, which the inventory of probe provisions" in output
        )
        line = next(number for number, text in enumerate(lines, 1) if f'"{name}"' in text)
        assert f"group_vars/servers/settings.yml:{line}" in output, name


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("book", BOOKS)
def test_a_playbook_that_provisions_is_refused_with_what_to_type_instead(book, playbook, second):
    done = playbook(book, inventory=second)

    assert done.returncode != 0
    output = said(done)
    assert "web1 is provisioned by the inventory of probe" in output
    assert "playbooks/deploy.yml" in output
    assert "preflight_takes_over=true" in output


def test_more_connections_than_the_server_is_set_to_are_refused_before_the_first_change(
    provision, deploy, second, web1, database
):
    """The server's own inventory has a number, which is as many as it has by itself."""
    provision(postgresql_max_connections=250)
    before, began = web1.check_output(ALL), database.began()
    try:
        output = deploy(inventory=second, fails=True, **MANY)
        assert (
            "postgresql_max_connections 250 is too small: 20 for probe + 300 for second + 20 for "
            "backups, monitoring, migrations and consoles are 340" in output
        )
        assert "the inventory that provisions this server" in output
        assert web1.check_output(ALL) == before
        assert database.began() == began
    finally:
        provision()
    assert database.began() == began


@pytest.fixture
def without_a_pause(web1: Host) -> Iterator[None]:
    """The first application's settings are a newer Pergola's, which no program here reads."""
    settings, away = "/srv/probe/settings.json", "/root/settings.json"
    web1.check_output(
        f"cp -a {settings} {away} && printf '{{\"format\": 99}}' >{settings} && "
        f"touch --reference={away} {settings}"
    )
    yield
    web1.check_output(f"cp -a {away} {settings} && rm {away}")


def test_a_restart_that_an_application_could_not_wait_for_is_refused_and_nobody_is_down(
    load, without_a_pause, deploy, second, web1, database
):
    before, began = web1.check_output(ALL), database.began()
    with load() as running:
        time.sleep(1)
        output = deploy(inventory=second, fails=True, **MANY)
        time.sleep(1)
        seen = running.end()
    assert "requests of probe would fail" in output
    assert web1.check_output(ALL) == before
    assert database.began() == began
    assert seen.lost == []
    assert seen.ok > 60


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("name", KINDS)
def test_the_plan_says_what_postgresql_restarts_for_and_changes_nothing(name, deploy, second):
    kind = KINDS[name]
    output = deploy("--check", "--diff", inventory=second, **kind.settings)
    if kind.restarts:
        assert re.search(f"{RESTARTS}, {re.escape(kind.restarts)}", output), output
    else:
        assert not re.search(RESTARTS, output), output


@pytest.mark.usefixtures("goes")
@pytest.mark.parametrize("name", KINDS)
def test_it_comes_beside_one_under_load_and_no_request_fails(
    name, deploy, second, web1, database, server, load
):
    kind = KINDS[name]
    own, began, live = web1.check_output(OWN), database.began(), server.live()
    with load() as running:
        time.sleep(1)
        running.mark("deploy")
        output = deploy(inventory=second, **kind.settings)
        running.mark("after")
        time.sleep(2)
        seen = running.end()
    TOTAL.restart(output)
    print(f"a second application that {name}: {seen.windows}")
    assert seen.lost == []
    assert seen.ok > 200
    assert set(seen.releases) == {live}
    # It is there, with a database of its own.
    other = Server(web1, "second")
    answer = Site("second.test", address("web1"))
    assert answer.get("/readyz").raise_for_status().json()["release"] == other.live()
    assert [answer.get(one.path).status_code for one in REQUESTS if one.method == "GET"] == [200]
    if kind.restarts:
        assert re.search(f"{RESTARTS}, {re.escape(kind.restarts)}", output), output
        assert database.began() != began
    else:
        assert not re.search(RESTARTS, output), output
        assert database.began() == began
    if name == "needs a library":
        assert "pgaudit" in database("select extname from pg_extension", database="second")
    assert web1.check_output(OWN).splitlines() == own.splitlines()
    assert "changed=0 " in deploy(inventory=second, **kind.settings)
