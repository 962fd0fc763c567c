"""What earlier versions of Pergola left on a host: read as far as it goes, refused when newer."""

import json
from types import SimpleNamespace

import pytest
from pergola import apps
from pergola.errors import PergolaError
from pergola.release import releases as of_releases
from pergola.release import rollback, tables, takeover
from pergola.release.releases import Releases, point
from pergola.release.takeover import keep_assets
from release_made import lock_of, record

# As commit a8c6ce6 wrote them.
FIRST_FORM = [
    {"time": "2026-11-23T04:00:00+00:00", "action": "prepare", "release": "r0",
     "outcome": "failed", "who": "ada@example.org", "seconds": {}, "reason": "no room"},
    {"time": "2026-11-23T04:57:20+00:00", "action": "migrate", "release": "r1",
     "outcome": "migrated", "who": "ada@example.org", "seconds": {"migrate": 0.39}},
    {"time": "2026-11-23T04:57:23+00:00", "action": "deploy", "release": "r1", "outcome": "live",
     "who": "ada@example.org", "seconds": {"gate": 1.6, "switch": 0.5}, "from": None},
]  # fmt: skip
FIRST_SETTINGS = {
    "build_user": "notes-build", "disk_free_mb": 500, "keep": 5, "migrate_timeout_seconds": 600,
    "prepare_timeout_seconds": 600, "python": "/usr/bin/python3", "user": "notes",
    "uv": "/usr/local/bin/uv",
}  # fmt: skip


@pytest.fixture
def old(tmp_path, monkeypatch):
    """The releases of a host that the first form was written on."""
    home = tmp_path / "notes"
    for name in ("releases/r1", "incoming", "slots", "live", "assets/fonts"):
        (home / name).mkdir(parents=True)
    (home / "settings.json").write_text(json.dumps(FIRST_SETTINGS))
    (home / "releases/r1/release.json").write_text(json.dumps({"id": "r1", "commit": "c1"}))
    (home / "releases/r1/ready").touch()
    (home / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in FIRST_FORM))
    (home / "slots/blue").symlink_to(home / "releases/r1")
    monkeypatch.setattr(of_releases, "show", lambda *_: "active")
    monkeypatch.setattr(apps, "RUN", tmp_path / "run")
    monkeypatch.setattr(apps.postgres, "CONFIGURATIONS", tmp_path)
    return Releases(apps.App(home), who="grace@example.org")


def at(monkeypatch, revision):
    monkeypatch.setattr(rollback, "Database", lambda _: SimpleNamespace(revision=lambda: revision))


def then(releases, name, **more):
    """Have a release of today go live."""
    (releases.home / "releases" / name).mkdir()
    (releases.home / "releases" / name / "ready").touch()
    record(releases, "deploy", name, "live", from_=releases.good()[0], **more)
    point(releases.home / "slots/blue", releases.path(name))


def test_the_releases_of_an_earlier_pergola_are_listed(old):
    assert old.good() == ["r1"]
    assert [line.to for line in old.ledger()] == ["r0", "r1", "r1"]
    table = tables.releases(old)
    assert "refused in prepare: no room" in table
    assert "live: r1" in table


def test_settings_of_an_earlier_pergola_have_what_is_read_from_them(old):
    assert old.settings.keep == 5
    assert old.settings.database == "dbname=notes"
    with lock_of(old).hold():
        assert lock_of(old).read().who == "grace@example.org"


def test_a_rollback_goes_to_a_release_whose_schema_the_next_line_tells(old, monkeypatch):
    then(old, "r2", schema=("1", "1"))
    at(monkeypatch, "1")
    assert rollback.choose(old, "", force=False).id == "r1"
    at(monkeypatch, "2")
    with pytest.raises(PergolaError, match="is at revision 2, r1 was made for 1"):
        rollback.choose(old, "", force=False)


def test_a_rollback_across_a_migration_that_nobody_noted_is_refused(old, monkeypatch):
    lines = [{**line, "release": "r2"} for line in FIRST_FORM[1:]]
    with (old.home / "ledger.jsonl").open("a") as ledger:
        ledger.writelines(json.dumps(line) + "\n" for line in lines)
    then(old, "r3", schema=("2", "2"))
    at(monkeypatch, "2")
    with pytest.raises(PergolaError, match="an earlier Pergola did not note"):
        rollback.choose(old, "r1", force=False)
    assert rollback.choose(old, "r1", force=True).id == "r1"


def test_static_files_that_an_earlier_pergola_published_go_with_their_release(old):
    (old.home / "assets/fonts/a.woff2").write_text("font")
    (old.home / "assets/leads-away").symlink_to("/etc/passwd")
    manifest = {"id": "r1", "commit": "c1", "static_dir": "static"}
    (old.home / "releases/r1/release.json").write_text(json.dumps(manifest))
    keep_assets(old, "r1")
    old.prune_assets()
    assert (old.home / "assets/fonts/a.woff2").read_text() == "font"
    assert not (old.home / "releases/r1/assets/leads-away").is_symlink()


@pytest.mark.parametrize("file", ["settings.json", "ledger.jsonl", "releases/r1/release.json"])
def test_what_a_newer_pergola_wrote_is_refused_by_name(old, file):
    path = old.home / file
    found = json.loads(path.read_text().splitlines()[-1])
    path.write_text(json.dumps({**found, "format": 2}) + "\n")
    with pytest.raises(PergolaError, match=f"{file} was made by a newer Pergola") as seen:
        print(old.settings, old.ledger(), old.manifest("r1"))
    assert "git pull" in seen.value.hint


def test_what_is_written_now_carries_its_format(old):
    record(old, "deploy", "r1", "live")
    assert json.loads((old.home / "ledger.jsonl").read_text().splitlines()[-1])["format"] == 1


# -- its program -----------------------------------------------------------------------------------


@pytest.fixture
def program(old, tmp_path, monkeypatch):
    """The modules that it had below its application."""
    modules = old.home / "lib/releases"
    modules.mkdir(parents=True)
    (modules / "cli.py").touch()
    (tmp_path / "proc/7").mkdir(parents=True)
    monkeypatch.setattr(takeover, "PROC", tmp_path / "proc")
    return modules


def runs(tmp_path, *words):
    (tmp_path / "proc/7/cmdline").write_text("\0".join(map(str, words)) + "\0")


def test_the_modules_of_an_earlier_program_go_when_nothing_runs_from_them(old, program, tmp_path):
    runs(tmp_path, "/usr/bin/python3", "-I", old.home / "bin/release", "shell")
    takeover.remove_program(old.home)
    assert program.exists()
    runs(tmp_path, "/usr/bin/python3", "-I", "/srv/another/bin/release", "shell")
    takeover.remove_program(old.home)
    assert not program.exists()
    assert program.parent.exists()  # with what role app has there
    takeover.remove_program(old.home)
