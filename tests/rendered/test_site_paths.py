"""Two applications under one name, by their effect on a Caddy of this machine, if it has one."""

import contextlib
import tempfile
import threading
from pathlib import Path

import pytest
from test_site import Application, Listener, Served, needs_caddy
from test_systems import SYSTEMS, Host

from pergola import paths  # isort: skip - test_systems finds it
from pergola.release import bake  # isort: skip
from pergola.status import visit  # isort: skip
from pergola.status.seen import Application as Seen  # isort: skip

DOMAIN = "notes.example.org"


class Shared(Served):
    """The site of notes, with further applications that answer paths of it."""

    def having(self, app, path, **settings):
        host = Host(SYSTEMS["noble"], app_name=app, app_path=path, **settings)
        host.variables["__app_looked"] = self.host.variables["__app_looked"]
        assert host.broken() == ""
        (file,) = [one for one in host("__app_files") if one["path"].startswith("/etc/caddy/")]
        place = self.place(file["path"])
        place.parent.mkdir(parents=True, exist_ok=True)
        text = self.moved(host.file("app", file["src"]))
        for folder in (f"/run/{app}", f"/srv/{app}"):
            (self.top / folder.strip("/")).mkdir(parents=True, exist_ok=True)
            text = text.replace(folder, f"{self.top}{folder}")
        place.write_text(text)
        (self.top / f"srv/{app}/live").mkdir(exist_ok=True)

    @contextlib.contextmanager
    def answering(self, app):
        with Listener(str(self.top / f"run/{app}/blue.sock"), Application) as listener:
            listener.heard = []
            threading.Thread(target=listener.serve_forever, daemon=True).start()
            try:
                yield listener
            finally:
                listener.shutdown()


@pytest.fixture
def shared(monkeypatch):
    """The site of notes; wiki has /api, which is stripped, and yard /api/yard, which is not."""
    with tempfile.TemporaryDirectory(prefix="site-") as top, contextlib.ExitStack() as stack:
        found = Shared(Path(top))
        static = {"app_static_url": "/api/static"}
        found.having("wiki", "/api", app_path_strip=True, **static)
        found.having("yard", "/api/yard")
        monkeypatch.setattr(paths, "FOLDER", found.top / "etc/caddy")
        found.wiki = stack.enter_context(found.answering("wiki"))
        found.yard = stack.enter_context(found.answering("yard"))
        yield stack.enter_context(found.up())


@needs_caddy
def test_the_longest_path_answers_and_all_else_is_the_domain_s_own(shared):
    for path in ("/", "/apix", "/api", "/api/", "/api/a?b=1", "/api/yard", "/api/yard/a", "/ap"):
        assert shared.ask(path).read()
    assert shared.application.heard == ["/", "/apix", "/ap"]
    assert shared.wiki.heard == ["/", "/", "/a?b=1"]
    assert shared.yard.heard == ["/api/yard", "/api/yard/a"]


@needs_caddy
def test_an_application_is_told_its_prefix_and_its_client_whatever_that_says(shared):
    claim = {"X_Forwarded_Prefix": "/lie", "X_Forwarded_For": "203.0.113.9"}
    wiki, yard = shared.seen("/api/a", **claim), shared.seen("/api/yard", **claim)
    assert wiki["x-forwarded-prefix"] == "/api"
    assert "x-forwarded-prefix" not in yard
    assert {one["x-forwarded-for"] for one in (wiki, yard)} == {"127.0.0.1"}
    assert wiki["host"] == DOMAIN
    assert wiki["x-request-id"]


@needs_caddy
def test_static_files_and_the_maintenance_page_are_each_application_s_own(shared):
    assets = shared.top / "srv/wiki/assets"
    assets.mkdir()
    (assets / "site.css").write_text("body{}")
    assert shared.ask("/api/static/site.css").read() == b"body{}"
    (shared.top / "srv/wiki/live/maintenance.html").write_text("back soon")
    answer = shared.ask("/api/a")
    assert (answer.status, answer.read()) == (503, b"back soon")
    assert answer.getheader("Retry-After") == "120"
    assert shared.ask("/api/healthz").status == 200
    assert shared.ask("/api/yard").status == 200
    assert shared.ask("/").status == 200
    (shared.top / "srv/notes/live/maintenance.html").write_text("closed")
    (shared.top / "srv/wiki/live/maintenance.html").unlink()
    assert shared.ask("/").status == 503
    assert shared.ask("/api/a").status == 200


@needs_caddy
def test_until_its_first_release_visitors_of_a_path_get_its_page(shared):
    (shared.top / "srv/yard/live/nothing.html").write_text("being set up")
    answer = shared.ask("/api/yard/x")
    assert (answer.status, answer.read()) == (503, b"being set up")
    assert shared.ask("/api/x").status == 200


@needs_caddy
def test_a_log_s_answers_are_counted_for_whom_they_are_of(shared):
    for path in ("/", "/x", "/api/a", "/api/yard/b", "/api/yard"):
        shared.ask(path).read()
    shared.logged("/api/yard")
    log = shared.top / "log/notes.log"
    for _ in range(100):
        if len(log.read_text().splitlines()) >= 5:
            break
        shared.logged("/api/yard")
    lines = log.read_bytes().splitlines()

    def marked(mark):
        return sum(bake.answer(line, mark)[0] > 0 for line in lines)

    assert (marked("blue"), marked("wiki.blue"), marked("yard.blue")) == (2, 1, 2)
    seen = [
        Seen(app, path=path, domain=DOMAIN, log=str(log))
        for app, path in (("notes", ""), ("wiki", "/api"), ("yard", "/api/yard"))
    ]
    known = {str(log): (log.stat().st_ino, 0)}
    found = visit.answered(seen, known)
    assert [found[one.app].answers for one in seen] == [2, 1, 2]


def test_what_belongs_to_the_whole_site_is_refused_with_a_path():
    def said(**settings):
        return Host(SYSTEMS["noble"], app_path="/api", **settings).broken()

    assert said() == ""
    assert "app_headers holds for a whole site" in said(app_headers={"X-A": "b"})
    assert "app_domain_aliases holds for a whole site" in said(app_domain_aliases=["a.test"])
    assert "app_static_url '/static' must begin with app_path" in said(app_static_url="/static")
    for wrong in ("api", "/api/", "/a b", "/"):
        assert "app_path" in Host(SYSTEMS["noble"], app_path=wrong).broken()
    assert "app_path_strip is for app_path" in Host(SYSTEMS["noble"], app_path_strip=True).broken()


def test_uvicorn_is_told_what_is_stripped_unless_its_options_say_it():
    def options(**settings):
        host = Host(SYSTEMS["noble"], app_path="/api", **settings)
        host.variables["__release_pythons"] = "3.13"
        return host("__release_config.uvicorn_options")

    assert options() == []
    assert options(app_path_strip=True) == ["--root-path=/api"]
    host = Host(SYSTEMS["noble"], app_path="/api", app_path_strip=True)
    said = {"settings": {"server": "uvicorn", "uvicorn_options": ["--ws=none"]}, "said": []}
    host.variables |= {"__release_pythons": "3.13", "__release_found": {"procfile": said}}
    assert host("__release_made.uvicorn_options") == ["--root-path=/api", "--ws=none"]
    own = ["--root-path=/v2"]
    assert options(app_path_strip=True, app_uvicorn_options=own) == own
