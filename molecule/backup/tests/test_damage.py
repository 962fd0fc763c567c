"""A damaged page of PostgreSQL's: told by its file's name, and the backups from before it stay."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from testinfra.host import Host

CONFIGURATION = "/etc/pgbackrest/pgbackrest.conf"
FLIP = (
    "import sys; f = open(sys.argv[1], 'r+b'); f.seek(2 * 8192 + 4000); b = f.read(1)[0]; "
    "f.seek(-1, 1); f.write(bytes([b ^ 1]))"
)
TABLE = "create table rotten as select n, repeat('x', 100) from generate_series(1, 2000) n"


@pytest.fixture(scope="module")
def no_retention(web1: Host) -> Iterator[None]:
    """Each good full backup removes all older ones from the repository here."""
    web1.check_output(f"cp -a {CONFIGURATION} /var/tmp/pgbackrest.conf")
    change = "s/^repo1-retention-full-type=.*/repo1-retention-full-type=count/; "
    change += "s/^repo1-retention-full=.*/repo1-retention-full=1/"
    web1.check_output("sed -i %s %s", change, CONFIGURATION)
    yield
    web1.check_output(f"mv /var/tmp/pgbackrest.conf {CONFIGURATION}")


@pytest.fixture(scope="module")
def rotten(
    web1: Host, postgres: Callable[..., str], pergola_backup: Callable[..., str], no_retention: None
) -> Iterator[str]:
    """One bit of a table's file is another one, and PostgreSQL has the page no more in memory."""
    pergola_backup("full")
    postgres(TABLE, "probe")
    postgres("checkpoint")
    file = postgres("select pg_relation_filepath('rotten')", "probe")
    data = postgres("show data_directory")
    web1.check_output("systemctl restart 'postgresql@*'")
    web1.check_output("python3 -c %s %s", FLIP, f"{data}/{file}")
    yield file
    postgres("drop table if exists rotten", "probe")


def backups(host: Host) -> list[dict[str, Any]]:
    known = json.loads(host.check_output("pergola-backup status"))["backups"]
    return [backup for backup in known if backup["repository"] == 1]


def state(host: Host, name: str) -> dict[str, Any]:
    host.run("systemctl start pergola-monitoring.service")
    checks = json.loads(host.run("pergola-status --json").stdout)["checks"]
    return next(check for check in checks if check["name"] == name)


def test_a_damaged_page_fails_the_backup_by_name_and_keeps_the_older_ones(
    rotten: str,
    web1: Host,
    postgres: Callable[..., str],
    result: Callable[[str], dict[str, Any]],
    pergola_backup: Callable[..., str],
):
    good = {backup["label"] for backup in backups(web1)}
    assert web1.run("systemctl start pergola-backup@full.service").rc != 0
    for job in ("backup", "verify"):
        if job == "verify":
            assert web1.run("systemctl start pergola-backup@verify.service").rc != 0
        assert f"{rotten} (table rotten of the database probe)" in result(job)["says"]
    assert good < {backup["label"] for backup in backups(web1)}
    assert "damaged" in state(web1, "repository /var/lib/pgbackrest")["says"]
    # A restore begins with the one from before.
    assert "the full backup" in (plan := pergola_backup("plan"))
    assert any(label in plan for label in good)

    query = "cd / && runuser -u postgres -- psql -d probe -c 'select count(*) from rotten'"
    assert "invalid page" in web1.run(query).stderr
    seen = state(web1, "pages")
    assert seen["state"] == "critical"
    assert "probe" in seen["says"]

    postgres("drop table rotten", "probe")
    postgres("checkpoint")  # the file goes
    web1.check_output("systemctl start pergola-backup@full.service")
    # None of the older ones is left, and nothing is told any more.
    assert len(backups(web1)) == 1
    web1.check_output("systemctl start pergola-backup@verify.service")
    assert state(web1, "pages")["state"] == "ok"
