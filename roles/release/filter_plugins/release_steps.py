"""Which phases of a deploy run where, and what must have happened before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

# Phases that one host goes through first: the migration is for all, and a switch is tried on one.
FIRST_ONLY = frozenset({"migrate", "migrate_after"})
FIRST_THEN_OTHERS = (("switch", "bake"),)
WHEN = ("before", "after")


def release_steps(
    phases: Sequence[str], hosts: Sequence[str], hooks: Collection[str] = (), points: bool = False
) -> list[dict[str, Any]]:
    """The steps of a deploy: each has phases, hosts, and the hooks before and after ("" for none).

    `points`: another host makes one before what changes the database; `point` of a step says so.

    All hosts end a step before any begins the next. What the same hosts do one after the other
    is one step, hence one round trip, unless a hook comes between.
    """
    steps: list[dict[str, Any]] = []
    for part, there in parts(phases, hosts):
        for phase in part:
            before, after = (f"{when}_{phase}.yml" for when in WHEN)
            # A hook is for the phase as a whole: before its first host, after its last one.
            last = there[-1] == hosts[-1] or phase in FIRST_ONLY
            before = before if before in hooks and there[0] == hosts[0] else ""
            after = after if after in hooks and last else ""
            step = {"phases": [phase], "hosts": there, "before": before, "after": after}
            steps.append({**step, "point": points and phase in FIRST_ONLY})
    merged: list[dict[str, Any]] = []
    for step in steps:
        same = merged and merged[-1]["hosts"] == step["hosts"]
        if same and not merged[-1]["after"] and not step["before"] and not step["point"]:
            merged[-1]["phases"] += step["phases"]
            merged[-1]["after"] = step["after"]
        else:
            merged.append(step)
    return merged


def parts(phases: Sequence[str], hosts: Sequence[str]) -> list[tuple[list[str], list[str]]]:
    """Phases that stay together, with the hosts that go through them."""
    first, others, done = list(hosts[:1]), list(hosts[1:]), set()
    found: list[tuple[list[str], list[str]]] = []
    for phase in phases:
        together = next((list(t) for t in FIRST_THEN_OTHERS if phase in t), [phase])
        together = [name for name in together if name in phases and name not in done]
        done |= set(together)
        if not together:
            continue
        if together[0] in FIRST_ONLY:
            found.append((together, first))
        elif len(together) > 1 and others:
            found += [(together, first), (list(together), others)]
        else:
            found.append((together, list(hosts)))
    return found


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"release_steps": release_steps}
