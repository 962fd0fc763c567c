"""A broken release gets no traffic: the old one serves on, and the message says what is needed."""

import json
import re
import time

import pytest

testinfra_hosts = ["ansible://web1"]

DEPLOY = "playbooks/deploy.yml"
HOME = "/srv/linkboard"
SOURCE = "src/linkboard"
START_LIMIT = 5

BROKEN_MIGRATION = '''"""Breaks on purpose."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("create table half_done (id int)")
    op.execute("select 1 from a_table_that_nobody_has")


def downgrade() -> None:
    op.execute("drop table half_done")
'''


def status(host):
    return json.loads(host.check_output(f"{HOME}/bin/release status"))


class Attempt:
    """One deploy that must be refused."""

    def __init__(self, playbook, source, **more):
        began = time.monotonic()
        done = playbook(DEPLOY, "--tags=release", app_source=str(source), **more)
        self.seconds = time.monotonic() - began
        print(done.stdout)
        self.code, self.output = done.returncode, done.stdout
        # One line, as Ansible may fold and indent the message.
        self.said = re.sub(r"\s+", " ", done.stdout)


@pytest.fixture(scope="module")
def before(host, site, playbook, application):
    """What is live before anything broken comes, and is so again at the end of this file."""
    application.reset()
    done = playbook(DEPLOY, app_source=str(application.path))
    assert done.returncode == 0, done.stdout
    # What hangs must not do so for long here; nothing is started again by this.
    done = playbook(DEPLOY, "--tags=app", app_start_timeout_seconds=START_LIMIT)
    assert done.returncode == 0, done.stdout
    yield status(host)
    application.reset()
    done = playbook(DEPLOY, app_source=str(application.path))
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def traffic(before, load):
    """Requests that run through all attempts of this file."""
    with load(rate=20) as end:
        yield end


@pytest.fixture
def attempt(host, traffic, before, playbook, application):
    """Change a file of linkboard, commit, deploy; whatever the outcome, the old one stays live."""

    def run(file=None, change=None, **more):
        if file:
            path = application.path / "sample_app" / file
            text = path.read_text() if path.exists() else ""
            changed = change(text)
            assert changed != text, f"{file} is not what this test expects"
            application.commit(file, changed, f"Break {file}")
        found = Attempt(playbook, application.path, **more)
        assert found.code != 0, found.output
        return found

    application.reset()
    yield run
    application.reset()
    now = status(host)
    assert (now["live"], now["slot"], now["state"]) == (before["live"], before["slot"], "active")
    idle = {"blue": "green", "green": "blue"}[now["slot"]]
    for kind in ("socket", "service"):
        assert not host.service(f"linkboard@{idle}.{kind}").is_running


def told(found, before, phase):
    """What every refusal says: the phase, the host, and what is live now."""
    assert f"phase: {phase}" in found.said
    assert "linkboard on web1: " in found.said
    assert f"live now: {before['live']}" in found.said
    assert f"in slot {before['slot']}, active" in found.said
    assert "Traceback (most recent call last)" not in found.output.split("journal of")[0]


def test_an_import_error(host, before, attempt):
    # The list of packages does not hold what the code imports: out of date, in one word.
    found = attempt(
        "requirements.txt",
        lambda text: re.sub(r"^python-multipart==(.*\\\n)*.*\n", "", text, flags=re.MULTILINE),
    )
    told(found, before, "gate")
    assert "last health response: " in found.said
    assert "journal of linkboard@" in found.said
    assert "python-multipart" in found.said
    assert found.seconds < 30
    last = status(host)["ledger"][-1]
    assert (last["action"], last["outcome"]) == ("deploy", "refused")
    assert last["who"]


def test_a_health_check_that_fails(before, attempt):
    found = attempt(
        f"{SOURCE}/routes.py",
        lambda text: text.replace(
            'state = request.app.state\n    body = {"status"',
            'return JSONResponse({"why": "broken on purpose"}, 500)\n    body = {"status"',
        ),
    )
    told(found, before, "gate")
    assert re.search(rf"did not become ready in ({START_LIMIT}|{START_LIMIT + 1}) s", found.said)
    assert 'last health response: 500 {"why":"broken on purpose"}' in found.said
    assert "Uvicorn running on" in found.said, "the journal of the refused instance is missing"
    assert found.seconds < START_LIMIT + 25


def test_a_start_that_hangs(before, attempt):
    found = attempt(
        f"{SOURCE}/main.py",
        lambda text: text.replace(
            "    settings: Settings = app.state.settings\n    app.state.engine",
            "    logger.error('this start hangs on purpose')\n"
            "    await __import__('asyncio').sleep(3600)\n"
            "    settings: Settings = app.state.settings\n    app.state.engine",
        ),
    )
    told(found, before, "gate")
    assert "no answer to GET /readyz" in found.said
    assert "this start hangs on purpose" in found.said
    assert found.seconds < START_LIMIT + 25


def test_a_migration_that_fails(host, before, attempt):
    found = attempt(f"{SOURCE}/migrations/versions/0003_broken.py", lambda text: BROKEN_MIGRATION)
    told(found, before, "migrate")
    assert "a_table_that_nobody_has" in found.said
    assert "next: see above what the database was left with" in found.said
    assert found.seconds < 30
    tables = host.check_output("runuser -u linkboard -- psql -Atc '\\dt' linkboard")
    assert "half_done" not in tables, "a part of the failed migration was left in the database"
    assert status(host)["ledger"][-1]["action"] == "migrate"


def test_a_migration_that_does_not_end(before, attempt):
    found = attempt(
        app_migrate_command="echo this one goes on and on; sleep 600", app_migrate_timeout_seconds=3
    )
    told(found, before, "migrate")
    assert "did not end within its time limit" in found.said
    assert "this one goes on and on" in found.said
    assert found.seconds < 33


def test_a_command_for_static_files_that_fails(before, attempt):
    found = attempt(app_static_command="linkboard no-such-command")
    told(found, before, "prepare")
    assert "could not run app_static_command" in found.said
    assert "No such command 'no-such-command'" in found.said
    assert found.seconds < 30


def test_a_build_that_fails_on_the_control_node(before, attempt):
    found = attempt(app_build_command="echo nothing to build; exit 3")
    assert "The build failed (exit 3)" in found.said
    assert "| nothing to build" in found.said
    assert "Setting: app_build_command" in found.said
    assert found.seconds < 20


def test_none_of_them_got_a_request(before, traffic, capsys):
    seen = traffic()
    with capsys.disabled():
        print(f"\n{seen.ok + seen.failed} requests beside broken releases, {seen.failed} failed")
    assert seen.failed == 0, seen.first_failures
    assert set(seen.releases) == {before["live"]}
    assert seen.ok > 200
