"""Which backups are a server's, and with which key, by what all hosts know before a change.

A server goes on with the stanza whose cluster it has, whatever that is called; a new one begins the
stanza of its inventory name. Where it would begin an empty database beside backups that may be its
own, or where another key would take the place of one that backups were made with, there is a
question instead.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

# Ansible loads a plugin as a file, of no package.
sys.path.append(str(Path(__file__).resolve().parents[3] / "control"))
from pergola_control.backups.keys import key_of_all
from pergola_control.backups.known import Known, Told
from pergola_control.backups.stanzas import lost_backups, other_version, question, shared, stanza_of


class Decided(TypedDict):
    """What is decided for all servers.

    `stanzas`, `questions`: by server. `lost`: servers whose backups are another cluster's, and
    which `-e rebuild=true` brings back. `twins`: what two servers share, in words. `key`: what the
    control node lacks. `key_question`: what is wrong with the keys, in words.
    """

    stanzas: dict[str, str]
    questions: dict[str, str]
    lost: list[str]
    twins: str
    key: str
    key_question: str


def identity(told: Told) -> Decided:
    """Decide for all servers."""
    known = Known.of(told)
    stanzas = {host: stanza_of(known, host) for host in known.databases}
    asked = {host: stanzas[host] for host in known.databases if host in known.hosts}
    questions = {host: question(known, host, stanzas, told) for host in asked}
    lost = {
        host: found for host, name in asked.items() if (found := lost_backups(known, host, name))
    }
    versions = told["versions"]
    key, key_question = key_of_all(known, asked)
    return {
        "stanzas": stanzas,
        "questions": {host: text for host, text in questions.items() if text},
        "lost": [one for one in lost if not other_version(lost[one], versions.get(one, ""))],
        "twins": shared(asked, known),
        "key": key,
        "key_question": key_question,
    }


class FilterModule:
    """Ansible's way to name filters."""

    def filters(self) -> dict[str, Callable[[Told], Decided]]:
        return {"backup_identity": identity}
