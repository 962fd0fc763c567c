"""Which release a rollback goes to, and when the database is not fit for it."""

import pytest
from pergola.errors import PergolaError
from pergola.release import rollback
from pergola.release.releases import point
from release_made import kept, live, record, schema


def test_rolling_back_without_an_earlier_good_release_is_refused(releases):
    live(releases, "a")
    (releases.home / "slots/blue").symlink_to(releases.path("a"))
    with pytest.raises(PergolaError, match="no earlier good release"):
        rollback.choose(releases, "", force=False)


def test_rolling_back_before_the_first_release_is_refused_as_that(releases):
    releases.app.have_nothing_live()
    kept(releases, "a")
    record(releases, "deploy", "a", "refused", phase="gate")
    with pytest.raises(PergolaError, match="no release yet"):
        rollback.choose(releases, "", force=False)


def test_an_unknown_release_is_refused_with_those_that_there_are(releases):
    kept(releases, "a", "b")
    with pytest.raises(PergolaError) as refused:
        rollback.choose(releases, "nonsense", force=False)
    assert "nonsense" in refused.value.reason
    assert "a, b" in refused.value.evidence


@pytest.fixture
def at(monkeypatch):
    """The revision that the database is at."""

    def be(revision):
        monkeypatch.setattr(rollback.Database, "revision", lambda self: revision)

    return be


@pytest.fixture
def two(releases):
    """Two releases, of which the second one brought another schema; and the second one live."""

    def deployed(**more):
        for name in "ab":
            kept(releases, name)
            (releases.path(name) / "release.json").write_text('{"commit": "c"}')
        live(releases, "a", **schema("1", "1"))
        live(releases, "b", **schema("1", "2", **more), from_="a")
        point(releases.home / "slots/blue", releases.path("b"))
        return releases

    return deployed


def test_a_rollback_on_the_same_schema_goes_to_the_last_good_release(two, at):
    at("1")
    assert rollback.choose(two(), "", force=False).id == "a"


def test_a_rollback_across_a_schema_is_refused_and_says_who_changed_it(two, at):
    at("2")
    with pytest.raises(PergolaError, match="at revision 2, a was made for 1") as refused:
        rollback.choose(two(), "", force=False)
    assert "migrated since by: b" in refused.value.evidence
    assert "force=true" in refused.value.hint


def test_a_rollback_across_a_schema_is_allowed_when_marked_or_forced(two, at):
    at("2")
    assert rollback.choose(two(backward_compatible=True), "", force=False).id == "a"
    assert rollback.choose(two(), "", force=True).id == "a"


def test_a_schema_that_somebody_else_changed_is_not_excused_by_a_mark(two, at):
    at("3")
    with pytest.raises(PergolaError, match="at revision 3"):
        rollback.choose(two(backward_compatible=True), "", force=False)


def test_a_rollback_to_a_release_whose_python_is_gone_is_refused_unless_it_is_built_again(
    two, at, tmp_path
):
    at("1")
    releases = two()
    venv = releases.path("a") / "venv"
    (venv / "lib/python3.11").mkdir(parents=True)
    (venv / "bin").mkdir()
    usual, own = tmp_path / "python3.13", tmp_path / "python3.11"
    usual.touch()
    # The release of the system before had another python3, or had removed the release's own.
    for interpreter in (usual, own):
        (venv / "bin/python").unlink(missing_ok=True)
        (venv / "bin/python").symlink_to(interpreter)
        with pytest.raises(PergolaError, match=r"a was made for Python 3\.11") as refused:
            rollback.choose(releases, "", force=False)
        assert "-e env=current -e release=a" in refused.value.hint
    assert rollback.choose(releases, "", force=False, rebuilt=True).id == "a"
    own.touch()
    assert rollback.choose(releases, "", force=False).id == "a"
