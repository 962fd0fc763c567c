"""From what each look finds to what is reported: debounced, one change at a time."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pergola.people import DAY, HOUR
from pergola.status.look import CRITICAL, OK, RANK, UNKNOWN, WARNING, Finding, hold, worse
from pergola.status.memory import Reported

# Seconds after which what is still wrong is told once more: nobody is called at night for what can
# wait, and nothing is forgotten.
REPEATED = {CRITICAL: 24 * HOUR, WARNING: 7 * DAY}


@dataclass(frozen=True)
class Change:
    """A state that is now another one."""

    name: str
    before: str
    state: str
    says: str


def settled(
    reported: Mapping[str, Reported], found: Iterable[Finding], wall: float, whole: bool = True
) -> tuple[dict[str, Reported], list[Change]]:
    """What is reported after a look, and what changed by it.

    A state is taken over after as many looks in a row as HOLD says that were all worse than the
    reported one, or all better. Of what was not found nothing is known unless the look was `whole`.
    """
    new: dict[str, Reported] = {}
    changes: list[Change] = []
    for finding in found:
        old = reported.get(finding.name, Reported(OK, "", wall))
        if finding.state == UNKNOWN:
            new[finding.name] = dataclasses.replace(old, looks=0)
            continue
        direction = (RANK[finding.state] > RANK[old.state]) - (
            RANK[finding.state] < RANK[old.state]
        )
        looks = old.looks + direction if old.looks * direction > 0 else direction
        if direction == 0:
            new[finding.name] = Reported(finding.state, finding.says, old.since)
        elif abs(looks) < hold(finding.name):
            new[finding.name] = dataclasses.replace(old, looks=looks)
        else:
            changes.append(Change(finding.name, old.state, finding.state, finding.says))
            new[finding.name] = Reported(finding.state, finding.says, wall)
    for name, old in reported.items():
        if name in new:
            continue
        if not whole:
            new[name] = old
        elif RANK[old.state] > 0:
            changes.append(Change(name, old.state, OK, "it is no longer there to be checked"))
    return new, changes


def to_be_repeated(
    told: Mapping[str, float],
    reported: Mapping[str, Reported],
    changes: Iterable[Change],
    now: float,
) -> tuple[dict[str, float], list[str]]:
    """When each thing that is wrong was last told, and which of them are to be told once more."""
    changed = {change.name for change in changes}
    new: dict[str, float] = {}
    again = []
    for name, entry in reported.items():
        after = REPEATED.get(entry.state)
        if after is None:
            continue
        new[name] = now if name in changed else told.get(name, now)
        if now - new[name] >= after:
            new[name] = now
            again.append(name)
    return new, again


def worst(reported: Mapping[str, Reported]) -> str:
    """The worst state of all: ok, warning or critical."""
    state = worse(OK, *(entry.state for entry in reported.values()))
    return state if RANK[state] else OK
