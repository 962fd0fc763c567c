"""What is written for cron is refused with the line to write; systemd reads that line."""

import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[2] / "plugins/filter/calendar.py"
spec = importlib.util.spec_from_file_location("calendar_filter", PATH)
calendar = importlib.util.module_from_spec(spec)
spec.loader.exec_module(calendar)


@pytest.mark.parametrize(
    ("cron", "systemd"),
    [
        ("0 3 * * *", "*-*-* 03:00:00"),
        ("*/5 * * * *", "*-*-* *:00/5:00"),
        ("30 2 * * 0", "Sun *-*-* 02:30:00"),
        ("0 9-17 * * 1-5", "Mon,Tue,Wed,Thu,Fri *-*-* 09..17:00:00"),
        ("5 4 * * sun", "Sun *-*-* 04:05:00"),
        ("0 0 1 jan,jul *", "*-01,07-01 00:00:00"),
        ("0 0 */2 * *", "*-*-01/2 00:00:00"),
        ("0 22 * * fri-sun", "Fri,Sat,Sun *-*-* 22:00:00"),
        ("10-50/20 * * * *", "*-*-* *:10..50/20:00"),
        ("5/15 * * * *", "*-*-* *:05..59/15:00"),
        ("@daily", "daily"),
        ("@reboot", ""),
        ("0 0 13 * 5", ""),
        ("61 * * * *", ""),
        ("0 0 3 * * *", ""),
    ],
)
def test_a_line_of_cron_s_is_refused_with_what_to_write(cron, systemd):
    assert calendar.from_cron(cron) == systemd
    (said,) = calendar.calendar_wrong({"app_schedules, often": cron})
    assert f"app_schedules, often: '{cron}' is cron's" in said
    assert (f'write "{systemd}"' if systemd else "man systemd.time") in said
    if systemd and shutil.which("systemd-analyze"):
        subprocess.run(
            ["systemd-analyze", "calendar", systemd], check=True, capture_output=True, text=True
        )


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
