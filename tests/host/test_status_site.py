"""What a visitor sees of a site, and the units behind it: judged from recorded looks."""

import copy
import dataclasses
import json
import socket
import threading

import pytest
from looks import BACKUP, Host
from pergola import apps, system
from pergola.apps import App
from pergola.documents import converted, plain
from pergola.records import LINE, MANIFEST, Line
from pergola.status import applications, ask, config, look, report, timer, units, visit
from pergola.status.config import Part
from pergola.status.seen import Answer, Application, Page

APP = {
    "app": "probe",
    "domain": "probe.example.org",
    "certificates": "auto",
    "addresses": ["192.0.2.10"],
    "log": "/var/log/caddy/probe.log",
    "release": "r2",
    "colour": "green",
    "health": "/readyz",
    "processes": ["probe.mailer.green.service"],
    "timers": ["probe.nightly.timer"],
    "page": None,
    "killed": None,
    "paused": False,
    "at_work": "",
    "migrates": False,
}
TLS = {"address": "192.0.2.10", "trusted": True, "own": False, "why": ""}
ASKED = {
    "slot probe": {"status": 200, "text": "ok"},
    "site probe": {"status": 200, "text": "", "tls": TLS},
    "dns probe": {"addresses": ["192.0.2.10"]},
}
RUNS = {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "NRestarts": "0"}
SITE, HEALTH = "site probe.example.org", "health probe"
PROCESS, SLOT = "unit probe.mailer.green.service", "unit probe@green.service"


@pytest.fixture
def host():
    host = Host()
    host.seen["results"] = {"backup": dict(BACKUP), "drill": {**BACKUP, "type": ""}}
    host.seen["apps"] = [copy.deepcopy(APP)]
    host.seen["asked"] = copy.deepcopy(ASKED)
    host.seen["answered"] = {"probe": {"log": APP["log"], "at": [1, 2], "answers": 0, "errors": 0}}
    vital = units.wanted([converted(APP, Application, "APP")], "postgresql@17-main")
    host.seen["vital"] = {name: {**plain(unit), "shows": {**RUNS}} for name, unit in vital.items()}
    host.seen["vital"]["probe.nightly.timer"]["shows"] |= {
        "SubState": "waiting", "NextElapseUSecRealtime": "Mon 2026-11-30 02:00:00 UTC"
    }  # fmt: skip
    host.look()
    assert not [one for one in host.known.reported.values() if one.state != "ok"]
    return host


def twice(host, **seen):
    assert host.look(**seen) == {}, "a single look may lie"
    return {name: change.state for name, change in host.look(**seen).items()}


# The site


def test_of_an_application_below_a_path_its_own_address_is_judged_and_no_certificate(host):
    below = {**copy.deepcopy(APP), "app": "below", "path": "/api"}
    host.seen["apps"].append(below)
    host.seen["asked"] |= {
        "slot below": {"status": 200},
        "site below": {"status": 502, "text": "", "tls": {**TLS, "trusted": False}},
    }
    found = twice(host)
    assert found["site probe.example.org/api"] == "critical"
    assert "GET https://probe.example.org/api answers 502" in host.says(
        "site probe.example.org/api"
    )
    assert host.state(SITE) == host.state("https probe.example.org") == "ok"
    assert [name for name in host.known.reported if name.startswith(("https", "domain"))] == [
        "https probe.example.org",
        "domain probe.example.org",
    ]


def test_an_application_below_a_path_is_asked_there_and_counted_in_the_site_s_log(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(applications.paths, "FOLDER", tmp_path)
    (tmp_path / "probe.caddy").write_text("\timport /etc/caddy/paths/probe.test/*.caddy\n")
    (tmp_path / "paths/probe.test").mkdir(parents=True)
    (tmp_path / "paths/probe.test/995-below.caddy").write_text("@below4 path /api /api/*\n")
    site = config.Site("below", path="/api", domain="probe.test", log="/var/log/caddy/below.log")
    app = applications.with_site(Application("below", release="r1"), site)
    assert app.log == "/var/log/caddy/probe.log"
    asked = []
    monkeypatch.setattr(ask, "over_https", lambda domain, url: asked.append(domain + url))
    monkeypatch.setattr(ask, "over_socket", lambda *_: None)
    monkeypatch.setattr(ask, "at_once", lambda questions: [one() for one in questions.values()])
    visit.asked([dataclasses.replace(app, certificates="auto")])
    assert asked == ["probe.test/api"]


ANSWERS = [
    ({"status": 200}, "ok", "answers 200"),
    ({"status": 404}, "ok", "answers 404"),
    ({"status": 500, "text": "Internal Server Error"}, "critical", "500 (Internal Server Error)"),
    ({"status": 502, "text": ""}, "critical", "answers 502; see"),
    ({"status": 503, "text": ""}, "critical", "answers 503; see"),
    ({"status": 421, "text": "no site"}, "critical", "no site of that name"),
    ({"error": "192.0.2.10 port 443: Connection refused"}, "critical", "DOWN: GET https://probe"),
]


@pytest.mark.parametrize(("answer", "state", "says"), ANSWERS)
def test_what_a_visitor_gets_is_judged(host, answer, state, says):
    host.seen["asked"]["site probe"] = {"text": "", **answer, "tls": TLS}
    assert twice(host) == ({SITE: state} if state != "ok" else {})
    host.look()
    assert says in host.says(SITE)


def test_a_site_that_cannot_be_reached_says_nothing_of_its_certificate(host):
    host.seen["asked"]["site probe"] = {"error": "Connection refused"}
    assert twice(host) == {SITE: "critical"}


def test_a_maintenance_page_is_not_down_but_told_when_it_stays(host):
    host.seen["asked"]["site probe"] = {"status": 503, "text": "", "tls": TLS}
    host.seen["apps"][0]["page"] = {"since": host.seen["wall"], "who": "eva", "until": None}
    told = [list(host.look()) for _ in range(10)]
    assert told == [[]] * 9 + [["page probe"]]
    assert host.state("page probe") == "warning"
    assert "eva turned the maintenance page on 10 minutes ago" in host.says("page probe")
    assert "release maintenance off" in host.says("page probe")


def test_a_page_with_an_end_is_told_when_it_did_not_end(host):
    page = {"since": host.seen["wall"], "who": "eva", "until": host.seen["wall"] + 900}
    host.seen["apps"][0]["page"] = page
    assert [host.look(2) for _ in range(7)] == [{}] * 7
    assert "it ends by itself in" in host.says("page probe")
    assert [list(host.look(2)) for _ in range(10)][-1] == ["page probe"]


def test_a_pause_is_nothing_to_tell(host):
    host.seen["apps"][0] |= {"paused": True, "at_work": "its requests are held"}
    host.seen["asked"] |= {"site probe": {"error": "late"}, "slot probe": {"error": "late"}}
    host.seen["vital"]["probe@green.service"]["shows"]["ActiveState"] = "inactive"
    assert [host.look() for _ in range(4)] == [{}] * 4


def test_an_application_that_was_never_deployed_is_not_down(host):
    host.seen["apps"][0]["release"] = None
    host.seen["asked"] = {"dns probe": {"addresses": ["192.0.2.10"]}}
    host.seen["vital"] = {}
    assert host.look() == {}
    assert host.state(SITE) == "skipped"


def test_health_is_asked_apart_from_the_site(host):
    host.seen["asked"]["slot probe"] = {"status": 500, "text": '{"pool": "exhausted"}'}
    assert twice(host) == {HEALTH: "critical"}
    assert 'r2 in slot green, GET /readyz: 500 {"pool": "exhausted"}' in host.says(HEALTH)


@pytest.mark.parametrize(
    ("manifest", "well", "not_well"),
    [
        ({}, [200], [204, 302, 404]),
        ({"health_status": ["2xx", "401"]}, [200, 204, 401], [302, 404]),
        ({"health_follow_redirects": True}, [200, 307], [204, 404]),
    ],
)
def test_health_is_what_the_release_calls_so(host, manifest, well, not_well):
    accepted = applications.accepted(MANIFEST.parse(json.dumps(manifest), "a manifest"))
    host.seen["apps"][0]["accepted"] = accepted
    for status in (*well, *not_well):
        host.seen["asked"]["slot probe"] = {"status": status}
        twice(host)
        assert (host.state(HEALTH) == "ok") == (status in well), status


def test_no_heartbeat_at_all_for_a_site_that_is_down(host):
    """Whoever waits for one waits for the server, with all that it serves."""
    parts = [
        {"heartbeat": "one"},
        {"heartbeat": "two", "site": {"app": "other", "domain": "other.example.org"}},
        {"site": {"app": "probe", "domain": APP["domain"]}},
    ]
    beats = config.merged(converted(parts, list[Part], "parts")).beats
    assert timer.due(beats, host.known.reported) == ["one", "two"]
    host.seen["asked"]["site probe"] = {"error": "Connection refused"}
    twice(host)
    assert timer.due(beats, host.known.reported) == []


def test_a_warning_that_is_accepted_is_none_and_stays_in_sight_a_critical_is_told():
    warning = look.Finding("second copy", "warning", "lost with it")
    assert report.accepted(warning, ["second copy"]) == look.Finding(
        "second copy", "skipped", "accepted (monitoring_accepted): lost with it"
    )
    for finding in (
        look.Finding("second copy", "critical", ""),
        look.Finding("disk /", "warning", ""),
    ):
        assert report.accepted(finding, ["second copy"]) is finding


def test_backups_on_this_server_only_are_told(host):
    change = host.look(repositories={"here": ["/var/lib/pgbackrest"], "elsewhere": []})
    assert change["second copy"].state == "warning"
    assert "lost with it" in host.says("second copy")


# The certificate and the name

BAD = {**TLS, "trusted": False, "why": "unable to get local issuer certificate"}


@pytest.mark.parametrize(
    ("app", "tls", "there", "state"),
    [
        ({}, BAD, ["192.0.2.10"], "critical"),
        ({}, {**BAD, "own": True}, ["192.0.2.10"], "critical"),
        ({}, {**BAD, "own": True}, ["203.0.113.9"], "warning"),
        ({"certificates": "internal"}, {**BAD, "own": True}, [], "warning"),
        ({"certificates": "acme"}, {**BAD, "own": True}, [], "critical"),
        ({"certificates": "own"}, BAD, [], "critical"),
        ({"certificates": "internal", "domain": "probe.test"}, {**BAD, "own": True}, [], "ok"),
        ({"certificates": "internal", "domain": "probe.test"}, BAD, [], "warning"),
    ],
)
def test_a_certificate_that_no_browser_accepts_is_told(host, app, tls, there, state):
    host.seen["apps"][0] |= app
    host.seen["asked"]["site probe"]["tls"] = tls
    host.seen["asked"]["dns probe"]["addresses"] = there
    host.look()
    host.look()
    assert host.state(f"https {host.seen['apps'][0]['domain']}") == state


def test_a_name_that_leads_elsewhere_is_told_and_one_that_was_not_answered_is_not(host):
    host.seen["asked"]["dns probe"] = {"error": "getent ended with 1"}
    assert [host.look() for _ in range(6)] == [{}] * 6
    host.seen["asked"]["dns probe"] = {"addresses": ["203.0.113.9"]}
    assert [list(host.look()) for _ in range(5)][-1] == ["domain probe.example.org"]
    assert "points to 203.0.113.9, not to this server" in host.says("domain probe.example.org")


def test_the_share_of_failed_answers_is_told(host):
    told = host.seen["answered"]["probe"]
    told |= {"answers": 4, "errors": 4}
    assert [host.look() for _ in range(3)] == [{}] * 3, "four say nothing"
    told |= {"answers": 1000, "errors": 70}
    assert twice(host) == {"answers probe.example.org": "warning"}
    told |= {"answers": 10, "errors": 9}
    assert twice(host) == {"answers probe.example.org": "critical"}


def test_answers_are_counted_from_where_the_last_look_ended(tmp_path):
    log = tmp_path / "probe.log"
    app = converted({**APP, "log": str(log)}, Application, "APP")
    assert visit.answered([app], None) == {}
    line = '{{"request":{{"uri":"/?a=\\"status\\":500"}},"status":{}}}\n'
    log.write_text(line.format(500) * 3)
    first = visit.answered([app], None)["probe"]
    assert first.answers == 0, "what is older than the first look"
    with log.open("a") as file:
        file.write(line.format(200) * 2 + line.format(502) + line.format(503) + '{"half": ')
    at = {str(log): first.at}
    second = visit.answered([app], at)["probe"]
    assert (second.answers, second.errors) == (4, 2)
    behind_page = dataclasses.replace(app, page=Page(0, "eva"))
    assert visit.answered([behind_page], at)["probe"].errors == 1
    log.unlink()
    log.write_text(line.format(500))
    assert visit.answered([app], at)["probe"].errors == 1


def test_nothing_but_a_plain_file_is_read_from_another_accounts_directory(tmp_path):
    (tmp_path / "secret").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="link"):
        system.read(tmp_path / "link")
    with pytest.raises(OSError, match="not a plain file"):
        system.read(tmp_path)


def test_a_slot_that_does_not_answer_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(ask, "ANSWER", 0.2)
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        assert ask.over_socket(path, "/", "x").error.startswith("no answer within")
    assert ask.over_socket(path, "/", "x").error == "Connection refused"
    assert "No such file" in ask.over_socket(tmp_path / "none", "/", "x").error


def test_what_takes_all_the_time_holds_nobody_up(monkeypatch):
    monkeypatch.setattr(ask, "ALL", 0.2)
    hangs = threading.Event()
    one = Answer(status=1)
    told = ask.at_once({"a": hangs.wait, "b": lambda: one, "c": lambda: 1 / 0})
    hangs.set()
    assert (told["a"].error, told["b"]) == ("no answer within 0.2 s", one)
    assert told["c"].error == "ZeroDivisionError: division by zero"


# Units


@pytest.mark.parametrize(
    ("unit", "shows", "state", "says"),
    [
        ("caddy.service", {"ActiveState": "failed"}, "critical", "Caddy is not running: failed"),
        ("caddy.service", {"ActiveState": "reloading"}, "ok", "active"),
        ("probe@green.service", {"ActiveState": "inactive"}, "critical", "live release of probe"),
        ("probe@green.socket", {"ActiveState": "failed"}, "critical", "listener of probe"),
        ("probe.mailer.green.service", {"ActiveState": "inactive"}, "critical", "a process of"),
        (
            "caddy.service",
            {"ActiveState": "activating", "SubState": "auto-restart"},
            "critical",
            "started again and again",
        ),
        ("probe.nightly.timer", {"ActiveState": "inactive"}, "warning", "is not running"),
        ("probe.nightly.timer", {"LoadState": "not-found"}, "warning", "no usable unit file"),
        ("probe.nightly.timer", {"NextElapseUSecRealtime": ""}, "warning", "has no next run"),
        (
            "probe.nightly.timer",
            {"NextElapseUSecRealtime": "", "SubState": "running"},
            "ok",
            "active",
        ),
    ],
)  # fmt: skip
def test_a_unit_that_must_run_is_told_when_it_does_not(host, unit, shows, state, says):
    host.seen["vital"][unit]["shows"] |= shows
    assert twice(host) == ({f"unit {unit}": state} if state != "ok" else {})
    host.look()
    assert says in host.says(f"unit {unit}")


def test_a_process_that_crashes_between_looks_is_told_by_its_restarts(host):
    for restarts in ("1", "1", "1"):
        assert host.look(**count(host, restarts)) == {}, "killed once"
    told = [list(host.look(**count(host, str(n)))) for n in (8, 15, 22)]
    assert told == [[], [PROCESS], []]
    assert "was restarted" in host.says(PROCESS)
    told = [{n: c.state for n, c in host.look(**count(host, "22")).items()} for _ in range(5)]
    assert told[-1] == {PROCESS: "ok"}
    assert not any(told[:-1])


def test_the_tries_that_one_start_needs_are_no_crash_loop(host):
    away = {"ActiveState": "activating", "SubState": "start"}
    host.look(**count(host, "0"))
    for restarts, state in (("2", away), ("5", RUNS), ("5", RUNS), ("5", RUNS)):
        vital = count(host, restarts)
        vital["vital"]["probe.mailer.green.service"]["shows"] |= state
        host.look(**vital)
    assert host.state(PROCESS) == "ok"


def count(host, restarts):
    vital = copy.deepcopy(host.seen["vital"])
    vital["probe.mailer.green.service"]["shows"]["NRestarts"] = restarts
    return {"vital": vital}


def test_a_postgresql_that_is_down_is_told_once_and_one_that_crashes_by_its_unit(host):
    unit = "unit postgresql@17-main.service"
    host.seen["vital"]["postgresql@17-main.service"]["shows"]["ActiveState"] = "inactive"
    server = host.seen["postgresql"]
    assert twice(host, postgresql={"unit": "postgresql@17-main", "down": "no"}) == {
        "postgresql": "critical"
    }
    host.seen["vital"]["postgresql@17-main.service"]["shows"] |= {**RUNS, "NRestarts": "30"}
    host.look(postgresql=server)
    for restarts in ("60", "90"):
        host.seen["vital"]["postgresql@17-main.service"]["shows"]["NRestarts"] = restarts
        host.look()
    assert host.look()[unit].state == "critical"


def test_several_tries_of_one_start_are_no_crash(host):
    host.look(**count(host, "5"))
    assert [host.look(**count(host, "5")) for _ in range(5)] == [{}] * 5


def test_a_count_that_begins_again_is_no_crash(host):
    host.look(**count(host, "1"))
    host.look(**count(host, "0"))
    assert [host.look(**count(host, "1")) for _ in range(4)] == [{}] * 4


def test_a_deploy_at_work_leaves_units_as_they_were(host):
    host.seen["apps"][0]["at_work"] = "eva is at work on it: deploy of r3"
    host.seen["vital"]["probe.mailer.green.service"]["shows"]["ActiveState"] = "inactive"
    assert [host.look() for _ in range(3)] == [{}] * 3
    host.seen["apps"][0]["at_work"] = ""
    assert twice(host) == {PROCESS: "critical"}


def test_a_slot_that_was_killed_at_its_drain_limit_is_no_critical(host):
    assert twice(host, units=["probe@blue.service"]) == {"unit probe@blue.service": "warning"}
    assert "had not ended within its time (app_drain_seconds)" in host.says(
        "unit probe@blue.service"
    )


def test_a_release_that_a_deploy_had_to_kill_is_told_for_a_day(host, tmp_path):
    ledger = tmp_path / "ledger.jsonl"
    assert applications.killed(ledger) is None
    lines = [
        {"outcome": "live", "to": "r2"},
        {"outcome": "killed", "to": "r1", "time": "2026-11-24T19:07:00+00:00", "reason": "late"},
    ]
    ledger.write_text("\n".join(map(json.dumps, lines)) + '\n{"cut off')
    host.seen["apps"][0]["killed"] = plain(applications.killed(ledger))
    assert host.look()["drain probe"].state == "warning"
    assert "the last deploy (2026-11-24 19:07 UTC) had to kill r1: late" in host.says("drain probe")
    assert host.look(25 * 60)["drain probe"].state == "ok"
    ledger.write_text("\n".join(map(json.dumps, [*lines, {"outcome": "live", "to": "r3"}])))
    assert applications.killed(ledger) is None


def test_what_failed_once_a_release_served_is_told_until_a_deploy_has_done_it(host, tmp_path):
    ledger = tmp_path / "ledger.jsonl"
    assert applications.unmigrated(ledger) is None
    failed = Line(
        action="migrate_after",
        to="r2",
        outcome="failed",
        reason="it ended with 1",
        time="2026-11-24T19:07:00+00:00",
    )
    lines = [
        Line(action="deploy", to="r2", outcome="live"),
        failed,
        Line(action="run", to="r2", outcome="exit 0"),
    ]
    for line in lines:
        LINE.add(ledger, line, 0o600)
    host.seen["apps"][0]["unmigrated"] = plain(applications.unmigrated(ledger))
    assert host.look()["migrate_after probe"].state == "warning"
    says = "app_migrate_after_command of r2 failed (2026-11-24 19:07 UTC): it ended with 1"
    assert says in host.says("migrate_after probe")
    for later in (dataclasses.replace(failed, outcome="done"), lines[0]):
        LINE.add(ledger, failed, 0o600)
        assert applications.unmigrated(ledger) == failed
        LINE.add(ledger, later, 0o600)
        assert applications.unmigrated(ledger) is None


def test_the_units_of_an_application_are_those_of_its_live_slot():
    assert list(units.wanted([converted(APP, Application, "APP")], None)) == [
        "caddy.service",
        "probe@green.socket",
        "probe@green.service",
        "probe.mailer.green.service",
        "probe.nightly.timer",
    ]
    assert list(units.wanted([], "postgresql@17-main")) == ["postgresql@17-main.service"]


def test_what_is_live_is_read_from_the_slots(tmp_path, monkeypatch):
    home, run = tmp_path / "srv/probe", tmp_path / "run"
    monkeypatch.setattr(apps, "RUN", run)
    (home / "releases/r1").mkdir(parents=True)
    (home / "slots").mkdir()
    (home / "live").mkdir()
    (run / "probe").mkdir(parents=True)
    assert applications.live(App(home)).release is None
    (home / "slots/blue").symlink_to(home / "releases/r1")
    schedules = [
        {"name": "a", "suspended": False, "every_host": False},
        {"name": "b", "suspended": False, "every_host": True},
        {"name": "c", "suspended": True, "every_host": True},
    ]
    manifest = {"health_path": "/up", "processes": [{"name": "w"}], "schedules": schedules}
    (home / "releases/r1/release.json").write_text(json.dumps(manifest))
    (home / "settings.json").write_text('{"runs_schedules": false}')
    live = applications.live(App(home))
    assert (live.release, live.colour, live.health) == ("r1", "blue", "/up")
    assert live.processes == ["probe.w.blue.service"]
    assert live.timers == ["probe.b.timer"]
    (run / "probe/deploy.json").write_text(
        '{"until": 1e12, "phase": "switch", "who": "e", "what": "d"}'
    )
    assert applications.live(App(home)).at_work == "e is at work on it: d"
    (home / "live/maintenance.html").write_text("")
    (home / "live/maintenance.json").write_text('{"who": "eva", "until": null}')
    assert applications.live(App(home)).page.who == "eva"
