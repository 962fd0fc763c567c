"""What is written for cron runs when cron would run it, or is refused with what to write."""

import datetime
import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[2] / "plugins/filter/calendar.py"
spec = importlib.util.spec_from_file_location("calendar_filter", PATH)
calendar = importlib.util.module_from_spec(spec)
spec.loader.exec_module(calendar)


CRONS = {
    "0 3 * * *": "*-*-* 03:00:00",
    "*/5 * * * *": "*-*-* *:00/5:00",
    "*/7 3 * * *": "*-*-* 03:00/7:00",
    "30 2 * * 0": "Sun *-*-* 02:30:00",
    "0 9-17 * * 1-5": "Mon,Tue,Wed,Thu,Fri *-*-* 09..17:00:00",
    "5 4 * * sun": "Sun *-*-* 04:05:00",
    "0 12 * * 7": "Sun *-*-* 12:00:00",
    "0 12 * * 0-7": "*-*-* 12:00:00",
    "0 12 * * */2": "Tue,Thu,Sat,Sun *-*-* 12:00:00",
    "0 0 1 jan,jul *": "*-01,07-01 00:00:00",
    "0 0 */2 * *": "*-*-01/2 00:00:00",
    "0 0 29 2 *": "*-02-29 00:00:00",
    "0 0 */2 * 1": "Mon *-*-01/2 00:00:00",
    "0 0 1 * */2": "Tue,Thu,Sat,Sun *-*-01 00:00:00",
    "0 0 */10,15 * */3": "Wed,Sat,Sun *-*-01/10,15 00:00:00",
    "0 0 */1 * 5": "Fri *-*-01/1 00:00:00",
    "15,45 8-18/3 1-15 */4 *": "*-01/4-01..15 08..18/3:15,45:00",
    "0 22 * * fri-sun": "Fri,Sat,Sun *-*-* 22:00:00",
    "10-50/20 4 * * *": "*-*-* 04:10..50/20:00",
    "*/70 3 * * *": "*-*-* 03:00:00",
    "10-20/30 3 * * *": "*-*-* 03:10:00",
    "@daily": "daily",
    "@weekly": "Sun *-*-*",
    "@monthly": "monthly",
    "@yearly": "yearly",
}
NICKNAMES = {
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
NAMES = {"sun": 0, "fri": 5, "jan": 1, "jul": 7}
YEAR = 2028  # a leap year


def members(text, first, last):
    """The numbers of one of cron's fields, by its manual."""
    found = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        low, _, high = (f"{first}-{last}" if span == "*" else span).partition("-")
        low, high = (NAMES.get(end, end) for end in (low, high or low))
        high = 7 if high == 0 and low else high  # fri-sun
        found |= set(range(int(low), int(high) + 1, int(step or 1)))
    return found


def elapses(cron):
    """When cron runs a line within a year."""
    minute, hour, day, month, week = NICKNAMES.get(cron, cron).split()
    minutes, hours = members(minute, 0, 59), members(hour, 0, 23)
    days, months = members(day, 1, 31), members(month, 1, 12)
    weekdays = {number % 7 for number in members(week, 0, 7)}
    date = datetime.date(YEAR, 1, 1)
    found = []
    while date.year == YEAR:
        if date.month in months and date.day in days and date.isoweekday() % 7 in weekdays:
            found += [f"{date} {h:02}:{m:02}:00" for h in sorted(hours) for m in sorted(minutes)]
        date += datetime.timedelta(days=1)
    return found


def systemd_s(text, count):
    """The first elapses of an expression in that year, as systemd computes them."""
    command = ["systemd-analyze", "calendar"]
    done = subprocess.run(
        [*command, f"--iterations={count}", "--base-time=2027-12-31 23:59:59", text],
        env={**os.environ, "TZ": "UTC", "LC_ALL": "C"},
        check=True,
        capture_output=True,
        text=True,
    )
    found = re.findall(r"(?:Next elapse|Iter\. #\d+): \w+ ([\d-]+ [\d:]+) UTC", done.stdout)
    return [moment for moment in found if moment.startswith(str(YEAR))]


@pytest.mark.parametrize(("cron", "systemd"), CRONS.items())
def test_a_line_of_cron_s_is_translated(cron, systemd):
    schedule = {"name": "often", "on_calendar": cron, "command": "x"}
    assert calendar.schedules_wrong([schedule]) == []
    assert calendar.schedules_timed([schedule]) == [{**schedule, "on_calendar": systemd}]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not here")
@pytest.mark.parametrize(("cron", "systemd"), CRONS.items())
def test_systemd_runs_it_at_the_times_at_which_cron_would(cron, systemd):
    wanted = elapses(cron)[:2000]
    assert systemd_s(systemd, len(wanted) + 1)[: len(wanted)] == wanted


@pytest.mark.parametrize(
    ("cron", "says"),
    [
        ("@reboot", "app_processes"),
        ("@every 5m", "no time of cron's"),
        ("0 0 13 * 5", 'two schedules, "*-*-13 00:00:00" and "Fri *-*-* 00:00:00"'),
        ("0 0 13 * 0-6", 'two schedules, "*-*-13 00:00:00" and "*-*-* 00:00:00"'),
        ("5/15 * * * *", "crons disagree on 5/15: write first-last/step"),
        ("0 0 * * 1/2", "crons disagree on 1/2"),
        ("61 * * * *", "*-*-* *:00/5:00"),
        ("*/0 * * * *", "*-*-* *:00/5:00"),
        ("0 0 L * *", "*-*-* *:00/5:00"),
        ("0 0 ? * 2", "*-*-* *:00/5:00"),
        ("20-10 * * * *", "*-*-* *:00/5:00"),
        ("0 0 3 * * *", "five fields"),
    ],
)
def test_what_systemd_cannot_say_is_refused_with_what_to_write(cron, says):
    (said,) = calendar.schedules_wrong([{"name": "often", "on_calendar": cron}])
    assert said.startswith(f"app_schedules, often: '{cron}': ")
    assert says in said


def test_a_setting_of_the_server_takes_systemd_s_form_only():
    (said,) = calendar.calendar_wrong({"backup_full_on_calendar": "0 3 * * *"})
    assert said.startswith("backup_full_on_calendar: '0 3 * * *' is cron's")
    assert said.endswith('write "*-*-* 03:00:00"')


def test_a_time_zone_goes_with_the_time():
    vienna = {"name": "often", "on_calendar": "0 3 * * *", "time_zone": "Europe/Vienna"}
    assert calendar.schedules_wrong([vienna]) == []
    (timed,) = calendar.schedules_timed([vienna])
    assert timed == {"name": "often", "on_calendar": "*-*-* 03:00:00 Europe/Vienna"}
    if shutil.which("systemd-analyze"):
        assert systemd_s(timed["on_calendar"], 1) == ["2028-01-01 02:00:00"]


@pytest.mark.parametrize(
    ("schedule", "says"),
    [
        ({"on_calendar": "daily", "time_zone": "Vienna"}, "did you mean Europe/Vienna?"),
        ({"on_calendar": "daily UTC", "time_zone": "Europe/Vienna"}, "remove time_zone"),
    ],
)
def test_a_time_zone_that_cannot_be_is_refused(schedule, says):
    (said,) = calendar.schedules_wrong([{"name": "often", **schedule}])
    assert said.startswith("app_schedules, often: ")
    assert says in said


@pytest.mark.parametrize(
    "text",
    [
        "*-*-* 03:00",
        "daily",
        "*:0/5",
        "Mon..Fri *-*-* 09:00",
        "*:*:0/2",
        "Sun *-*-1..7 02:30 Europe/Vienna",
        "2026-01-01 00:00:00 UTC",
        "Sun *-*-* 02:30",
    ],
)
def test_systemd_s_own_is_not_taken_for_cron_s(text):
    assert calendar.calendar_wrong({"x": text}) == []


def test_a_time_zone_that_is_none_is_refused_with_the_one_that_was_meant():
    assert calendar.timezone_wrong("Europe/Vienna") == ""
    assert calendar.timezone_wrong("Etc/UTC") == ""
    assert "did you mean Europe/Vienna?" in calendar.timezone_wrong("vienna")
    assert "did you mean Europe/Berlin?" in calendar.timezone_wrong("Europe/Berlim")
    assert calendar.timezone_wrong("Wien").startswith("'Wien' is not a time zone; ")
