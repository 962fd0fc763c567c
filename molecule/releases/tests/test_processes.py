"""Processes and schedules go with their release: none is left behind, none runs twice."""

import re
from itertools import pairwise

import pytest
import scenario
from scenario import wait_for

NEVER = "2099-01-01"
# Takes two seconds to end, and has the time for it.
SOLO = {
    "name": "solo",
    "command": "env PROBE_WORKER_DRAIN=2 python worker.py solo",
    "drain_seconds": 20,
}
PAIR = {"name": "pair", "command": "python worker.py pair", "overlap": True}
# Would take a minute to end, and has not the time for it.
SLOW = {
    "name": "slow",
    "command": "env PROBE_WORKER_DRAIN=60 python worker.py slow",
    "drain_seconds": 1,
}
EXTRA = {"name": "extra", "command": "python worker.py extra"}
TASK = {"name": "task", "command": "python job.py task go", "on_calendar": NEVER}
OFTEN = {"name": "often", "command": "python job.py often 4", "on_calendar": "*:*:0/2"}
DAILY = {"name": "daily", "command": "python job.py daily 0", "on_calendar": "daily"}
MISSED = {**DAILY, "name": "missed", "command": "python job.py missed 0", "persistent": False}
IDLE = {**OFTEN, "name": "idle", "command": "python job.py idle 0", "suspended": True}
FIRST = {"app_processes": [SOLO, PAIR, SLOW, EXTRA], "app_schedules": [TASK, OFTEN, IDLE]}
SECOND = {"app_processes": [SOLO, PAIR, SLOW], "app_schedules": [TASK, DAILY, MISSED]}


@pytest.fixture(scope="module")
def log(web1):
    """The lives of a process or schedule by its log, in order: release, and when what happened."""
    web1.check_output(
        "rm -f /var/lib/probe/worker-*.log /var/lib/probe/job-*.log /var/lib/probe/go"
    )

    def read(kind, name):
        lives, now = [], {}  # all, and that of each release
        for line in web1.run(f"cat /var/lib/probe/{kind}-{name}.log").stdout.splitlines():
            at, release, event = line.split(maxsplit=2)
            if event == "started":
                now[release] = {"release": release}
                lives.append(now[release])
            if release in now:  # else it began before the log
                now[release].setdefault(event, float(at))
                now[release]["last"] = float(at)
        return lives

    return read


@pytest.fixture(scope="module")
def running(web1):
    """The processes and timers of the probe that run, without the application's name."""

    def look(state="active"):
        listed = web1.check_output(
            f"systemctl list-units --state={state} --plain --no-legend 'probe.*'"
        )
        return {line.split()[0].removeprefix("probe.") for line in listed.splitlines()}

    return look


@pytest.fixture(scope="module")
def files(web1):
    """The unit files of the probe's processes and schedules."""
    return lambda: set(web1.check_output("cd /etc/systemd/system && ls -d probe.*").split())


@pytest.fixture(scope="module")
def first(probe, deploy, server, log, running):
    """The first release, and what ran then."""
    probe.reset()
    probe.commit("note", "processes one", "Four processes, three schedules")
    deploy(**FIRST)
    wait_for("a run by the calendar", lambda: len(log("job", "often")) > 2)
    status = server.status()
    return {"release": status["live"], "slot": status["slot"], "running": running()}


@pytest.fixture(scope="module")
def second(first, probe, deploy, server, web1, log, running, files):
    """The second release, which was deployed while a schedule of the first one ran."""
    web1.check_output("systemctl start --no-block probe.task.service")
    wait_for("the schedule's start", lambda: log("job", "task"))
    web1.check_output("systemctl start --no-block probe.task.service")
    probe.commit("note", "processes two", "Three processes, other schedules")
    deploy(**SECOND)
    wait_for("the end of the first one", lambda: "deactivating" not in str(running("deactivating")))
    status = server.status()
    return {
        "release": status["live"],
        "slot": status["slot"],
        "running": running(),
        "files": files(),
    }


def of(release, lives):
    return [life for life in lives if life["release"] == release["release"]]


def test_processes_and_timers_run_but_a_suspended_one_does_not(first):
    slot = first["slot"]
    names = {"solo", "pair", "slow", "extra"}
    services = {name for name in first["running"] if name.endswith(f".{slot}.service")}
    assert services == {f"{name}.{slot}.service" for name in names}
    timers = {name for name in first["running"] if name.endswith(".timer")}
    assert timers == {"task.timer", "often.timer"}


def test_a_suspended_schedule_runs_when_it_is_told_to(first, web1, log):
    assert log("job", "idle") == []
    web1.check_output("systemctl start probe.idle.service")
    assert len(log("job", "idle")) == 1


def test_runs_of_a_schedule_never_overlap(first, log):
    runs = log("job", "often")
    assert len(runs) > 2
    for one, next_one in pairwise(runs):
        assert one["done"] <= next_one["started"]


def test_a_process_without_overlap_stops_before_the_next_one_starts(first, second, log):
    (old,), (new,) = (of(release, log("worker", "solo")) for release in (first, second))
    assert old["stopped"] - old["stopping"] >= 2, "it had the time that it needed"
    assert old["stopped"] <= new["started"]


def test_a_process_with_overlap_starts_before_the_old_one_stops(first, second, log):
    (old,), (new,) = (of(release, log("worker", "pair")) for release in (first, second))
    assert new["started"] < old["stopping"]
    assert "stopped" in old


def test_a_process_that_does_not_end_in_its_time_is_killed(first, second, log):
    (old,), (new,) = (of(release, log("worker", "slow")) for release in (first, second))
    assert "stopping" in old
    assert "stopped" not in old
    assert new["started"] >= old["last"] + SLOW["drain_seconds"]


def test_what_the_next_release_does_not_have_is_stopped_and_deleted(first, second, log):
    (old,) = log("worker", "extra")
    assert old["release"] == first["release"]
    assert "stopped" in old
    slot = second["slot"]
    assert {name for name in second["running"] if ".service" in name and "task" not in name} == {
        f"{name}.{slot}.service" for name in ("solo", "pair", "slow")
    }
    timers = {name for name in second["running"] if name.endswith(".timer")}
    assert timers == {"task.timer", "daily.timer", "missed.timer"}
    assert not {name for name in second["files"] if "often" in name or "idle" in name}


def test_a_schedule_that_runs_during_a_switch_stays_in_its_release(first, second, web1, log):
    (run,) = log("job", "task")
    assert run["release"] == first["release"]
    web1.check_output("touch /var/lib/probe/go")
    wait_for("its end", lambda: "done" in log("job", "task")[0])
    (run,) = log("job", "task")
    (worker,) = of(second, log("worker", "solo"))
    assert run["started"] < worker["started"] < run["done"], "the switch was in between"
    web1.check_output("systemctl start --no-block probe.task.service")
    wait_for("the next run", lambda: len(log("job", "task")) == 2)
    assert log("job", "task")[1]["release"] == second["release"]


def test_a_process_that_does_not_stay_up_brings_the_old_release_back(
    second, probe, deploy, server, site, running, files, log
):
    probe.commit("note", "processes broken", "A worker that dies")
    broken = {**SOLO, "command": "python -c 'raise SystemExit(\"no queue\")'"}
    done = deploy(fails=True, app_processes=[broken, PAIR, SLOW], app_schedules=[TASK])
    said = re.sub(r"\s+", " ", done.stdout)
    assert "phase: switch of release" in said
    assert f"the process probe.solo.{first_other(second['slot'])}.service did not stay up" in said
    assert "no queue" in said
    assert f"live now: {second['release']}" in said
    assert "fix it (app_processes), commit and deploy again" in said
    assert server.ledger()[-1]["outcome"] == "returned"
    assert site.get("/").headers["x-release"] == second["release"]
    wait_for("the refused one's end", lambda: running() == second["running"] - {"task.service"})
    assert {name for name in files() if second["slot"] in name} == {
        f"probe.{name}.{second['slot']}.service" for name in ("solo", "pair", "slow")
    }
    lives = log("worker", "solo")
    assert [life["release"] for life in lives[-2:]] == [second["release"]] * 2
    assert lives[-2]["stopped"] <= lives[-1]["started"]


def first_other(slot):
    return {"blue": "green", "green": "blue"}[slot]


def test_after_a_power_loss_only_the_live_slots_processes_run_and_a_missed_run_is_made_up_for(
    second, web1, running, log
):
    # As if the power had failed in the middle of a switch, when both slots' units are enabled.
    other = first_other(second["slot"])
    pair = f"/etc/systemd/system/probe.pair.{other}.service"
    if not web1.file(pair).exists:
        live = f"/etc/systemd/system/probe.pair.{second['slot']}.service"
        text = web1.file(live).content_string.replace(f"slots/{second['slot']}", f"slots/{other}")
        negated = "!/srv/probe/live/green"
        text = (
            text.replace(negated, "/srv/probe/live/green")
            if second["slot"] == "blue"
            else text.replace("=/srv/probe/live/green", f"={negated}")
        )
        web1.check_output("printf %%s %s >%s", text, pair)
    web1.check_output(f"systemctl enable probe.pair.{other}.service")
    for name in ("daily", "missed"):
        stamp = f"/var/lib/systemd/timers/stamp-probe.{name}.timer"
        web1.check_output(f"mkdir -p /var/lib/systemd/timers; touch --date='3 days ago' {stamp}")
    before = {name: len(log("job", name)) for name in ("daily", "missed")}
    boot = "cat /proc/sys/kernel/random/boot_id"
    old_boot = web1.check_output(boot)
    scenario.testhosts("kill", "web1")
    scenario.testhosts("start", "web1")
    wait_for("a login", lambda: web1.run(boot).stdout.strip() not in ("", old_boot))
    wait_for("the end of the boot", lambda: web1.run("systemctl is-system-running --wait").stdout)
    services = {f"{name}.{second['slot']}.service" for name in ("solo", "pair", "slow")}
    wait_for(
        "the processes", lambda: {name for name in running() if ".service" in name} == services
    )
    wait_for("the run that was missed", lambda: len(log("job", "daily")) > before["daily"])
    assert len(log("job", "missed")) == before["missed"]


def test_a_rollback_brings_the_old_units_back(first, second, rollback, server, running, web1):
    rollback(release_to=first["release"])
    slot = server.status()["slot"]
    services = {f"{name}.{slot}.service" for name in ("solo", "pair", "slow", "extra")}
    wait_for(
        "the processes of before",
        lambda: {name for name in running() if name.endswith(f".{slot}.service")} == services,
    )
    other = first_other(slot)
    wait_for("the others' end", lambda: f".{other}." not in str(running()))
    assert {name for name in running() if name.endswith(".timer")} == {"task.timer", "often.timer"}


def test_a_release_without_any_takes_all_of_them_away(probe, deploy, running, files, web1):
    deploy()
    wait_for("their end", lambda: running() == set())
    assert {name for name in files() if not re.search(r"[.](blue|green)[.]", name)} == set()
