"""The times at which backups begin: they exist on every day, wherever the server keeps its time."""

import datetime
import re
import zoneinfo
from pathlib import Path

import pytest
import yaml

DEFAULTS = Path(__file__).parents[2] / "roles/backup/defaults/main.yml"
CALENDARS = {
    name: value
    for name, value in yaml.safe_load(DEFAULTS.read_text()).items()
    if name.endswith("_on_calendar")
}
FIRST, DAYS = datetime.date(2026, 1, 1), 365 * 4


def missing(zone, hour, minute):
    """The days without that time: the clocks went over it."""
    found = []
    for number in range(DAYS):
        day = FIRST + datetime.timedelta(days=number)
        there = datetime.datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
        if there.astimezone(datetime.UTC).astimezone(zone).replace(tzinfo=zone) != there:
            found.append(day)
    return found


ZONES = ("Europe/Vienna", "Europe/London", "Europe/Athens", "America/New_York", "America/Santiago",
         "America/Nuuk", "Asia/Beirut", "Asia/Jerusalem", "Africa/Cairo", "Atlantic/Azores",
         "Australia/Lord_Howe", "Pacific/Auckland", "Antarctica/Troll")  # fmt: skip


@pytest.mark.parametrize("name", CALENDARS)
def test_the_default_times_exist_on_every_day_in_every_zone(name):
    hour, minute = map(int, re.search(r"(\d\d):(\d\d)$", CALENDARS[name]).groups())
    for zone in ZONES:
        assert missing(zoneinfo.ZoneInfo(zone), hour, minute) == [], zone


def test_a_time_that_does_not_exist_is_found():
    assert datetime.date(2027, 3, 28) in missing(zoneinfo.ZoneInfo("Europe/Vienna"), 2, 30)
