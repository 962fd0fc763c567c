"""The journal: lines that were dropped because a unit wrote too many."""

import json
import re
from collections.abc import Iterable, Iterator

from pergola.status.config import SECONDS
from pergola.status.look import OK, WARNING, Finding, Look
from pergola.system import attempt

# journald's own message about what it dropped: SD_MESSAGE_JOURNAL_DROPPED of sd-messages.h.
DROPPED = "a596d6fe7bfa4994828e72309e95d61e"
UNIT = re.compile(r" from (\S+?)\.?$")


def dropped() -> dict[str, int]:
    """How many lines of each unit were dropped in the last hour."""
    asked = ("journalctl", "--quiet", "--no-pager", "--output=json", "--since=-1h")
    # It ends with 1 where there is no such line.
    said = attempt(*asked, f"MESSAGE_ID={DROPPED}", timeout=SECONDS).stdout
    return counted(said.splitlines())


def counted(lines: Iterable[str]) -> dict[str, int]:
    """The sums of journald's messages, JSON lines as journalctl prints them."""
    found: dict[str, int] = {}
    for line in lines:
        entry = json.loads(line)
        unit = UNIT.search(entry.get("MESSAGE", ""))
        name = unit[1] if unit else "an unknown unit"
        found[name] = found.get(name, 0) + int(entry.get("N_DROPPED", 1))
    return found


def journal(look: Look) -> Iterator[Finding]:
    here = look.seen.dropped_lines or {}
    if not here:
        yield Finding("journal", OK, "no unit has written more than it may")
        return
    dropped = ", ".join(f"{count} lines of {unit}" for unit, count in sorted(here.items()))
    says = (
        f"{dropped} were dropped in the last hour, as more was written than may be; see what with "
        "`journalctl -u UNIT` (an application's limit is app_log_lines_per_second)"
    )
    yield Finding("journal", WARNING, says)


CHECKS = (journal,)
