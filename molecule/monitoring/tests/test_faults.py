"""What a visitor would notice, and what it depends on, is broken for real, and told by its name."""

import pytest

SITE, HEALTH, ANSWERS = "site probe.test", "health probe", "answers probe.test"
CADDY = "unit caddy.service"
CONFIG = "/etc/pergola/monitoring/probe.json"


@pytest.fixture(autouse=True)
def live(fickle):
    """The live slot's unit, without its ending."""
    return f"probe@{fickle}"


def critical(*names):
    return [(name, "critical") for name in names]


def over(*names):
    return [(name, "ok") for name in names]


def test_a_caddy_that_cannot_start_is_told_and_stops_the_heartbeat(watched, told):
    run, beats = watched.host.check_output, told.beats
    run("chmod 0 /usr/bin/caddy; systemctl kill --signal=KILL caddy")
    try:
        watched.looks_until(told, *critical(SITE, CADDY))
        assert "DOWN: GET https://probe.test/: " in watched.says(SITE)
        assert "Connection refused" in watched.says(SITE)
        assert told.beats <= beats + 1, "the outside notices too"
    finally:
        run("chmod 755 /usr/bin/caddy; systemctl restart caddy")
    watched.looks_until(told, *over(SITE, CADDY))
    assert told.beats > beats


def test_a_live_slot_that_was_stopped_is_told(watched, told, live):
    run, units = watched.host.check_output, (f"unit {live}.socket", f"unit {live}.service")
    run(f"systemctl stop {live}.socket {live}.service")
    watched.looks_until(told, *critical(SITE, HEALTH, *units))
    assert "answers 502" in watched.says(SITE)
    run(f"systemctl start {live}.service")
    watched.looks_until(told, *over(SITE, HEALTH, *units))


def test_a_pool_that_is_used_up_is_told(watched, told, live):
    run, takes = watched.host.check_output, "/var/lib/probe/takes-connections"
    run(f"touch {takes}")
    try:
        watched.looks_until(told, *critical(HEALTH))
        assert "GET /readyz: 500" in watched.says(HEALTH)
    finally:
        # Without the end that waits for what is taken; systemd starts it again.
        run(f"rm {takes}; systemctl kill --signal=KILL {live}.service")
    watched.looks_until(told, *over(HEALTH))


def test_a_front_page_that_fails_is_told_though_the_release_is_healthy(watched, told):
    watched.host.check_output("touch /var/lib/probe/front-fails")
    watched.looks_until(told, *critical(SITE))
    assert "GET https://probe.test/ answers 500 (probe)" in watched.says(SITE)
    watched.host.check_output("rm /var/lib/probe/front-fails")
    watched.looks_until(told, *over(SITE))


def test_failed_answers_are_told_by_their_share(watched, told, site):
    def visited():
        for _ in range(6):
            assert site.get("/fail").status_code == 500

    visited()
    watched.look()
    visited()
    watched.looks_until(told, *critical(ANSWERS), most=1)
    assert " were errors of the server (5xx)" in watched.says(ANSWERS)
    watched.looks_until(told, *over(ANSWERS))


@pytest.mark.parametrize("unit", ["{live}.service", "probe.worker.{slot}.service"])
def test_what_crashes_again_and_again_is_told(watched, told, live, fickle, unit, site):
    unit = unit.format(live=live, slot=fickle)

    def crash():
        watched.host.check_output(f"systemctl kill --signal=KILL {unit}")
        watched.host.check_output(
            "timeout 30 sh -c %s",
            f"until systemctl -q is-active {unit}; do sleep 0.1; done",
        )

    watched.look()
    for _ in range(2):
        crash()
        crash()
        watched.look()
    watched.looks_until(told, *critical(f"unit {unit}"))
    assert "was restarted 4 times" in watched.says(f"unit {unit}")
    watched.looks_until(told, *over(f"unit {unit}"))


def test_a_process_and_a_schedule_that_were_stopped_are_told_each(watched, told, fickle):
    process, timer = f"probe.worker.{fickle}.service", "probe.nightly.timer"
    watched.host.check_output(f"systemctl stop {process} {timer}")
    findings = [(f"unit {timer}", "warning"), *critical(f"unit {process}")]
    watched.looks_until(told, *findings)
    watched.host.check_output(f"systemctl start {process} {timer}")
    watched.looks_until(told, *over(*(name for name, _ in findings)))


def test_a_slot_that_was_killed_at_its_drain_limit_is_a_warning_of_that_deploy(
    watched, told, fickle
):
    run, idle = watched.host.check_output, {"blue": "green", "green": "blue"}[fickle]
    run(f"systemctl start probe@{idle}.service")
    run(f"systemctl kill --signal=STOP probe@{idle}.service")
    run(f"systemctl stop probe@{idle}.socket probe@{idle}.service")
    killed = "timeout 30 sh -c %s"
    run(killed, "until grep -q killed /srv/probe/ledger.jsonl; do sleep 0.2; done")
    watched.looks_until(told, ("drain probe", "warning"))
    assert "had to kill" in watched.says("drain probe")
    watched.look(2)
    assert told.heard() == [], "no unit has failed for good"
    run("sed -i /killed/d /srv/probe/ledger.jsonl")
    watched.looks_until(told, *over("drain probe"))


def test_a_maintenance_page_that_was_left_on_is_told_with_who_and_since_when(watched, told):
    watched.host.check_output("SUDO_USER=eva /srv/probe/bin/release maintenance on")
    watched.looks_until(told, ("page probe", "warning"))
    assert "eva turned the maintenance page on" in watched.says("page probe")
    assert watched.state(SITE) == "ok", "a page is no outage"
    watched.host.check_output("/srv/probe/bin/release maintenance off")
    watched.looks_until(told, *over("page probe"))


def test_a_site_that_caddy_does_not_have_any_more_is_told(watched, told):
    run = watched.host.check_output
    run("mv /etc/caddy/probe.caddy /etc/caddy/probe.away && systemctl reload caddy")
    try:
        # Without a certificate for the name there is not even TLS.
        watched.looks_until(told, *critical(SITE))
    finally:
        run("mv /etc/caddy/probe.away /etc/caddy/probe.caddy && systemctl reload caddy")
    watched.looks_until(told, *over(SITE))


def test_a_certificate_that_no_browser_accepts_is_told(watched, told):
    """One that somebody made, in the place of what is there."""
    run = watched.host.check_output
    run(
        "openssl req -x509 -newkey ed25519 -nodes -days 5 -subj /CN=probe.test -addext "
        "subjectAltName=DNS:probe.test -keyout /etc/caddy/own.key -out /etc/caddy/own.pem "
        "2>/dev/null; chmod 644 /etc/caddy/own.key; cp -a /etc/caddy/probe.caddy /root/probe.caddy"
    )
    run("sed -i 's|tls internal|tls /etc/caddy/own.pem /etc/caddy/own.key|' /etc/caddy/probe.caddy")
    try:
        run("systemctl reload caddy")
        watched.looks_until(told, ("https probe.test", "warning"))
        assert "no browser accepts its certificate, which is not valid: self" in watched.says(
            "https probe.test"
        )
    finally:
        run("mv /root/probe.caddy /etc/caddy/probe.caddy; rm /etc/caddy/own.*")
        run("systemctl reload caddy")
    watched.looks_until(told, *over("https probe.test"))


def test_a_name_that_leads_elsewhere_is_told(watched, told):
    run = watched.host.check_output
    run(f'cp -a {CONFIG} /root/ && sed -i \'s/"internal"/"auto"/\' {CONFIG}')
    run("cp -a /etc/hosts /root/ && echo '192.0.2.7 probe.test' >/etc/hosts")
    try:
        watched.looks_until(told, ("domain probe.test", "warning"))
        assert "points to 192.0.2.7, not to this server" in watched.says("domain probe.test")
    finally:
        run(f"cat /root/hosts >/etc/hosts; mv /root/probe.json {CONFIG}; rm /root/hosts")
    watched.looks_until(told, *over("domain probe.test"))
