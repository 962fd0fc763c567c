"""What a migration leaves for when the release serves: no limits, and nothing is taken back."""

import pytest
from pergola.errors import PergolaError
from pergola.release import facts, phases, rollback
from pergola.release.deploy import Deploy
from pergola.release.migrations import MigrationAfter
from pergola.release.migrator import Migrator
from pergola.release.releases import point
from release_made import having, live, lock_of, manifest, record, schema


@pytest.fixture
def serves(releases, monkeypatch):
    """A release b that serves, with something to run afterwards; what was run, and what fails."""
    manifest(releases, "b", commit="d", migrate_after_command="psql -f index.sql")
    live(releases, "b")
    point(releases.home / "slots/blue", releases.path("b"))
    monkeypatch.setattr(phases.Work, "is_live", lambda self: True)
    ran, fails = [], []

    def run(self, command):
        ran.append((self.unit, self.limited, command))
        if fails:
            raise PergolaError(fails.pop())

    monkeypatch.setattr(MigrationAfter, "run", run)
    return ran, fails


def deploy(releases, names, action="deploy"):
    held = lock_of(releases)
    with held.hold():
        try:
            return Deploy(releases, held, action, "b").run(names, None), held.read()
        except PergolaError as error:
            return error, held.read()


def test_it_runs_when_the_release_serves_and_the_lock_stays_until_then(releases, serves):
    _, held = deploy(releases, ["drain"])
    assert held.phase == "migrate_after", "nobody else migrates meanwhile"
    answer, held = deploy(releases, ["migrate_after"])
    assert held is None
    assert answer["changed"]
    assert serves[0] == [("notes-migration-after.service", False, "psql -f index.sql")]
    line = releases.ledger()[-1]
    assert (line.action, line.to, line.outcome) == ("migrate_after", "b", "done")
    assert "migrate_after" in line.seconds


def test_one_that_succeeded_does_not_run_again_before_the_next_deploy(releases, serves):
    for _ in range(2):
        answer, _ = deploy(releases, ["drain", "migrate_after"])
    assert not answer["changed"]
    assert len(serves[0]) == 1
    live(releases, "a")
    live(releases, "b", action="rollback")
    deploy(releases, ["migrate_after"])
    assert len(serves[0]) == 1, "a rollback is none"
    live(releases, "a")
    live(releases, "b")
    deploy(releases, ["migrate_after"])
    assert len(serves[0]) == 2


def test_one_that_fails_takes_nothing_back_is_in_the_ledger_and_runs_again(releases, serves):
    serves[1].append("it ended with 1")
    error, held = deploy(releases, ["drain", "migrate_after"])
    assert "the new release serves all the same" in error.evidence
    assert held is None
    assert releases.live() == "b"
    line = releases.ledger()[-1]
    assert (line.action, line.outcome, line.reason) == (
        "migrate_after", "failed", "it ended with 1"
    )  # fmt: skip
    deploy(releases, ["drain", "migrate_after"])
    assert [line.outcome for line in releases.ledger()][-2:] == ["failed", "done"]


def test_what_nobody_thought_of_is_no_success(releases, serves, monkeypatch):
    def run(self, command):
        raise OSError("no room")

    monkeypatch.setattr(MigrationAfter, "run", run)
    error, _ = deploy(releases, ["migrate_after"])
    assert "no room" in error.reason
    assert not releases.has_migrated_after("b")


@pytest.mark.parametrize(
    ("settings", "action"), [({"runs_schedules": False}, "deploy"), ({}, "rollback")]
)
def test_another_server_and_a_rollback_have_none(releases, serves, settings, action):
    having(releases, **settings)
    _, held = deploy(releases, ["drain"], action)
    assert held is None


def test_a_run_that_gives_up_meanwhile_takes_nothing_back(releases, serves):
    held = lock_of(releases)
    with held.hold():
        Deploy(releases, held, "deploy", "b").run(["drain"], None)
    again = lock_of(releases)
    with again.hold():
        assert not Deploy(releases, again, "deploy", "").abort("web2 is lost")
    assert again.read() is None
    assert releases.live() == "b"


def test_the_plan_knows_whether_it_would_run(releases, serves):
    assert facts.runs_after(releases, "b")
    deploy(releases, ["migrate_after"])
    assert not facts.runs_after(releases, "b")
    live(releases, "b")
    assert facts.runs_after(releases, "b")
    having(releases, runs_schedules=False)
    assert not facts.runs_after(releases, "b"), "another server runs it"


def test_it_is_outside_of_the_limits(releases):
    having(releases, migrate_limits={"lock_timeout": 5, "statement_timeout": 300})
    assert Migrator(releases).limits == {"lock_timeout": 5, "statement_timeout": 300}
    assert Migrator(releases, limited=False).limits == {"lock_timeout": 0, "statement_timeout": 0}


@pytest.mark.parametrize("compatible", [True, False])
def test_a_rollback_knows_whose_the_revision_is(releases, monkeypatch, compatible):
    """What b's own command did is no change since b, but one since a."""
    monkeypatch.setattr("pergola.release.database.Database.revision", lambda self: "3")
    monkeypatch.setattr(type(releases), "lost_python", lambda *_: "")
    for name in ("a", "b", "c"):
        manifest(releases, name)
    live(releases, "a", **schema("1", "1"))
    live(releases, "b", **schema("1", "2", backward_compatible=compatible))
    done = schema("2", "3", backward_compatible=compatible)
    record(releases, "migrate_after", "b", "done", **done)
    live(releases, "c", **schema("3", "3"))
    point(releases.home / "slots/blue", releases.path("c"))
    assert rollback.choose(releases, "b", force=False).id == "b"
    if compatible:
        assert rollback.choose(releases, "a", force=False).id == "a"
    else:
        with pytest.raises(PergolaError, match="the database is at revision 3, a was made for 1"):
            rollback.choose(releases, "a", force=False)
