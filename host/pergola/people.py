"""Seconds, bytes, moments and messages, as people write and read them."""

import contextlib
import datetime
import os
import re
import syslog
import time

from pergola.errors import PergolaError

MINUTE, HOUR, DAY = 60, 3600, 86400
UNITS = {"": 1, "s": 1, "m": MINUTE, "h": HOUR, "d": DAY}
LINES_SHOWN = 25
EXAMPLE = "2026-11-29T14:05:00Z"


# -- lengths of time -------------------------------------------------------------------------------


def seconds(text: str) -> int:
    """A length of time such as 90, 90s, 10m, 2h or 1d in seconds; PergolaError for another one."""
    found = re.fullmatch(r"(\d+)([smhd]?)", text.strip())
    if not found or not int(found[1]):
        raise PergolaError(f"'{text}' is not a length of time", hint="write 90s, 10m or 2h")
    return int(found[1]) * UNITS[found[2]]


def duration(count: float) -> str:
    """Seconds in their largest sensible unit."""
    for unit, name in ((DAY, "days"), (HOUR, "hours"), (MINUTE, "minutes")):
        if count >= 2 * unit:
            return f"{count / unit:.0f} {name}"
    return f"{count:.0f} seconds"


def uptime() -> float:
    """Seconds since the start of the system, which no setting of the clock changes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


# -- sizes -----------------------------------------------------------------------------------------


def size(count: float) -> str:
    """Bytes, in steps of 1000 as the units' names say and disks are sold."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.95 or (unit == "B" and count < 1000):
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


# -- moments ---------------------------------------------------------------------------------------


def stamp(moment: float) -> str:
    """Seconds since 1970 as people and PostgreSQL read them: UTC, to the second."""
    return of_seconds(moment).strftime("%Y-%m-%d %H:%M:%S+00")


def iso(moment: float) -> str:
    """Seconds since 1970 as documents have them, and as `moment_of` takes them."""
    return of_seconds(moment).strftime("%Y-%m-%dT%H:%M:%SZ")


def local(moment: float) -> str:
    """Seconds since 1970 in this host's time zone, which is named."""
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(moment))


def of_seconds(moment: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(moment, datetime.UTC)


def moment_of(text: str, now: float) -> float:
    """A moment as people write it, in seconds since 1970; PergolaError unless there was one.

    One that counts from now, as -90m, is another moment at each call.
    """
    moment = moment_written(text, now)
    if moment > now:
        raise PergolaError(f"{stamp(moment)} lies in the future: it is {stamp(now)}")
    return moment


def moment_written(text: str, now: float) -> float:
    """The same, also of a moment that is still to come; PergolaError unless it is one moment."""
    if ago := re.fullmatch(r"-(\d+)([smhd])", text):
        return now - int(ago[1]) * UNITS[ago[2]]
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        raise PergolaError(
            f"'{text}' is a whole day", hint=f"give the time too, without a space: {EXAMPLE}"
        )
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise PergolaError(f"'{text}' is not a time", hint=f"write {EXAMPLE}, or -15m") from None
    if moment.tzinfo is None:
        raise PergolaError(
            f"'{text}' does not say in which time zone",
            hint=f"add Z for UTC (it is {stamp(now)}), or an offset: {EXAMPLE}",
        )
    return moment.timestamp()


# -- messages --------------------------------------------------------------------------------------


def last_lines(text: str, most: int = LINES_SHOWN) -> str:
    return "\n".join(text.strip().splitlines()[-most:])


# Shell: of a program that may print without end the first 500 lines and the last; then the program.
# journalctl has either, by its version.
ENDS = """"$0" "$@" | awk 'NR <= 500; NR > 500 { last[NR % 500] = $0 }
  END { for (n = NR - 499; n <= NR; n++) if (n > 500) print last[n % 500] }'"""


def shortened(text: str, most: int = 30) -> str:
    """The first and the last lines of a text."""
    lines = text.strip().splitlines()
    if len(lines) > most:  # what it does again and again must not hide how it started
        half = most // 2
        lines = [*lines[:half], f"(… {len(lines) - 2 * half} lines …)", *lines[-half:]]
    return "\n".join(lines)


def say(text: str, program: str = "pergola") -> None:
    """Tell whoever called, who may be gone, and the journal (`journalctl -t PROGRAM`)."""
    syslog.openlog(program)
    for line in text.splitlines():
        syslog.syslog(line)
    if "JOURNAL_STREAM" in os.environ:  # there it is already
        return
    with contextlib.suppress(OSError):
        print(text, flush=True)
