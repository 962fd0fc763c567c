"""Answers of a host that go to other hosts or to the control node: nothing but what they must be.

Who is root on a host can have it answer anything. A name in such an answer becomes a file's name, a
line of a configuration or a program's argument elsewhere, so each value is compared with its strict
form, and with what the control node knows, before it is used anywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

NAME = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
# Of each kind of answer: its values, each as the whole of what it may be.
FORMS: dict[str, dict[str, str]] = {
    "backup_peer": {
        "name": NAME,
        "version": r"\d{1,2}",
        "pgbackrest": r"\d{1,3}(\.\d{1,3}){1,2}(dev)?",
        # One certificate, nothing before, between or behind its lines.
        "certificate": r"-----BEGIN CERTIFICATE-----\n"
        r"([A-Za-z0-9+/]{64}\n){1,100}([A-Za-z0-9+/]{1,63}={0,2}\n)?"
        r"-----END CERTIFICATE-----\n?",
    },
    "release": {
        "id": r"[a-z0-9]{12}-[0-9a-f]{8}",
        "commit": r"[0-9a-f]{40}|tree-[0-9a-f]{11,64}",
        "from": r"([a-z0-9]{12}-[0-9a-f]{8})?",
    },
    "python": {"python": r"\d{1,2}(\.\d{1,3}){1,2}"},
}
SHOWN = 60  # characters of a value in a message


def said(answer: Any, kind: str, host: str, **known: Any) -> dict[str, Any]:  # noqa: ANN401
    """A host's answer, JSON or already read, as a dictionary of the kind's values and no others.

    `known` are values that the control node knows: the answer must have them. AnsibleFilterError
    names the host and the value. Values that the kind does not know are left out, so that nothing
    is used that was not compared.
    """
    try:
        found = json.loads(answer) if isinstance(answer, str) else answer
    except ValueError:
        found = None
    if not isinstance(found, Mapping):
        raise refused(host, "it is no dictionary in JSON", answer)
    checked = {}
    for name, form in FORMS[kind].items():
        value = found.get(name)
        if value is None:
            value = ""
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise refused(host, f"{name} is no text", value)
        if not re.fullmatch(form, str(value), re.ASCII):
            raise refused(host, f"{name} has not the form that it must have", value)
        if name in known and str(value) != str(known[name]):
            raise refused(host, f"{name} must be {known[name]}", value)
        checked[name] = value
    return checked


def said_each(answers: Mapping[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """The same for the answers of several hosts.

    For all at once: what fails in Jinja's `set` within a loop is passed over by Ansible in silence.
    """
    return {host: said(answer, kind, host) for host, answer in answers.items()}


def refused(host: str, why: str, value: object) -> AnsibleFilterError:
    text = repr(value)
    text = text if len(text) <= SHOWN else text[:SHOWN] + "…"
    return AnsibleFilterError(
        f"{host} answered what no healthy host answers: {why}, but it is {text}. Nothing of it was "
        f"used. Find out who changed {host}: it may be in somebody else's hands."
    )


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"said": said, "said_each": said_each}
