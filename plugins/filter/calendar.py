"""When something runs: systemd's calendar expressions, cron's lines translated, time zones."""

from __future__ import annotations

import difflib
import re
import zoneinfo
from collections.abc import Mapping, Sequence
from typing import Any

DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
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
        found = PART.fullmatch(part)
        if not found or (found[1] == "*" and found[2]):
            raise ValueError(part)
        low, high, step = found.groups()
        if low == "*":
            parts.append(f"{first:02}/{step}" if step else "*")
            continue
        start = number(low, names, first, last)
        end = number(high, names, first, last) if high else (last if step else start)
        if end < start:
            raise ValueError(part)
        each = f"/{step}" if step else ""
        parts.append(f"{start:02}..{end:02}{each}" if end > start else f"{start:02}")
    return "*" if "*" in parts else ",".join(parts)


def weekdays(text: str) -> str:
    """Cron's days of the week as systemd's; empty: every day."""
    found: set[int] = set()
    for part in text.split(","):
        match = PART.fullmatch(part)
        if not match or (match[1] == "*" and match[2]):
            raise ValueError(part)
        low, high, step = match.groups()
        start = 0 if low == "*" else number(low, DAYS, 0, 7)
        end = 6 if low == "*" or (step and not high) else start
        end = number(high, DAYS, 0, 7) if high else end
        if high and end == 0:  # fri-sun
            end = 7
        if end < start:
            raise ValueError(part)
        found |= {day % 7 for day in range(start, end + 1, int(step or 1))}
    return (
        ""
        if len(found) == len(DAYS) - 1
        else ",".join(
            DAYS[day].capitalize() for day in sorted(found, key=lambda day: (day - 1) % 7)
        )
    )


def from_cron(text: str) -> str:
    """What cron's line is for systemd; empty: it is none of cron's, or has no one equivalent."""
    text = text.strip()
    if text.lower() in NICKNAMES:
        return NICKNAMES[text.lower()]
    words = text.split()
    if len(words) != len(FIELDS) + 1:
        return ""
    try:
        minute, hour, day, month = (
            field(word, *limits, names)
            for word, limits, names in zip(words, FIELDS, ((), (), (), MONTHS), strict=False)
        )
        week = weekdays(words[4])
    except ValueError:
        return ""
    if week and day != "*":
        return ""  # cron runs on both, and systemd on days that are both
    return f"{week} *-{month}-{day} {hour}:{minute}:00".strip()


def is_cron(text: str) -> bool:
    """Whether somebody wrote it for cron."""
    words = text.split()
    five = len(words) in (5, 6) and all(re.fullmatch(r"[\w*/,-]+", word) for word in words)
    return text.strip().startswith("@") or (
        five and not any("-" in w[1:] and "*-" in w for w in words)
    )


def calendar_wrong(calendars: Mapping[str, Any]) -> list[str]:
    """Of each expression (by what has it) that is cron's: why it is refused, and what to write."""
    found = []
    for where, text in calendars.items():
        if not is_cron(str(text)):
            continue
        systemd = from_cron(str(text))
        write = (
            f'write "{systemd}"'
            if systemd
            else (
                "see `man systemd.time`; days of the month and of the week are two schedules"
                if len(str(text).split()) == len(FIELDS) + 1
                else "see `man systemd.time`"
            )
        )
        found.append(f"{where}: '{text}' is cron's, and on_calendar takes systemd's form: {write}")
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
        return {"calendar_wrong": calendar_wrong, "timezone_wrong": timezone_wrong}
