"""deploy.yml alone brings each of the application's settings into force, and its plan shows it."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import pytest
from scenario import Site, address, wait_for
from testinfra.host import Host

testinfra_hosts = ["ansible://web1"]

OLD, NEW = "linkboard.test", "links.test"
WORKER = {"name": "worker", "command": "linkboard worker"}
HELPER = {"name": "helper", "command": "linkboard worker"}
CHECKED = ["select count(*) >= 0 from users", "select count(*) >= 0 from links"]
# linkboard itself takes 64 KB, and a field that it does not know.
FORM = b"name=none&password=wrong&more=" + b"a" * 40_000
EXTENSION = "select count(*) from pg_extension where extname = 'pg_trgm'"
LIMIT = "select rolconnlimit from pg_roles where rolname = 'linkboard'"


def answer(name: str) -> Callable[[Host], object]:
    """The status and the destination of a site's answer; its certificate is checked."""

    def ask(_: Host) -> object:
        found = Site(name, address("web1")).get("/readyz")
        return found.status_code, found.headers.get("location")

    return ask


def is_cut(site: Site) -> bool:
    """Whether a form is too large for Caddy: it says so, unless the application is faster.

    That answers 400 to half a form, and 401 to a whole one.
    """
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    with site.client() as client:
        found = client.post("/login", content=FORM, headers=form).status_code
    assert found in (413, 400, 401)
    return found != 401


def asked(host: Host, path: str, body: bytes = b"") -> httpx.Response:
    """An answer of the site by the name that it has."""
    with Site(served(host), address("web1")).client() as client:
        return client.post(path, content=body) if body else client.get(path)


def slot(host: Host) -> str:
    return json.loads(host.check_output("/srv/linkboard/bin/release status"))["slot"]


def workers(host: Host) -> int:
    main = host.check_output(f"systemctl show -P MainPID linkboard@{slot(host)}.service")
    return int(host.check_output(f"pgrep --count --parent {main} --full spawn_main"))


def sql(query: str) -> Callable[[Host], str]:
    return lambda host: host.check_output(
        "cd / && runuser -u postgres -- psql -XAtqc %s linkboard", query
    )


def drilled(host: Host) -> str:
    """What the drill asked of the restored database."""
    host.check_output("systemctl start pergola-backup@drill.service")
    says = json.loads(host.file("/var/lib/pergola/results/drill.json").content_string)["says"]
    return re.search(r"\d+ checks of applications", says)[0]


@dataclass(frozen=True)
class Kind:
    """A setting: what the plan shows of it, and its effect before and afterwards.

    `before` of None: too slow to be looked at twice.
    """

    settings: dict[str, object]
    planned: str
    effect: Callable[[Host], object]
    before: object
    after: object


KINDS = {
    "domain": Kind(
        {"app_domain": NEW},
        rf"\+{NEW} \{{",
        answer(NEW),
        None,
        (200, None),
    ),
    "redirected domain": Kind(
        {"app_redirected_domains": [OLD]},
        rf"\+\s*redir https://{NEW}",
        answer(OLD),
        (200, None),
        (301, f"https://{NEW}/readyz"),
    ),
    "workers": Kind({"app_workers": 3}, r"~ workers 2 -> 3", workers, 2, 3),
    "connections": Kind(
        {"app_database_connections": 7},
        "linkboard: 77 connections at most",
        sql(LIMIT),
        "105",  # 15 for each of 2 slots x (2 workers + 1 process), and of 1 schedule
        "77",  # 7 for each of 2 slots x (3 workers + 2 processes), and of 1 schedule
    ),
    "header": Kind(
        {"app_security_headers": {"X-Content-Type-Options": "nosniff", "X-Brought-By": "deploy"}},
        r'\+\s*header \?X-Brought-By "deploy"',
        lambda host: Site(served(host), address("web1")).get("/login").headers.get("x-brought-by"),
        None,
        "deploy",
    ),
    "body": Kind(
        {"app_max_body_size": "20KB"},
        r"\+\s*max_size 20KB",
        lambda host: is_cut(Site(served(host), address("web1"))),
        False,
        True,
    ),
    "header by itself": Kind(
        {"app_headers": {"X-Frame-Options": "SAMEORIGIN"}},
        r'\+\s*header \?X-Frame-Options "SAMEORIGIN"',
        lambda host: asked(host, "/nothing-there").headers.get("x-frame-options"),
        "DENY",
        "SAMEORIGIN",
    ),
    "redirect": Kind(
        {"app_redirects": {"/moved": {"to": "/login", "status": 308}}},
        r'\+\s*redir /moved "/login" 308',
        lambda host: asked(host, "/moved").status_code,
        404,
        308,
    ),
    "lines for Caddy": Kind(
        {"app_caddy_extra": "header /login X-Extra yes"},
        r"\+header /login X-Extra yes",
        lambda host: asked(host, "/login").headers.get("x-extra"),
        None,
        "yes",
    ),
    "limit of a path": Kind(
        {"app_limits": {"/logout": {"max_body_size": "1KB"}}},
        r"\+\s*handle /logout \{",
        lambda host: asked(host, "/logout", bytes(2000)).status_code == 413,
        False,
        True,
    ),
    "extension": Kind(
        {"app_databases": [{"name": "linkboard", "extensions": ["pg_trgm"], "readers": ["games"]}]},
        "linkboard: extension pg_trgm",
        sql(EXTENSION),
        "0",
        "1",
    ),
    "reader": Kind(
        {},  # of the same database
        "games in linkboard_read",
        lambda host: (
            host.run(
                "cd / && runuser -u games -- psql -XAtqc 'select count(*) from links' linkboard"
            ).succeeded
        ),
        False,
        True,
    ),
    "restore checks": Kind(
        {"app_restore_checks": CHECKED},
        re.escape(CHECKED[1]),
        drilled,
        None,
        "2 checks of applications",
    ),
    "process": Kind(
        {"app_processes": [WORKER, HELPER]},
        r"processes\s+\+ helper",
        lambda host: (
            host.run(f"systemctl is-active linkboard.helper.{slot(host)}.service").succeeded
        ),
        False,
        True,
    ),
}
SETTINGS = {name: value for kind in KINDS.values() for name, value in kind.settings.items()}
LISTING = (
    "find /etc /srv /var/lib/linkboard -xdev -type f ! -path '/var/lib/linkboard/*' "
    "-printf '%p %m %u %g %s %T@\\n' | sort; systemctl list-units --all --plain --no-legend "
    "'linkboard*' | sort; cd / && runuser -u postgres -- psql -XAtqc 'select rolname, rolcanlogin, "
    "rolconnlimit from pg_roles order by 1' -c 'select datname from pg_database order by 1'"
)


def served(host: Host) -> str:
    """The name of the site, as the live slot knows it."""
    path = f"/srv/linkboard/slots/{slot(host)}/release.json"
    return json.loads(host.file(path).content_string)["domain"]


@dataclass
class Seen:
    """What the one plan and the one deploy left behind for the tests to look at."""

    plan: str
    planned_changes: set[str]
    before: dict[str, object]
    after: dict[str, object]


@pytest.fixture(scope="module")
def seen(host: Host, playbook) -> Seen:
    """All settings change in one deploy, and back in another one."""
    first = playbook("playbooks/deploy.yml")
    assert first.returncode == 0, first.stdout
    before = {name: kind.effect(host) for name, kind in KINDS.items() if kind.before is not None}
    there = host.check_output(LISTING)
    planned = playbook("playbooks/deploy.yml", "--check", "--diff", **SETTINGS)
    assert planned.returncode == 0, planned.stdout
    changes = {*there.splitlines()} ^ {*host.check_output(LISTING).splitlines()}
    done = playbook("playbooks/deploy.yml", **SETTINGS)
    try:
        assert done.returncode == 0, done.stdout
        wait_for("its certificate", lambda: answer(NEW)(host))
        after = {name: kind.effect(host) for name, kind in KINDS.items()}
    finally:
        back = playbook("playbooks/deploy.yml")
    assert back.returncode == 0, back.stdout
    wait_for("the site of before", lambda: answer(OLD)(host) == (200, None))
    return Seen(planned.stdout, changes, before, after)


@pytest.mark.parametrize("name", KINDS)
def test_a_deploy_brings_it_into_force(seen, name):
    kind = KINDS[name]
    assert seen.before.get(name) == kind.before
    assert seen.after[name] == kind.after


@pytest.mark.parametrize("name", KINDS)
def test_the_plan_shows_it(seen, name):
    assert re.search(KINDS[name].planned, seen.plan), seen.plan


def test_the_plan_changes_nothing(seen):
    assert seen.planned_changes == set()


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.before is not None])
def test_the_next_deploy_takes_it_back(host, seen, name):
    """All but an extension, on which an application's tables may rest."""
    expected = "1" if name == "extension" else KINDS[name].before
    assert KINDS[name].effect(host) == expected


def test_an_extension_goes_when_it_is_dropped(host, seen):
    sql("drop extension pg_trgm; drop role games")(host)
    assert sql(EXTENSION)(host) == "0"
