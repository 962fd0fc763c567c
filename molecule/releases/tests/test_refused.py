"""A bad release gets no traffic: the old one serves on, and the message says what is needed."""

import re
import subprocess
import time
from types import SimpleNamespace

import pytest
from scenario import said

# The scenario's app_start_timeout_seconds, and what everything else may take on a slow machine.
START_LIMIT = 8
LIMIT = 90

PYPROJECT = """\
[project]
name = "probe"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = [{}]
"""


@pytest.fixture(scope="module")
def before(probe, server, deploy):
    """The good release that is live before anything bad comes, and after it."""
    probe.reset()
    deploy(probe.commit("note", "good", "A good release before bad ones"))
    status = server.status()
    return {"commit": probe.git("rev-parse", "HEAD"), **status}


@pytest.fixture(scope="module")
def traffic(before, load):
    """Requests that go on through all attempts of this file."""
    with load(rate=20) as running:
        yield running


@pytest.fixture
def attempt(traffic, before, server, probe, deploy):
    """Deploy a bad commit. Whatever is said of it, the release before must serve on."""

    def run(file, change, **more):
        path = probe.path / file
        changed = change(path.read_text() if path.exists() else "")
        probe.commit(file, changed, f"Break {file}")
        began = time.monotonic()
        done = deploy(fails=True, **more)
        print(done.stdout)
        return SimpleNamespace(said=said(done), took=time.monotonic() - began)

    probe.reset(before["commit"])
    yield run
    probe.reset(before["commit"])
    now = server.status()
    assert (now["live"], now["slot"], now["state"]) == (before["live"], before["slot"], "active")
    idle = {"blue": "green", "green": "blue"}[now["slot"]]
    for kind in ("socket", "service"):
        assert not server.host.service(f"probe@{idle}.{kind}").is_running


def refused(found, before, server, phase):
    """What every refusal says, and the ledger's line of it."""
    assert found.took < LIMIT
    assert "probe on web1: " in found.said
    assert f"phase: {phase} of release " in found.said
    assert f"live now: {before['live']} (A good release before bad ones) in slot" in found.said
    assert "next: " in found.said
    assert "ansible-playbook playbooks/releases.yml -i " in found.said
    line = server.ledger()[-1]
    assert (line["action"], line["outcome"], line["phase"]) == ("deploy", "refused", phase)
    assert line["from"] == before["live"]
    assert line["reason"] in found.said
    assert line["reason"]


def refused_by_the_gate(found, before, server):
    refused(found, before, server, "gate")
    assert "last health response: " in found.said
    idle = {"blue": "green", "green": "blue"}[before["slot"]]
    assert f"journal of probe@{idle}.service: " in found.said
    assert "sudo /srv/probe/bin/release show " in found.said


def test_an_import_error(attempt, before, server):
    found = attempt("probe.py", lambda text: f"import no_such_module\n{text}")
    refused_by_the_gate(found, before, server)
    assert "no answer to GET /readyz" in found.said
    assert "ModuleNotFoundError: No module named 'no_such_module'" in found.said


def test_a_port_that_no_setting_names(attempt, before, server):
    if "+BPF_FRAMEWORK" not in server.host.check_output("systemctl --version"):
        pytest.skip("this systemd was built without what SocketBindDeny= needs")
    listens = "import socket\n\nlistener = socket.create_server(('127.0.0.1', 8779))\n"
    found = attempt("probe.py", lambda text: listens + text)
    refused_by_the_gate(found, before, server)
    assert "PermissionError: [Errno 1] Operation not permitted" in found.said
    assert "what to do: Setting: app_listen_ports" in found.said
    assert "app_listen_ports: [8779] lets it" in found.said


def test_a_dependency_that_the_lock_does_not_have(attempt, before, server):
    found = attempt(
        "requirements.txt",
        lambda text: re.sub(r"^asyncpg==(.*\\\n)*.*\n", "", text, flags=re.MULTILINE),
        app_migrate_command="",  # it would be refused there already
    )
    refused_by_the_gate(found, before, server)
    assert "No module named 'asyncpg'" in found.said


def test_a_health_check_that_fails(attempt, before, server):
    found = attempt(
        "probe.py",
        lambda text: text.replace(
            '-> dict[str, str]:\n    return {"status": "ready", "release": RELEASE}',
            '-> Response:\n    return PlainTextResponse("the queue is not reachable", 500)',
        ),
    )
    refused_by_the_gate(found, before, server)
    assert "last health response: 500 the queue is not reachable" in found.said
    assert "Application startup complete." in found.said
    waited = int(re.search(r"did not become ready in (\d+) s", found.said)[1])
    assert START_LIMIT <= waited < LIMIT / 2


def test_a_lifespan_that_fails(attempt, before, server):
    """Every worker of it ends: nobody waits for the whole time limit."""
    limit = 60  # the scenario's own is about what a slow machine needs to start them
    found = attempt(
        "probe.py",
        lambda text: text.replace(
            "    app.state.pool = None\n",
            "    app.state.pool = None\n    open('uploads', 'w')\n",
        ),
        app_start_timeout_seconds=limit,
    )
    refused_by_the_gate(found, before, server)
    assert "Application startup failed. Exiting." in found.said
    assert "what to do: Setting: app_shared_directories: it writes to uploads, but" in found.said
    assert "app_shared_directories: [uploads] lets it" in found.said
    assert int(re.search(r"did not become ready in (\d+) s", found.said)[1]) < limit


def test_a_start_that_hangs(attempt, before, server):
    found = attempt(
        "probe.py",
        lambda text: text.replace(
            "    app.state.pool = None\n",
            "    app.state.pool = None\n"
            "    print('waiting for what never comes', flush=True)\n"
            "    await asyncio.sleep(3600)\n",
        ),
    )
    refused_by_the_gate(found, before, server)
    assert "last health response: no answer to GET /readyz: timed out" in found.said
    assert "waiting for what never comes" in found.said


def test_a_migration_that_fails(attempt, before, server):
    found = attempt(
        "migrate.py",
        lambda text: text.replace(
            "    print(",
            '        await connection.execute("create table half_done (id int)")\n'
            '        await connection.execute("select 1 from a_table_that_nobody_has")\n'
            "    print(",
        ),
    )
    refused(found, before, server, "migrate")
    assert 'relation "a_table_that_nobody_has" does not exist' in found.said
    assert "the migration `python migrate.py` of " in found.said
    assert "half_done" not in server.sql("select tablename from pg_tables")


def test_a_migration_that_does_not_end(attempt, before, server):
    found = attempt(
        "note",
        lambda _: "endless",
        app_migrate_command="echo this one goes on and on; sleep 600",
        app_migrate_timeout_seconds=3,
    )
    refused(found, before, server, "migrate")
    assert "did not end within its time limit" in found.said
    assert "this one goes on and on" in found.said


def test_a_command_for_static_files_that_fails(attempt, before, server):
    found = attempt("note", lambda _: "no files", app_static_command="echo no such files; exit 3")
    refused(found, before, server, "prepare")
    assert "could not run app_static_command: " in found.said
    assert "ended with 3" in found.said
    assert "no such files" in found.said


def test_a_build_on_the_control_node_that_fails(attempt):
    found = attempt("note", lambda _: "no build", app_build_command="echo nothing to build; exit 3")
    assert found.took < LIMIT
    assert "The build failed (exit 3)" in found.said
    assert "| nothing to build" in found.said
    assert "Setting: app_build_command" in found.said


def test_a_lock_file_that_is_out_of_date(attempt, probe):
    (probe.path / "pyproject.toml").write_text(PYPROJECT.format(""))
    lock = ["uv", "lock", "--quiet", "--offline"]
    subprocess.run(lock, cwd=probe.path, check=True)
    # The project moves on, and its lock stays behind.
    found = attempt("pyproject.toml", lambda _: PYPROJECT.format('"asyncpg"'))
    assert found.took < LIMIT
    assert "uv.lock is older than pyproject.toml: asyncpg is not in the lock" in found.said
    assert "run `uv lock`, and commit uv.lock" in found.said


def test_none_of_them_got_a_request(traffic, before):
    seen = traffic.end()
    assert seen.failed == 0, seen.first_failures
    assert set(seen.releases) == {before["live"]}
    assert seen.ok > 200
