"""A deploy's phases: what they tell each other, and what becomes of one that fails."""

import json
from dataclasses import replace

import pytest
from pergola import apps
from pergola.errors import PergolaError
from pergola.release import deploy, facts, phases, tables, undo
from pergola.release.build import Ordered
from pergola.release.deploy import Deploy
from pergola.release.releases import point
from pergola.release.report import report
from pergola.release.work import ORDER, Order
from pergola.status import applications
from release_made import having, kept, live, lock_of, manifest


@pytest.fixture
def does(monkeypatch):
    """Have phases do something else; the phases that were gone through."""
    done = []

    def instead(*names, what=lambda work: None):
        for name in names:

            def phase(work, name=name):
                done.append(name)
                what(work)

            monkeypatch.setitem(phases.PHASES, name, phase)
        return done

    return instead


@pytest.fixture
def told(monkeypatch):
    """What the slots and systemd are told, by name."""
    said = []
    for name in ("start", "stop", "switch", "retire"):

        def tell(self, colour, *_, name=name, **__):
            said.append(f"{name} {colour}")

        monkeypatch.setattr(deploy.Work, "database", None, raising=False)
        monkeypatch.setattr(phases.Work, "note_schema", lambda self: None)
        monkeypatch.setattr(f"pergola.release.slots.Slots.{name}", tell)
    return said


def test_a_release_that_fails_before_it_has_a_manifest_is_told_of_like_any_other(releases):
    live(releases, "a")
    manifest(releases, "a", commit="c")
    point(releases.home / "slots/blue", releases.path("a"))
    order = Order(replace(releases.settings, disk_free_mb=10**9), Ordered(commit="d"))
    (releases.home / "incoming/b.tar.gz").write_bytes(b"\0" * 24)
    held = lock_of(releases)
    work = Deploy(releases, held, "deploy", "b")
    with held.hold(), pytest.raises(PergolaError, match="this release needs"):
        work.run(["prepare"], order)
    line = releases.ledger()[-1]
    assert (line.to, line.commit, line.outcome) == ("b", "d", "refused")
    assert line.phase == work.phase == "prepare"
    assert held.read() is None


def test_what_nobody_thought_of_is_told_of_like_any_other_failure(releases):
    held = lock_of(releases)
    work = Deploy(releases, held, "deploy", "b")
    with held.hold(), pytest.raises(PergolaError, match="FileNotFoundError") as told:
        work.run(["prepare"], Order(releases.settings, Ordered(commit="d")))
    assert work.phase == "prepare"
    assert "in check_disk" in told.value.evidence
    assert held.read() is None


def test_what_each_phase_took_is_known_to_the_last_one(releases, does):
    """Also when each of them is a call of its own, as with several hosts."""
    does("prepare", "gate")
    for names in (["prepare"], ["gate"]):
        held = lock_of(releases)
        with held.hold():
            said = Deploy(releases, held, "deploy", "a").run(names, None)
    assert set(said["seconds"]) == {"prepare", "gate"}


@pytest.mark.parametrize("phase", ["switch", "bake", "drain"])
def test_a_phase_without_those_before_it_is_refused(releases, phase):
    """As after a restart of the server, which ends the lock and what the phases share."""
    live(releases, "a")
    point(releases.home / "slots/blue", releases.path("a"))
    held = lock_of(releases)
    work = Deploy(releases, held, "deploy", "b")
    with held.hold(), pytest.raises(PergolaError, match="the server restarted"):
        work.run([phase], None)
    assert work.phase == phase
    assert not (releases.home / "live/green").exists()


def test_the_answer_has_what_the_control_node_reads(releases, does):
    does("prepare", what=lambda work: work.warn("careful"))
    held = lock_of(releases)
    with held.hold():
        said = Deploy(releases, held, "deploy", "a").run(["prepare"], None)
    seconds = said.pop("seconds")
    assert list(seconds) == ["prepare"]
    assert said == {
        "changed": False, "live": None, "from": None, "schema": (None, None), "removed": [],
        "left_out": [], "warnings": ["careful"],
    }  # fmt: skip


def of_earlier_program(releases, phase):
    """What the program of an earlier Pergola left in /run between two calls of a deploy."""
    left = {
        "since": "2026-11-29 10:00:00 UTC", "seconds": {"prepare": 1.5, "gate": 2}, "phase": phase,
        "run": "node/1/1", "who": "ada@example.org", "what": "deploy of b", "until": 10**9,
        "unconnected_until": 10**9, "pid": 7, "connection": [], "from": "a", "action": "deploy",
        "release": "b", "schema": ["1", "1"], "colour": "green", "began": 5.5, "current": False,
        "left_out": ["code/fifo"],
    }  # fmt: skip
    (releases.app.run_dir / "deploy.json").write_text(json.dumps(left))
    for name in "ab":
        manifest(releases, name, commit="c")
    live(releases, "a")
    (releases.home / "live/green").touch()
    point(releases.home / "slots/green", releases.path("a"))
    point(releases.home / "slots/blue", releases.path("b"))


def test_a_deploy_that_an_earlier_program_began_is_finished(releases, does):
    of_earlier_program(releases, "gate")
    seen = []
    does("switch", what=lambda work: seen.append((work.old, work.old_colour, work.new_colour)))
    held = lock_of(releases)
    with held.hold():
        said = Deploy(releases, held, "deploy", "b").run(["switch"], None)
    assert seen == [("a", "green", "blue")]
    assert (said["from"], said["schema"], said["left_out"]) == ("a", ("1", "1"), ["code/fifo"])
    assert said["seconds"].keys() == {"prepare", "gate", "switch"}


def test_a_deploy_that_an_earlier_program_began_is_put_back(releases, told):
    of_earlier_program(releases, "gate")
    held = lock_of(releases)
    with held.hold():
        assert Deploy(releases, held, "deploy", "").abort("web2 is lost")
    assert told == ["stop blue"]
    line = releases.ledger()[-1]
    assert (line.to, line.outcome, line.phase, line.reason) == (
        "b", "refused", "other host", "web2 is lost"
    )  # fmt: skip
    assert held.read() is None


def test_a_deploy_that_let_go_of_the_old_release_is_completed(releases, does):
    of_earlier_program(releases, "drain")
    done = does("drain")
    held = lock_of(releases)
    with held.hold():
        assert not Deploy(releases, held, "deploy", "").abort("web2 is lost")
    assert done == ["drain"]


def test_a_deploy_of_which_nothing_is_known_any_more_needs_nothing_put_back(releases):
    held = lock_of(releases)
    with held.hold():
        assert not Deploy(releases, held, "deploy", "").abort("web2 is lost")
    assert held.read() is None


def refuse(work):
    """What the gate does with a release that does not become ready."""
    point(work.releases.home / "slots" / work.new_colour, work.releases.path(work.release))
    raise PergolaError("b did not become ready in 8 s")


def first(releases, does, gate, name="b"):
    """The first deploy of all, to its gate."""
    manifest(releases, name, commit="d")
    does("gate", what=gate)
    held = lock_of(releases)
    with held.hold():
        return Deploy(releases, held, "deploy", name).run(["gate"], None)


@pytest.mark.usefixtures("told")
def test_a_first_release_that_is_refused_leaves_nothing_that_is_called_live(
    releases, does, monkeypatch
):
    monkeypatch.setattr(facts, "show", lambda *_: "inactive")
    for _ in range(2):  # the next attempt, which finds what the first one left, is the first again
        with pytest.raises(PergolaError) as refused:
            first(releases, does, refuse)
        assert "live now: no release yet" in report(releases, refused.value, "gate", "b")
        assert releases.live() is None
        assert not releases.app.is_live()
        assert apps.live() == []
        status = facts.status(releases)
        assert (status["live"], status["slot"], status["good"]) == (None, None, [])
        assert facts.for_plan(releases) == {"changed": False, "live": None}
        table = tables.releases(releases)
        assert "live: no release yet: none of notes was ever live on this host" in table
        assert table.endswith("good: none")
    assert [(line.action, line.outcome) for line in releases.ledger()] == [
        ("deploy", "refused")
    ] * 2
    assert applications.live(releases.app).release is None


@pytest.mark.usefixtures("told")
def test_a_first_release_whose_gate_died_is_not_called_live(releases, does):
    """As after a power loss: nothing puts anything back."""

    def die(work):
        with pytest.raises(PergolaError):
            refuse(work)
        raise SystemExit

    with pytest.raises(SystemExit):
        first(releases, does, die)
    assert releases.live() is None


def test_until_the_first_release_is_live_visitors_are_told_so(releases, does, monkeypatch):
    page = releases.home / "live" / apps.NOTHING
    seen = []
    first(releases, does, lambda work: seen.append((page.exists(), work.new_colour)))
    assert seen == [(True, "blue")]
    point(releases.home / "slots/blue", releases.path("b"))
    releases.flip("blue")
    assert not page.exists()
    assert releases.live() == "b"
    releases.app.have_nothing_live()  # as each later deploy does
    assert (page.exists(), releases.live()) == (False, "b")


@pytest.mark.parametrize(("enabled", "live_now"), [(False, None), (True, "b")])
def test_what_an_earlier_pergola_left_of_a_refused_first_release_is_not_live(
    releases, does, monkeypatch, enabled, live_now
):
    """A release that was switched to has its units enabled, also when its run died right then."""
    monkeypatch.setattr(deploy, "is_enabled", lambda unit: enabled)
    monkeypatch.setattr(deploy, "keep_assets", lambda *_: None)
    manifest(releases, "b", commit="d")
    point(releases.home / "slots/blue", releases.path("b"))
    seen = []
    first(releases, does, lambda work: seen.append(work.old), "c")
    assert seen == [live_now]
    assert [line.action for line in releases.ledger()] == (["found"] if enabled else [])


def test_another_release_of_the_same_run_starts_from_the_beginning(releases, does):
    of_earlier_program(releases, "gate")
    does("gate", what=lambda work: kept(releases, "seen" if work.progress.seconds == {} else "no"))
    held = lock_of(releases)
    with held.hold():
        said = Deploy(releases, held, "deploy", "c").run(["gate"], None)
    assert (said["from"], releases.is_ready("seen")) == ("a", True)


def test_a_failure_after_the_switch_goes_back(releases, does, told, monkeypatch):
    """Also when a process of the release before does not start again."""
    of_earlier_program(releases, "gate")
    (releases.path("a") / "assets").mkdir()

    def fail(*_):
        raise PergolaError("the worker did not stay up")

    def switched(work):
        work.progress.switched, work.progress.migrated = True, True
        work.progress.schema = ("1", "2")
        raise PergolaError("5 of 9 answers were errors", "the last of them: 500 GET /")

    for name in ("install", "start_timers", "stop"):
        monkeypatch.setattr(f"pergola.release.units.Units.{name}", lambda *_, **__: None)
    monkeypatch.setattr("pergola.release.units.Units.start", fail)
    does("bake", what=switched)
    held = lock_of(releases)
    with held.hold(), pytest.raises(PergolaError) as failed:
        Deploy(releases, held, "deploy", "b").run(["bake"], None)
    assert told == ["switch green", "retire blue"]
    assert failed.value.evidence.splitlines() == [
        "the last of them: 500 GET /",
        "AND OF THE RELEASE THAT SERVES AGAIN the worker did not stay up",
        "THE DATABASE IS NOW AT REVISION 2 (it was at 1): the migration was run and is not undone; "
        "a serves on it",
    ]
    assert (releases.ledger()[-1].outcome, releases.ledger()[-1].phase) == ("returned", "bake")


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (("1", "1"), "the database is at revision 1, as before"),
        (("1", "unknown"), "could not be asked"),
        ((None, None), "no app_schema_query tells what it left"),
    ],
)
def test_a_failure_says_where_the_database_is(releases, schema, says):
    of_earlier_program(releases, "migrate")
    held = lock_of(releases)
    with held.hold():
        work = Deploy(releases, held, "deploy", "b").begin("gate", None)
    assert undo.told_about_schema(work) == ""
    work.progress.migrated, work.progress.schema = True, schema
    assert says in undo.told_about_schema(work)


def test_settings_are_kept_when_they_differ(releases):
    same = releases.settings
    assert not releases.keep_settings(replace(same, database="", access_log=""))
    assert releases.keep_settings(replace(same, keep=9))
    assert releases.app.settings.keep == 9
    assert (releases.home / "settings.json").stat().st_mode & 0o777 == 0o600


def test_a_setting_that_somebody_has_set_to_nothing_is_as_if_it_were_not():
    text = (
        '{"settings": {"keep": 3, "backup_command": null}, "manifest": {"migrate_command": null}}'
    )
    order = ORDER.parse(text, "x")
    assert (order.settings.keep, order.settings.backup_command) == (3, "")
    assert order.manifest.migrate_command == ""


@pytest.mark.parametrize(
    ("options", "workers"), [([], 2), (["--limit-max-requests=1000"], 0), (["--factory"], 2)]
)
def test_workers_that_end_as_a_matter_of_course_are_not_counted(
    releases, monkeypatch, options, workers
):
    of_earlier_program(releases, "switch")
    manifest(releases, "b", workers=2, uvicorn_options=options)
    having(releases, bake_seconds=1)
    seen = []

    def bake(*arguments, since):
        assert since is None, "an earlier program did not note it"
        seen.append(arguments[-1])
        return type("Bake", (), {"watch": lambda self: {"answers": 1, "errors": 0}})()

    monkeypatch.setattr(phases, "Bake", bake)
    held = lock_of(releases)
    with held.hold():
        said = Deploy(releases, held, "deploy", "b").run(["bake"], None)
    assert seen == [workers]
    assert "Caddy's file of this site is of an earlier Pergola" in said["warnings"][0]
