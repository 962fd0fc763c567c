"""The files of an application: in the backups by night, back by the playbook, and back again.

It has applications of its own, which the restores of the databases know nothing of.
"""

import contextlib
import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import scenario
from scenario import PROJECT, Playbooks, said
from testinfra.host import Host

HOME = "/srv/keeper"
REPOSITORY = "/var/lib/pgbackrest/files/keeper"
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

    def call(book: str, *arguments: str, fails: bool = False, **more: object) -> str:
        done = playbook(f"playbooks/{book}.yml", *arguments, inventory=inventory, **more)
        assert (done.returncode != 0) == fails, done.stdout
        return said(done)

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
    assert "not by group backup" in says
    for left in (f"/var/lib/pergola/files/keeper/{name}/*" for name in ("tree", "databases")):
        assert not web1.run(f"ls -A {left}").stdout, "nothing is left mounted or copied"


def test_only_root_reads_them_and_nothing_is_in_plain_text(web1: Host, run: Run) -> None:
    assert web1.file(REPOSITORY).user == "root"
    assert web1.file("/var/lib/pgbackrest/files").mode == 0o700
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
    served(web1, "first")
    run("restore", what="files", undo=True, confirm="keeper")
    assert as_keeper(web1, f"cat {HOME}/shared/media/a.txt") == "second"
    assert sql(web1, "select count(*) from t") == "[(2,)]"
    served(web1, "second")
    owners = web1.check_output(f"stat -c %U {HOME}/shared {HOME}/shared/data {HOME}/shared/media")
    assert owners.split() == ["root", "keeper", "keeper"]


def served(web1: Host, text: str) -> None:
    ask = "curl -sk --resolve keeper.test:443:127.0.0.1 https://keeper.test"
    assert web1.check_output(f"{ask}/media/a.txt") == text
    assert web1.check_output(f"{ask}/readyz -o /dev/null -w %{{http_code}}") == "200"


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


def test_what_belongs_to_the_databases_is_refused_for_files(run: Run) -> None:
    assert "files go back to a backup" in run("restore", what="files", xid="5", fails=True)
    assert "that is for -e what=files" in run("restore", app="keeper", fails=True)


def test_status_and_deploys_do_not_call_them_in_no_backup(web1: Host, run: Run) -> None:
    assert f"{HOME}/shared" not in web1.check_output("pergola-status")
    assert "files on web1 that are in no backup" not in run("deploy")
    places = json.loads(web1.check_output("pergola-status --json"))["files"]["keeper"]["places"]
    assert places == ["/var/lib/keeper"]


def test_the_docs_have_these_commands() -> None:
    page = Path(PROJECT / "docs/backups.md").read_text()
    for words in ("-e what=files --check", "-e what=files -e undo=true"):
        assert words in page
