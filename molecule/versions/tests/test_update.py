"""A server of an earlier Pergola goes on under this one, and no request notices."""

import re

import scenario
from pergola_control import package


def test_update_rollback_and_deploy_lose_no_request(updated):
    assert updated.load.lost == []
    assert updated.load.ok > 500
    assert "PostgreSQL of web1 restarts" in re.sub(r"\s+", " ", updated.said["site"])
    worst = max(window.get("max", 0) for window in updated.load.windows.values())
    assert worst > 1000, "nothing was held while PostgreSQL restarted"


def test_the_release_of_before_can_be_rolled_back_to_and_left_again(updated):
    assert updated.live["site"] != updated.live["before"]
    assert updated.live["rollback"] == updated.live["before"]
    assert updated.live["deploy"] == updated.live["site"]


def test_what_was_deployed_before_is_listed(updated):
    lines = updated.said["releases"].splitlines()
    of_before = [line for line in lines if updated.live["before"] in line]
    assert len(of_before) >= 2, updated.said["releases"]


def test_a_restore_to_a_moment_has_its_page_and_loses_no_other_request(restored, sql):
    assert restored.load.lost == []
    assert sql("select string_agg(number::text, ',') from probe_rows where number in (1, 2)") == "1"


def test_the_programs_of_before_are_links_to_one_package_and_their_modules_gone(updated, web1):
    for name in package.commands():
        for place in package.PLACES:
            link = web1.check_output(f"readlink {place}/{name}")
            assert link == f"{package.LIB}/current/bin/pergola"
        assert web1.check_output(f"{name} --help").startswith("usage: ")
    there = set(web1.check_output(f"ls {package.LIB}").split())
    assert {"current", package.digest(package.files())} <= there
    assert not there & set(package.FORMER)


def test_the_program_of_the_releases_is_one_for_all_applications_by_now(updated, web1):
    program = web1.file("/srv/probe/bin/release").content_string
    assert 'exec /usr/local/sbin/pergola release --app=probe "$@"' in program
    assert web1.check_output("ls /srv/probe/lib").split() == ["gate.py", "launcher"]


def test_a_pause_that_cannot_be_made_is_told_and_nothing_restarts(updated, web1):
    """Something stands where another application's pause would be noted."""
    began = "systemctl show --property=ActiveEnterTimestampMonotonic 'postgresql@*'"
    before = web1.check_output(began)
    web1.check_output(
        "mkdir -p /srv/other/bin /srv/other/slots /srv/other/live /srv/other/releases/r1 && "
        "touch /srv/other/bin/release && mkdir -p /run/other/pause && "
        "touch /srv/other/releases/r1/release.json && ln -s ../releases/r1 /srv/other/slots/blue"
    )
    try:
        done = web1.run("pergola-postgresql restart")
    finally:
        web1.check_output("rm -r /srv/other /run/other")
    assert done.rc == 1
    assert "requests would fail, as they cannot be held: other: " in done.stderr
    assert "PostgreSQL was not restarted" in done.stderr
    assert web1.check_output(began) == before


def test_a_second_run_changes_nothing(restored, playbook):
    same = {"app_environment": {"PROBE_DATABASE": "probe", "STEP": "after"}}
    settings = {"postgresql_settings": {"max_wal_senders": 11}}
    done = playbook("site.yml", **same, **settings)
    assert re.search(r"web1 +: .*changed=0 ", done.stdout), scenario.said(done)
