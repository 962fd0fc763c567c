"""The files of an application: in the backups by night, on the other host, back by the playbook.

It has applications of its own, which the restores of the databases know nothing of.
"""

import contextlib
import json
import shlex
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import scenario
from scenario import PROJECT, Playbooks
from testinfra.host import Host

HOME = "/srv/keeper"
REPOSITORY = "/var/lib/pgbackrest/files/keeper"
COPY = "/var/lib/pgbackrest/copies/files/web1/keeper"
DATABASE = f"{HOME}/shared/data/app.db"
INSERT = "insert into t values (1)"
Run = Callable[..., str]


# Keeper has a site, and mailer a worker alone.
BOTH: dict[str, Any] = {
    "app_source": str(PROJECT / "molecule/releases/probe"),
    "app_version": "working-tree",
    "app_drain_seconds": 5,
}
KEEPER: dict[str, Any] = {
    "app_name": "keeper",
    "app_domain": "keeper.test",
    "app_asgi": "probe:app",
    "app_health_path": "/readyz",
    "app_workers": 1,
    "app_start_timeout_seconds": 15,
    "app_certificates": "internal",
    "app_shared_directories": ["data", {"path": "media", "public": "/media"}],
}
MAILER: dict[str, Any] = {
    "app_name": "mailer",
    "app_web": False,
    "app_processes": [{"name": "worker", "command": "sleep infinity"}],
    "app_shared_directories": ["data"],
}


@contextlib.contextmanager
def deployed(playbook: Playbooks, folder: Path, settings: dict[str, Any]) -> Iterator[Run]:
    """Have an application on web1; what runs a playbook on it."""
    groups = {"app": ["web1"], "db": ["web1"]}
    inventory = scenario.described(folder, groups, BOTH | settings)

    call = partial(scenario.called, playbook, inventory)
    call("deploy")
    yield call
    call("remove", confirm=settings["app_name"])


@pytest.fixture(scope="module")
def run(playbook: Playbooks, tmp_path_factory: pytest.TempPathFactory, web1: Host) -> Iterator[Run]:
    """Run a playbook on an application that keeps files."""
    with deployed(playbook, tmp_path_factory.mktemp("keeper"), KEEPER) as call:
        yield call


def as_keeper(web1: Host, script: str) -> str:
    return web1.check_output(f"cd / && runuser -u keeper -- sh -c {shlex.quote(script)}")


def sql(web1: Host, statement: str) -> str:
    code = f"import sqlite3; c = sqlite3.connect({DATABASE!r}); "
    code += f"print(c.execute({statement!r}).fetchall()); c.commit()"
    return as_keeper(web1, f"python3 -c {shlex.quote(code)}").strip()


def test_the_timer_is_there(web1: Host) -> None:
    assert web1.service("pergola-backup-files.timer").is_enabled
    at = web1.check_output("systemctl show pergola-backup-files.timer -P TimersCalendar")
    assert "04:45:00" in at


def test_files_are_backed_up_by_the_unit(web1: Host, run: Run, result: Callable[..., Any]) -> None:
    as_keeper(
        web1, f"echo first >{HOME}/shared/media/a.txt; ln -s /etc/shadow {HOME}/shared/media/l"
    )
    sql(web1, "pragma journal_mode = wal")
    sql(web1, "create table t (n)")
    sql(web1, INSERT)
    web1.check_output("systemctl start pergola-backup@files.service")
    says = result("files")["says"]
    assert says.startswith("keeper: ")
    assert "1 of SQLite" in says
    assert REPOSITORY in says
    assert "own disk only" not in says
    for left in (f"/var/lib/pergola/files/keeper/{name}/*" for name in ("tree", "databases")):
        assert not web1.run(f"ls -A {left}").stdout, "nothing is left mounted or copied"


def test_only_root_reads_them_and_nothing_is_in_plain_text(web1: Host, run: Run) -> None:
    """And the daemon that gives them to the other host, which PostgreSQL's account is not."""
    for path in ("/var/lib/pgbackrest/files", REPOSITORY, f"{REPOSITORY}/data"):
        there = web1.file(path)
        assert (there.user, there.group, there.mode) == ("root", "pergola-files", 0o2750)
    assert web1.run(f"grep -rq first {REPOSITORY}/data").rc == 1
    assert web1.run("runuser -u postgres -- ls /var/lib/pgbackrest/files").rc


def test_links_are_not_followed(web1: Host, run: Run) -> None:
    """Links are kept as links, and nothing that they lead to is taken."""
    as_keeper(web1, f"ln -s /etc {HOME}/shared/media/way")
    web1.check_output("pergola-backup files")
    listed = web1.check_output("pergola-backup scratch --files=keeper").strip()
    assert web1.check_output("readlink %s", f"{listed}/media/way") == "/etc"
    assert web1.check_output("readlink %s", f"{listed}/media/l") == "/etc/shadow"
    web1.check_output("pergola-backup scratch --remove --files=keeper")
    assert not web1.file(listed).exists


def test_a_restore_and_the_way_back(web1: Host, run: Run) -> None:
    """While the application has its database open, and with visitors' files mounted for Caddy."""
    web1.check_output("pergola-backup files")
    as_keeper(web1, f"echo second >{HOME}/shared/media/a.txt")
    sql(web1, INSERT)
    plan = run("restore", "--check", what="files")
    assert f"from {REPOSITORY}" in plan
    assert "maintenance page" in plan
    assert "Nothing was changed" in run("restore", what="files", fails=True)
    run("restore", what="files", confirm="keeper")
    assert as_keeper(web1, f"cat {HOME}/shared/media/a.txt") == "first"
    assert sql(web1, "select count(*) from t") == "[(1,)]"
    served("first")
    run("restore", what="files", undo=True, confirm="keeper")
    assert as_keeper(web1, f"cat {HOME}/shared/media/a.txt") == "second"
    assert sql(web1, "select count(*) from t") == "[(2,)]"
    served("second")
    owners = web1.check_output(f"stat -c %U {HOME}/shared {HOME}/shared/data {HOME}/shared/media")
    assert owners.split() == ["root", "keeper", "keeper"]


def served(text: str) -> None:
    server = f"https://{scenario.address('web1')}"
    named: dict[str, Any] = {
        "headers": {"Host": "keeper.test"},
        "extensions": {"sni_hostname": "keeper.test"},
    }
    with httpx.Client(verify=False, trust_env=False, timeout=30) as client:
        assert client.get(f"{server}/media/a.txt", **named).text.strip() == text
        assert client.get(f"{server}/readyz", **named).status_code == 200


def test_one_without_a_site_is_restored_without_a_page(
    web1: Host, playbook: Playbooks, tmp_path: Path
) -> None:
    with deployed(playbook, tmp_path, MAILER) as mailer:
        file = "/srv/mailer/shared/data/queue"
        web1.check_output(f"echo first >{file}; pergola-backup files; echo second >{file}")
        before = web1.check_output("systemctl show -P MainPID mailer.worker.blue")
        mailer("restore", what="files", confirm="mailer")
        assert web1.file(file).content_string == "first\n"
        assert web1.service("mailer.worker.blue").is_running
        assert web1.check_output("systemctl show -P MainPID mailer.worker.blue") != before
        assert not web1.file("/srv/mailer/live/maintenance.html").exists


def test_the_drill_looks_at_them(web1: Host, run: Run, result: Callable[..., Any]) -> None:
    web1.check_output("pergola-backup drill")
    says = result("files-drill")["says"]
    assert says.startswith("keeper: ")
    assert says.endswith("all in order")


def test_the_other_host_fetches_them_by_its_own_timer(web1: Host, vault1: Host, run: Run) -> None:
    assert vault1.service("pergola-backup-files-copy.timer").is_enabled
    web1.check_output("pergola-backup files")
    assert copied(vault1)["ok"]
    assert names(vault1, COPY) == names(web1, REPOSITORY)
    assert "keeper of web1: " in copied(vault1)["says"]
    vault1.check_output("pergola-backup verify")


def test_what_is_not_what_its_name_says_is_refused(web1: Host, vault1: Host, run: Run) -> None:
    pack = f"{REPOSITORY}/data/00/{'00' * 32}"
    web1.check_output(f"install -D -g pergola-files -m 440 /etc/hostname {pack}")
    failed = copied(vault1)
    web1.check_output(f"rm {pack}")
    assert not failed["ok"]
    assert "is not what its name says" in failed["says"]
    assert not vault1.file(pack.replace(REPOSITORY, COPY)).exists
    assert copied(vault1)["ok"]


def test_the_server_can_only_read_its_copies(web1: Host, vault1: Host, run: Run) -> None:
    before = vault1.check_output(f"sha256sum {COPY}/config")
    put = "pgbackrest --stanza=web1 --repo=2 repo-put files/web1/keeper/config </etc/hostname"
    refused = web1.run(f"cd / && runuser -u postgres -- {put}")
    assert "Read-only file system" in refused.stdout + refused.stderr
    assert vault1.check_output(f"sha256sum {COPY}/config") == before


def test_what_the_server_deletes_stays_and_comes_back(web1: Host, vault1: Host, run: Run) -> None:
    """By a restore: no backup is begun in the place of the lost ones."""
    there = names(vault1, COPY)
    as_keeper(web1, f"echo last >{HOME}/shared/media/a.txt")
    web1.check_output(f"pergola-backup files && mv {REPOSITORY} /root/lost")
    failed = copied(vault1)
    assert not failed["ok"]
    assert "the server has nothing of it any more" in failed["says"]
    assert there <= names(vault1, COPY)
    plan = run("restore", "--check", what="files")
    assert "which comes back from vault1 first" in plan
    assert not web1.file(REPOSITORY).exists
    run("restore", what="files", confirm="keeper")
    assert names(web1, REPOSITORY) == names(vault1, COPY)
    web1.check_output("rm -r /root/lost; pergola-backup files; pergola-backup drill")
    assert copied(vault1)["ok"]


def copied(vault1: Host) -> dict[str, Any]:
    """What becomes of a copy that the unit makes now."""
    vault1.run("systemctl start pergola-backup@files-copy.service")
    result = vault1.file("/var/lib/pergola/results/files-copy.json")
    return json.loads(result.content_string)


def names(host: Host, directory: str) -> set[str]:
    """The files of a repository, without locks."""
    found = host.check_output(f"cd {directory} && find . -type f -not -path './locks/*'")
    return set(found.splitlines())


def test_what_belongs_to_the_databases_is_refused_for_files(run: Run) -> None:
    assert "files go back to a backup" in run("restore", what="files", xid="5", fails=True)
    assert "that is for -e what=files" in run("restore", app="keeper", fails=True)


def test_status_and_deploys_do_not_call_them_in_no_backup(web1: Host, run: Run) -> None:
    status = web1.check_output("pergola-status").splitlines()
    assert not [line for line in status if "in no backup" in line and f"{HOME}/shared" in line]
    assert "files on web1 that are in no backup" not in run("deploy")
    places = json.loads(web1.check_output("pergola-status --json"))["files"]["keeper"]["places"]
    assert places == ["/var/lib/keeper"]


def test_the_docs_have_these_commands() -> None:
    page = Path(PROJECT / "docs/backups.md").read_text()
    for words in ("-e what=files --check", "-e what=files -e undo=true"):
        assert words in page
