"""An application runs with the Python that it asks for, and gets the distribution's packages.

uv's own builds cannot be fetched here: one is made of the server's own Python, with a version that
nobody else has, and uv is told its checksum by a list.
"""

import json
import shlex
import time

import pytest
import scenario
from conftest import PROJECT
from load import Request
from scenario import Server, Site, address, said

NAME = "snake.test"
PLACE = "/opt/pergola/python"
MIRROR = "/var/tmp/mirror"
PORT = 8099
PAGES = [Request("GET", "/"), Request("POST", "/echo", body=b"a body")]


@pytest.fixture(scope="module")
def build(web1):
    """A build on a mirror on the server's loopback: its version, and the list that has it."""
    made = (PROJECT / "tests/host/python_made.py").read_text()
    made += f"\nbuild = made(Path('{MIRROR}'), 'http://127.0.0.1:{PORT}')\n"
    made += "print(json.dumps([build.key, build.version, build.entry]))\n"
    key, version, entry = json.loads(web1.check_output(f"python3 -c {shlex.quote(made)}"))
    web1.check_output(
        f"systemd-run --quiet --unit=mirror python3 -m http.server {PORT} --bind 127.0.0.1 "
        f"--directory {MIRROR}"
    )
    other = version.rpartition(".")[0] + ".99"
    yield other, {key.replace(version, other): {**entry, "patch": 99}}
    web1.check_output(f"systemctl stop mirror; rm -r {MIRROR}")


@pytest.fixture(scope="module")
def run(build, probe, playbook, server, tmp_path_factory):
    """Run a playbook on the new application."""
    del server
    probe.reset()
    settings = {
        "app_name": "snake",
        "app_domain": NAME,
        "app_source": str(probe.path),
        "app_asgi": "probe:app",
        "app_health_path": "/readyz",
        "app_schema_query": "",
        "app_workers": 1,
        "app_drain_seconds": 5,
        "app_certificates": "internal",
        "app_python_mirror": "builds.json",
        "release_keep": 2,
    }
    groups = {"app": ["web1"], "db": ["web1"]}
    inventory = scenario.described(tmp_path_factory.mktemp("snake"), groups, settings)
    (inventory.parent / "builds.json").write_text(json.dumps(build[1]))

    def call(book, *arguments, fails=False, **more):
        done = playbook(f"playbooks/{book}.yml", *arguments, inventory=inventory, **more)
        assert (done.returncode != 0) == fails, done.stdout
        return said(done)

    return call


@pytest.fixture(scope="module")
def snake(web1):
    return Server(web1, "snake")


def runs_with(host):
    """The interpreter of the process that serves."""
    slot = Server(host, "snake").slot()
    main = host.check_output(f"systemctl show -P MainPID {slot}")
    return host.check_output(f"readlink /proc/{main}/exe")


def test_a_version_that_cannot_be_had_is_refused_before_the_first_change(run, web1):
    message = run("deploy", fails=True, app_python="3.6")
    assert "app_python 3.6 is no version" in message
    message = run("deploy", fails=True, app_python="3.10")
    assert "web1 has no Python that fits 3.10 (app_python)" in message
    assert "/usr/bin/python3" in message
    assert not web1.file("/srv/snake").exists


def test_a_source_that_cannot_be_reached_is_refused_before_the_first_change(run, build, web1):
    web1.check_output("systemctl kill --signal=STOP mirror")
    try:
        message = run("deploy", fails=True, app_python=build[0])
    finally:
        web1.check_output("systemctl kill --signal=CONT mirror")
    assert f"{build[0]} would be fetched, but the server does not reach it" in message
    assert "app_python_mirror" in message
    assert not web1.file("/srv/snake").exists


def test_a_change_of_python_is_a_release_and_goes_back_and_loses_no_request(
    run, build, probe, snake, web1, load
):
    run("deploy")
    own, first = runs_with(web1), snake.live()
    assert own.startswith("/usr/bin/python3")
    plan = run("deploy", "--check", "--diff", app_python=build[0])
    assert f"{build[0]}, which uv brings, for {build[0]} (app_python)" in plan
    assert not web1.file(PLACE).exists or not web1.file(PLACE).listdir()

    with load(NAME, requests=PAGES, rate=20) as running:
        time.sleep(2)
        run("deploy", app_python=build[0])
        brought, second = runs_with(web1), snake.live()
        run("rollback")
        back = runs_with(web1), snake.live()
        time.sleep(1)
        seen = running.end()

    (key,) = build[1]
    assert brought == f"{PLACE}/{key}/bin/{own.rpartition('/')[2]}"
    assert back == (own, first)
    assert second != first
    assert seen.failed == 0, seen.first_failures


def test_its_byte_code_is_there_and_the_application_cannot_write_its_python(run, build, web1):
    run("deploy", app_python=build[0])
    compiled = web1.check_output("ls /srv/snake/slots/live/venv/lib/*/site-packages/*/__pycache__")
    assert ".pyc" in compiled
    written = web1.run(f"find {PLACE} ! -type l \\( ! -user root -o -perm /022 \\) | grep .")
    assert written.rc == 1, written.stdout
    shell = f"touch {PLACE}/x 2>&1 || python -c 'import sys; print(sys.base_prefix)'"
    assert PLACE in run("run", cmd=shell)


def test_a_python_goes_with_the_last_release_that_has_it(run, probe, web1):
    for number in range(3):
        probe.commit("note", f"snake {number}", "Without it")
        run("deploy")
    assert web1.file(PLACE).listdir() == []


def test_a_file_of_the_repository_names_it_and_two_that_differ_are_told(run, build, probe, web1):
    probe.commit(".python-version", build[0], "Its Python")
    probe.commit("runtime.txt", "python-3.10.1\n", "Of another time")
    message = run("deploy")
    assert f"{build[0]} (.python-version:1) is taken, not python-3.10.1 (runtime.txt:1)" in message
    assert runs_with(web1).startswith(PLACE)
    # A commit that is built again with today's settings gets it as well.
    named = Server(web1, "snake").live()
    probe.reset()
    run("deploy")
    assert not runs_with(web1).startswith(PLACE)
    run("rollback", env="current", release=named)
    assert runs_with(web1).startswith(PLACE)


def test_packages_of_the_distribution_come_with_a_deploy(run, web1):
    message = run("deploy", fails=True, app_system_packages=["helo"])
    assert "this system has no package helo; it has hello" in message
    run("deploy", app_system_packages=["hello"])
    assert web1.package("hello").is_installed
    assert Site(NAME, address("web1")).get("/").status_code == 200


def test_removing_the_application_removes_its_python(run, web1):
    run("remove", confirm="snake")
    assert not web1.file("/srv/snake").exists
    assert web1.file(PLACE).listdir() == []
    assert web1.package("hello").is_installed  # another application may need it
