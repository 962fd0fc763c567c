"""A database of another server: asked and migrated as the release itself would, and no more."""

import pytest
from pergola.errors import PergolaError
from pergola.release import console, database, migrations
from pergola.release.database import UNKNOWN, Database
from pergola.release.deploy import Deploy
from pergola.release.migrations import Migration
from pergola.release.releases import point
from pergola.system import Done, TookTooLongError
from release_made import having, kept, live, lock_of, manifest

AWAY = {"database_elsewhere": True, "schema_query": "select 1", "connections": 60}


@pytest.fixture
def asked(releases, monkeypatch):
    """What is asked, by release; the answers are `says`, by a word of the question."""
    having(releases, **AWAY)
    found, says = [], {}

    def transient(_, release, command, *options, **__):
        assert command[0].endswith("psql")
        assert "--pipe" in options
        return [release]

    def attempt(release, stdin, timeout):
        found.append(release)
        for word, answer in says.items():
            if word in stdin:
                if isinstance(answer, Exception):
                    raise answer
                return Done((), *answer)
        return Done((), 0, "", "")

    monkeypatch.setattr(database, "transient", transient)
    monkeypatch.setattr(database, "attempt", attempt)
    return found, says


def test_it_is_asked_by_the_new_release_once_that_is_made_and_by_the_live_one_before(
    releases, asked
):
    found, says = asked
    says["select 1"] = (0, "7\n", "")
    assert Database(releases, "b").revision() == UNKNOWN, "nobody knows where it is"
    manifest(releases, "a")
    live(releases, "a")
    point(releases.home / "slots/blue", releases.path("a"))
    assert Database(releases, "b").revision() == "7"
    kept(releases, "b")
    assert Database(releases, "b").revision() == "7"
    assert Database(releases).revision() == "7"
    assert found == ["a", "b", "a"]


@pytest.mark.parametrize(
    ("answer", "revision"),
    [
        ((3, "", "no such table"), None),
        ((2, "", "cannot connect"), UNKNOWN),
        ((127, "", "no psql"), UNKNOWN),
        (TookTooLongError("psql"), UNKNOWN),
    ],
)
def test_a_database_that_does_not_answer_is_not_one_without_a_schema(
    releases, asked, answer, revision
):
    kept(releases, "b")
    asked[1]["select 1"] = answer
    assert Database(releases, "b").revision() == revision


def test_what_belongs_to_a_server_of_ones_own_is_left_alone(releases, asked):
    kept(releases, "b")
    assert Database(releases, "b").make_room() == 0
    assert asked[0] == []


@pytest.mark.parametrize(("room", "lacks"), [("97", 0), ("60", 0), ("20", 20), ("", 0)])
def test_too_few_connections_are_told_of(releases, asked, room, lacks):
    kept(releases, "b")
    asked[1]["max_connections"] = (0, room, "")
    assert Database(releases, "b").lacks_room_for() == lacks


def test_a_deploy_warns_of_them(releases, asked):
    manifest(releases, "b")
    asked[1]["max_connections"] = (0, "20", "")
    held = lock_of(releases)
    with held.hold():
        said = Deploy(releases, held, "deploy", "b").run(["migrate"], None)
    assert said["warnings"] == [
        "the database lets 20 connections in, and the application may open 60 "
        "(app_database_connections)"
    ]


@pytest.fixture
def migrates(releases, asked, monkeypatch):
    """A release's migration; what was run."""
    manifest(releases, "b", migrate_command="alembic upgrade head")
    ran = []
    monkeypatch.setattr(Migration, "stop", lambda self: None)
    monkeypatch.setattr(migrations, "Migrator", None)

    def execute(self, command, environment):
        ran.append((command, environment))
        return Done((), 0, "", "")

    monkeypatch.setattr(Migration, "execute", execute)
    return ran


def test_a_migration_runs_as_the_application_with_its_own_environment(releases, migrates):
    Migration(releases, "b").run("alembic upgrade head")
    assert migrates == [("alembic upgrade head", {})]


def test_an_index_that_was_never_finished_is_refused_there_too(releases, asked, migrates):
    asked[1]["pg_index"] = (0, "public.a\n", "")
    with pytest.raises(PergolaError, match=r"never finished: public\.a"):
        Migration(releases, "b").run("alembic upgrade head")
    assert migrates == []


def test_one_that_a_migration_leaves_is_told(releases, asked, migrates, monkeypatch):
    answers = iter([[], ["public.a"]])
    monkeypatch.setattr(migrations, "unfinished_indexes", lambda *_: next(answers))
    with pytest.raises(PergolaError, match="left something half-made") as told:
        Migration(releases, "b").run("alembic upgrade head")
    assert "drop index concurrently public.a" in told.value.evidence


def test_psql_goes_where_the_release_goes(releases, monkeypatch):
    typed = []
    monkeypatch.setattr(console, "at_console", lambda _, __, command: typed.append(command) or [])
    monkeypatch.setattr(console.subprocess, "run", lambda *_, **__: Done((), 0))
    live(releases, "a")
    point(releases.home / "slots/blue", releases.path("a"))
    with pytest.raises(PergolaError, match="no database of notes"):
        console.psql(releases, [])
    having(releases, **AWAY)
    console.psql(releases, ["-c", "select 1"])
    having(releases, database="dbname=notes", database_elsewhere=False)
    console.psql(releases, [])
    assert typed == [["psql", "-c", "select 1"], ["psql", "-d", "dbname=notes"]]


def test_nothing_is_asked_where_there_is_no_database_at_all(releases, monkeypatch):
    monkeypatch.setattr(database, "attempt", None)
    manifest(releases, "b", migrate_command="true")
    assert Database(releases, "b").revision() is None
    assert Database(releases, "b").lacks_room_for() == 0
    assert migrations.unfinished_indexes(releases, "b") == []


def test_a_failed_migration_says_what_to_do_as_the_gate_does(releases, monkeypatch):
    """Its settings are read there first, so a missing variable shows there first."""
    manifest(releases, "b", migrate_command="alembic upgrade head")
    one = Migration(releases, "b")
    said = "pydantic_core._pydantic_core.ValidationError: 1 validation error for Settings\n"
    said += "SECRET_KEY\n  Field required [type=missing, input_value={}, input_type=dict]\n"
    with pytest.raises(PergolaError, match="ended with 1") as refused:
        one.check_result("alembic upgrade head", Done((), 1, said, ""))
    assert refused.value.evidence.startswith("what to do: ")
    assert "SECRET_KEY" in refused.value.evidence.splitlines()[0]
    assert refused.value.hint == "do that, commit and deploy again"
    with pytest.raises(PergolaError) as refused:
        one.check_result("alembic upgrade head", Done((), 127, "sh: 1: alembic: not found\n", ""))
    assert "Setting: app_migrate_command: the release has no program alembic" in str(refused.value)
    with pytest.raises(PergolaError) as refused:
        one.check_result("alembic upgrade head", Done((), 1, "no such revision\n", ""))
    assert refused.value.evidence == "no such revision"
    assert refused.value.hint == "see above what it said; fix it, commit and deploy again"
