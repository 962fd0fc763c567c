"""Directories that stay: for all that runs of a release, across releases, and for visitors."""

import json
import shlex
from functools import partial

import pytest
import scenario
from scenario import Server, Site, address

NAME = "keeper.test"
SHARED = ["data", {"path": "media", "public": "/media"}]
WORKER = {"name": "worker", "command": "date >media/of-the-worker; exec sleep 600"}
TIMER = {"name": "timer", "command": "date >media/of-the-timer", "on_calendar": "yearly"}
MIGRATE = "python3 -c \"import sqlite3; c = sqlite3.connect('data/a.db'); "
MIGRATE += "c.execute('pragma journal_mode = wal'); c.execute('create table if not exists t (n)'); "
MIGRATE += "c.execute('insert into t values (1)'); c.commit()\""
COUNT = "python3 -c \"import sqlite3; print(sqlite3.connect('data/a.db')"
COUNT += ".execute('select count(*) from t').fetchone()[0])\""
HOME = "/srv/keeper"


@pytest.fixture(scope="module")
def run(probe, playbook, tmp_path_factory):
    """Run a playbook on an application that keeps files."""
    probe.reset()
    (probe.top / "media").mkdir()
    probe.commit("media/logo.txt", "of the repository", "A file of the repository's")
    settings = {
        "app_name": "keeper",
        "app_domain": NAME,
        "app_source": str(probe.path),
        "app_asgi": "probe:app",
        "app_health_path": "/readyz",
        "app_schema_query": "",
        "app_workers": 1,
        "app_drain_seconds": 5,
        "app_start_timeout_seconds": 15,
        "app_certificates": "internal",
        "app_shared_directories": SHARED,
        "app_migrate_command": MIGRATE,
        "app_processes": [WORKER],
        "app_schedules": [TIMER],
    }
    groups = {"app": ["web1"], "db": ["web1"]}
    inventory = scenario.described(tmp_path_factory.mktemp("keeper"), groups, settings)

    yield partial(scenario.called, playbook, inventory)
    probe.reset()


@pytest.fixture(scope="module")
def first(run):
    """What the first deploy said."""
    return run("deploy")


@pytest.fixture(scope="module")
def inside(first, web1):
    """What a command in the live release says."""
    del first
    return lambda command: web1.check_output(
        f"{HOME}/bin/release run sh -euc {shlex.quote(command)}"
    )


@pytest.fixture(scope="module")
def site(first, server):  # which brings what its certificate is trusted by
    del first
    return Site(NAME, address("web1"))


def test_the_repositorys_files_are_in_it_once(first, inside, probe, run, web1):
    assert f"{HOME}/shared/media was empty and has the 1 file of the repository now" in first
    inside("echo of the application >media/logo.txt")
    probe.commit("media/logo.txt", "of a later commit", "Another logo")
    assert "was empty" not in run("deploy")
    assert inside("cat media/logo.txt") == "of the application"
    assert web1.check_output(f"stat -c %U {HOME}/shared/media/logo.txt") == "keeper"


def test_what_was_written_is_there_after_a_rollback(inside, run):
    inside("echo kept >media/upload.txt")
    run("rollback")
    assert inside("cat media/upload.txt") == "kept"


def test_workers_schedules_and_migrations_write_there_too(inside, web1):
    web1.check_output("systemctl start keeper.timer.service")
    assert inside("ls media/of-the-worker media/of-the-timer")
    assert int(inside(COUNT)) >= 1, "SQLite in WAL mode"


def test_nothing_beside_them_can_be_written_and_nothing_in_them_executed(inside):
    assert inside("mkfifo media/pipe 2>/dev/null || echo refused") == "refused"
    for path in (".", "..", HOME, f"{HOME}/shared", f"{HOME}/public/media"):
        assert inside(f"touch {path}/x 2>/dev/null || echo refused") == "refused"
    script = "cp /usr/bin/true data/true; chmod 700 data/true; data/true 2>/dev/null || echo no"
    assert inside(script) == "no"


def test_uploads_wait_on_the_disk_in_a_directory_of_its_own(inside, web1):
    assert inside("echo $TMPDIR; ls -A $TMPDIR") == "/var/tmp"
    kind = "findmnt --noheadings --output FSTYPE --target"
    assert inside(f"{kind} $TMPDIR") == web1.check_output(f"{kind} /var/tmp") != "tmpfs"


def test_visitors_see_what_is_public_and_no_link_leads_them_out(inside, site, web1):
    inside("echo picture >media/a.png; echo '<script>' >media/a.html; echo x >data/a.png")
    assert site.get("/media/a.png").text == "picture\n"
    assert site.get("/media/a.png", headers={"Range": "bytes=0-2"}).text == "pic"
    page = site.get("/media/a.html")
    assert page.headers["Content-Disposition"] == "attachment"
    assert page.headers["Content-Type"] == "application/octet-stream"
    assert page.headers["Content-Security-Policy"].startswith("sandbox;")
    for target in ("/etc/caddy/Caddyfile", "/var/lib/caddy", f"{HOME}/shared/data/a.png", "a.png"):
        inside(f"ln -sfn {target} media/link.png")
        assert site.get("/media/link.png").status_code >= 400, target
    assert site.get("/data/a.png").status_code == 404, "the application has no such page"
    assert web1.run(f"runuser -u caddy -- cat {HOME}/shared/data/a.png").rc != 0
    assert web1.run(f"runuser -u nobody -- cat {HOME}/shared/media/a.png").rc != 0


def test_after_a_restart_visitors_see_them_again(site, web1):
    unit = web1.check_output("ls /etc/systemd/system | grep keeper-public")
    assert web1.run("systemctl is-enabled %s", unit).stdout.strip() == "enabled"
    web1.check_output("systemctl stop %s", unit)
    assert site.get("/media/a.png").status_code == 404
    web1.check_output("systemctl start %s", unit)
    assert site.get("/media/a.png").status_code == 200


def test_the_server_is_as_it_is_set(first, web1):
    del first
    looked = web1.run("pergola status --json").stdout
    assert f"{HOME}/shared" not in json.dumps(json.loads(looked).get("wrong", []))


def test_what_is_in_the_way_is_refused_before_the_first_change(run, first, web1):
    del first
    before = web1.check_output(f"ls -A {HOME}/shared {HOME}/releases")
    for shared, says in (
        (["probe.py"], "probe.py is a file or a link in the repository"),
        (["."], "one is empty, or the application's own directory"),
        (["media/sub", "media"], "media/sub is inside media"),
        (["media/sub"], "media/sub is inside media, which is one of keeper's directories already"),
    ):
        assert says in run("deploy", fails=True, app_shared_directories=shared)
    assert web1.check_output(f"ls -A {HOME}/shared {HOME}/releases") == before


def test_a_release_that_writes_into_itself_is_told_the_directory(run, first, probe):
    del first
    commit = probe.git("rev-parse", "HEAD")
    text = (probe.top / "probe.py").read_text()
    probe.commit("probe.py", f'{text}\nopen("uploads", "w")\n', "It writes to its release")
    told = run("deploy", fails=True)
    assert "app_shared_directories: [uploads] lets it" in told
    probe.reset(commit)


def test_taken_from_the_list_the_files_stay_and_visitors_see_nothing(run, first, site, web1):
    del first
    told = run("deploy", app_shared_directories=["data"], app_processes=[], app_schedules=[])
    assert f"{HOME}/shared/media on web1: no longer in app_shared_directories" in told
    assert web1.file(f"{HOME}/shared/media/a.png").exists
    assert site.get("/media/a.png").status_code == 404
    assert not web1.check_output("ls /etc/systemd/system | grep keeper-public || true")


def test_the_removal_leaves_the_files(run, first, web1):
    del first
    told = run("remove", confirm="keeper")
    assert "files of keeper's shared directories are in /var/backups/pergola/keeper-files-" in told
    assert web1.check_output("cat /var/backups/pergola/keeper-files-*/media/a.png") == "picture"
    assert not web1.file(HOME).exists
    assert "keeper" not in web1.check_output("cat /proc/mounts; ls /etc/systemd/system")
    assert Server(web1).status()["state"] == "active", "its neighbour goes on"
