"""From what each look finds to what is reported: debounced, one change at a time."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from monitoring.checks import HOLD, OK, RANK, SKIPPED, UNKNOWN, Finding


@dataclass(frozen=True)
class Change:
    """A state that is now another one."""

    name: str
    before: str
    state: str
    says: str


def settled(
    reported: dict[str, dict[str, Any]], found: Iterable[Finding], wall: float, whole: bool = True
) -> tuple[dict[str, dict[str, Any]], list[Change]]:
    """What is reported after a look, and what changed by it.

    A state is taken over after as many looks in a row as HOLD says that were all worse than the
    reported one, or all better. Of what was not found nothing is known unless the look was `whole`.
    """
    new: dict[str, dict[str, Any]] = {}
    changes: list[Change] = []
    for finding in found:
        old = reported.get(finding.name, {"state": OK, "says": "", "since": wall, "looks": 0})
        if finding.state == UNKNOWN:
            new[finding.name] = {**old, "looks": 0} if finding.name in reported else old
            continue
        direction = (RANK[finding.state] > RANK[old["state"]]) - (
            RANK[finding.state] < RANK[old["state"]]
        )
        looks = old["looks"]
        looks = looks + direction if looks * direction > 0 else direction
        if direction == 0:
            new[finding.name] = {**old, "state": finding.state, "says": finding.says, "looks": 0}
        elif abs(looks) < HOLD.get(finding.name, 1):
            new[finding.name] = {**old, "looks": looks}
        else:
            changes.append(Change(finding.name, old["state"], finding.state, finding.says))
            new[finding.name] = {
                "state": finding.state, "says": finding.says, "since": wall, "looks": 0
            }  # fmt: skip
    for name, old in reported.items():
        if name in new:
            continue
        if not whole:
            new[name] = old
        elif RANK[old["state"]] > 0:
            changes.append(Change(name, old["state"], OK, "it is no longer there to be checked"))
    return new, changes


def worst(reported: dict[str, dict[str, Any]]) -> str:
    """The worst state of all."""
    states = [entry["state"] for entry in reported.values()]
    state = max(states, key=lambda state: RANK[state], default=OK)
    return OK if state in (SKIPPED, UNKNOWN) else state
