"""When something runs: systemd's calendar expressions, cron's lines translated, time zones."""

from __future__ import annotations

import difflib
import re
import zoneinfo
from collections.abc import Mapping, Sequence
from typing import Any

WEEK = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
DAYS = (*WEEK, "sun")
MONTHS = ("", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
NICKNAMES = {
    "@hourly": "hourly",
    "@daily": "daily",
    "@midnight": "daily",
    "@weekly": "Sun *-*-*",
    "@monthly": "monthly",
    "@yearly": "yearly",
    "@annually": "yearly",
}
# Minute, hour, day of the month, month: the first and last number of each.
FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12))
PART = re.compile(r"(\*|\w+)(?:-(\w+))?(?:/(\d+))?")


def number(text: str, names: Sequence[str], first: int, last: int) -> int:
    """One number of cron's; ValueError if it is none."""
    found = names.index(text.lower()) if text.lower() in names and text else int(text)
    if not first <= found <= last:
        raise ValueError(text)
    return found


def field(text: str, first: int, last: int, names: Sequence[str] = ()) -> str:
    """A field of cron's in systemd's form; ValueError where it cannot be one."""
    parts = []
    for part in text.split(","):
        low, high, step = parsed(part)
        start = first if low == "*" else number(low, names, first, last)
        end = number(high, names, first, last) if high else last if low == "*" else start
        if end < start:
            raise ValueError(part)
        span = f"{start:02}" if low == "*" else f"{start:02}..{end:02}"
        if low == "*" and not step:
            parts.append("*")
        elif end < start + int(step or 1):  # systemd refuses a step out of the range
            parts.append(f"{start:02}")
        else:
            parts.append(span + (f"/{step}" if step else ""))
    return "*" if "*" in parts else ",".join(parts)


def parsed(part: str) -> tuple[str, str | None, str | None]:
    """The lower end, the upper one and the step; ValueError if crons disagree on it.

    Of `5/15` some make 5-59/15, and others 5.
    """
    found = PART.fullmatch(part)
    if not found:
        raise ValueError(part)
    low, high, step = found.groups()
    if (low == "*" and high) or (step and int(step) == 0) or (step and low != "*" and not high):
        raise ValueError(part)
    return low, high, step


def weekdays(text: str) -> str:
    """Cron's days of the week as systemd's; empty: every day."""
    found: set[int] = set()
    for part in text.split(","):
        low, high, step = parsed(part)
        start = 0 if low == "*" else number(low, DAYS, 0, 7)
        end = 6 if low == "*" else start
        end = number(high, DAYS, 0, 7) if high else end
        if high and end == 0:  # fri-sun
            end = 7
        if end < start:
            raise ValueError(part)
        found |= {day % 7 for day in range(start, end + 1, int(step or 1))}
    monday_first = sorted(found, key=lambda day: (day - 1) % 7)
    return (
        "" if len(found) == len(WEEK) else ",".join(DAYS[day].capitalize() for day in monday_first)
    )


def each_from_cron(text: str) -> list[str]:
    """When cron's line runs, in systemd's form; none: it is not cron's, or systemd cannot say it.

    Cron runs on the days of the month and also on those of the week, where it is given both: two.
    Where one of these begins with a star it runs on the days that are both.
    """
    text = text.strip()
    if text.lower() in NICKNAMES:
        return [NICKNAMES[text.lower()]]
    words = text.split()
    if len(words) != len(FIELDS) + 1:
        return []
    try:
        minute, hour, day, month = (
            field(word, *limits, names)
            for word, limits, names in zip(words, FIELDS, ((), (), (), MONTHS), strict=False)
        )
        week = weekdays(words[4])
    except ValueError:
        return []
    time = f"{hour}:{minute}:00"
    if not words[2].startswith("*") and not words[4].startswith("*"):
        return [f"*-{month}-{day} {time}", f"{week} *-{month}-* {time}".strip()]
    return [f"{week} *-{month}-{day} {time}".strip()]


def is_cron(text: str) -> bool:
    """Whether somebody wrote it for cron."""
    words = text.split()
    five = len(words) in (5, 6) and all(re.fullmatch(r"[\w*/,?#-]+", word) for word in words)
    return text.strip().startswith("@") or (
        five and not any("-" in w[1:] and "*-" in w for w in words)
    )


def why_not(text: str) -> str:
    """Why cron's line cannot be taken as it is; empty where it can."""
    each = each_from_cron(text)
    if len(each) == 1:
        return ""
    if each:
        both = " and ".join(f'"{one}"' for one in each)
        return f"cron runs on these days of the month and of the week: two schedules, {both}"
    if text.strip().lower() == "@reboot":
        return "what runs from the start on is a process: app_processes"
    if len(text.split()) == len(FIELDS) + 2:
        return "cron's lines have five fields, the first of which is the minute"
    part = next((one for one in re.split(r"[\s,]", text) if re.fullmatch(r"\w+/\d+", one)), "")
    return (
        f"crons disagree on {part}: write first-last/step" if part else "it is no time of cron's"
    ) + ', or systemd\'s form, such as "*-*-* *:00/5:00" (`man systemd.time`)'


def calendar_wrong(calendars: Mapping[str, Any]) -> list[str]:
    """Of each expression (by what has it) that is cron's: why it is refused, and what to write."""
    found = []
    for where, text in calendars.items():
        if not is_cron(str(text)):
            continue
        why = why_not(str(text))
        write = why or f'write "{each_from_cron(str(text))[0]}"'
        found.append(f"{where}: '{text}' is cron's, and it takes systemd's form: {write}")
    return found


def when(schedule: Mapping[str, Any]) -> str:
    """When a schedule runs, in systemd's form, with its time zone."""
    text = str(schedule["on_calendar"])
    if is_cron(text) and not why_not(text):
        (text,) = each_from_cron(text)
    return f"{text} {schedule.get('time_zone') or ''}".strip()


def schedules_timed(schedules: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Schedules as a release has them: their time in one text, as systemd reads it."""
    return [
        {name: value for name, value in one.items() if name != "time_zone"}
        | {"on_calendar": when(one)}
        for one in schedules
    ]


def schedules_wrong(schedules: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with the times of schedules, but for what systemd itself must say."""
    found = []
    for one in schedules:
        where, text = f"app_schedules, {one['name']}", str(one["on_calendar"])
        zone = str(one.get("time_zone") or "")
        if is_cron(text) and (why := why_not(text)):
            found.append(f"{where}: '{text}': {why}")
        if zone and (why := timezone_wrong(zone)):
            found.append(f"{where}: time_zone {why}")
        last = text.split()[-1] if text.split() else ""
        if zone and (last == "UTC" or last in zoneinfo.available_timezones()):
            found.append(f"{where}: '{text}' has a time zone already: remove time_zone")
    return found


def timezone_wrong(name: str) -> str:
    """Why a name is not a time zone; empty when it is, or where this machine knows none."""
    known = zoneinfo.available_timezones()
    if not known or name in known:
        return ""
    ends = [zone for zone in sorted(known) if zone.rsplit("/", 1)[-1].lower() == name.lower()]
    close = ends or difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.75)
    hint = f"did you mean {close[0]}?" if close else "`timedatectl list-timezones` lists them"
    return f"'{name}' is not a time zone; {hint}"


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {
            "calendar_wrong": calendar_wrong,
            "schedules_timed": schedules_timed,
            "schedules_wrong": schedules_wrong,
            "timezone_wrong": timezone_wrong,
        }
