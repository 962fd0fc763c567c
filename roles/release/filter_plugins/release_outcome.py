"""What is known of a deploy in which something failed, and of its servers.

A server that does not answer is not one that failed: what was at work there goes on to its end, so
nothing is said of it but that it is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.text.converters import to_text

SHOWN = 300  # characters of a message that is none of the program's
SIGNALLED = 128  # and more: the exit code of a program that a signal ended
Result = Mapping[str, Any]


def release_lost(result: Result) -> bool:
    """Whether a call of the program began and its answer never came.

    The server cannot be reached, SSH ended half-way, without an exit code or with a 0 and no whole
    answer, or the program was killed, which a shell tells by a code of 128 and more.
    """
    if not result or result.get("skipped"):
        return False
    code = int(result.get("rc", SIGNALLED))
    whole = str(result.get("stdout") or "").rstrip().endswith("}")
    return code >= SIGNALLED or (code == 0 and not whole)


def release_outcome(servers: Mapping[str, Result], release: str, seconds: int) -> dict[str, Any]:
    """How a deploy ended (verdict: live, failed or unknown), why, and what every server serves.

    Why: `report` is all that the servers said of it, `reason` the first line of each.

    `servers`: by name, `result` of the last call, `aborted`, the answer to being told to put
    everything back, `failed`, what else failed, `lost_in`, the phases whose answer was lost.
    `seconds` is how long a lost server is waited for.
    """
    told = reports(servers, seconds)
    return {
        "verdict": verdict(servers, release),
        "reason": "; ".join(text.partition("\n")[0] for text in told),
        "report": "\n\n".join(told),
        "standing": [line for name, of in servers.items() for line in standing(name, of)],
    }


def verdict(servers: Mapping[str, Result], release: str) -> str:
    aborted = [of.get("aborted") or {} for of in servers.values()]
    if not any(aborted):
        return "live"
    results = [of.get("result") or {} for of in servers.values()]
    refused = [
        result for result in results if not release_lost(result) and result.get("rc", 0) != 0
    ]
    serving = [live(answer) == release for answer in aborted]
    # Nothing but the connection failed, and it went live meanwhile.
    if any(map(release_lost, results)) and all(serving) and not refused:
        return "live"
    return "unknown" if any(map(release_lost, aborted)) else "failed"


def live(answer: Result) -> str | None:
    """The release that a server serves, "" for none, by its answer; None: it did not say."""
    if release_lost(answer) or answer.get("rc", 1) != 0:
        return None
    try:
        return json.loads(answer["stdout"])["live"] or ""
    except (LookupError, TypeError, ValueError) as error:
        raise AnsibleFilterError(f"not the answer of the program: {to_text(error)}") from error


def reports(servers: Mapping[str, Result], seconds: int) -> list[str]:
    """Why it failed, as each server reported it."""
    found = []
    for name, of in servers.items():
        result = of.get("result") or {}
        if release_lost(result):
            during = of.get("lost_in") or "a phase"
            said = to_text(result.get("msg") or "").strip().partition("\n")[0][:SHOWN]
            found.append(
                f"{name}: could not be reached again within {seconds} s, its connection was lost "
                f"in {during}"
                if result.get("unreachable")
                else f"{name}: no answer to {during}: {said}"
            )
        elif result.get("rc", 0) != 0:
            text = to_text(result.get("stderr") or result.get("msg") or "").strip()
            found.append(text or f"{name}: no answer")
    if not found:
        told = (to_text((of.get("failed") or {}).get("msg") or "") for of in servers.values())
        found = list(dict.fromkeys(text[:SHOWN] for text in told if text))
    return found or ["the connection to a server was lost in a hook"]


def standing(name: str, of: Result) -> list[str]:
    """What a server serves, as far as it is known."""
    answer = of.get("aborted") or {}
    if release_lost(answer):
        line = f"{name} does not answer, so what it serves is unknown"
        if release_lost(of.get("result") or {}) and of.get("lost_in"):
            line += f"; what was at work there goes on to its end: {of['lost_in']}"
        return [line]
    serves = live(answer)
    if serves is not None:
        return [f"{name} serves {serves or 'nothing'}"]
    return [" ".join(to_text(answer.get("stderr") or "").split())] if answer else []


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"release_lost": release_lost, "release_outcome": release_outcome}
