"""What is known of all hosts: the backups and keys that each has."""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

# A stanza becomes the name of files on other hosts.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class SeenStanza(TypedDict):
    """Backups of one server in one place of a host; `systems`: identifiers of clusters."""

    name: str
    place: str
    host: str
    systems: list[str]
    version: str
    newest: int


class SeenKey(TypedDict):
    """A key that a host has; `current`: it is in use there."""

    place: str
    stanza: str
    key: str
    current: bool


class Seen(TypedDict, total=False):
    """What the module backups_seen says of a host: its own cluster and stanza, what it keeps."""

    system: str
    stanza: str
    stanzas: list[SeenStanza]
    keys: list[SeenKey]


class Told(TypedDict):
    """What role backup tells of all hosts.

    `databases`, `keepers`: the hosts of these groups; `inventory`: all of them; `named`: the
    backup_stanza of each; `control`: the key in use on the control node, by its place, at most one;
    `beside`: others there; `directory`: where the inventory is; `site`: the command that sets
    servers up; `versions`: of PostgreSQL, by host.
    """

    hosts: dict[str, Seen]
    databases: list[str]
    keepers: list[str]
    inventory: list[str]
    named: dict[str, str]
    control: dict[str, str]
    beside: dict[str, str]
    directory: str
    site: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Stanza:
    """Backups that a host knows of; `host` is the inventory's name of the server they are of."""

    holder: str
    name: str
    place: str
    host: str
    systems: tuple[str, ...]
    version: str
    newest: int

    def words(self) -> str:
        made = f", the newest of {stamp(self.newest)}" if self.newest else ""
        return f"{self.holder} holds backups of {self.name} ({self.place}{made})"


@dataclass(frozen=True)
class Key:
    """A key and where it is; `reads`: it opens the backups there."""

    holder: str
    place: str
    stanza: str
    key: str
    current: bool
    reads: bool = False

    @property
    def where(self) -> str:
        return f"{self.holder}:{self.place}" if self.holder else self.place


@dataclass(frozen=True)
class Known:
    """What is known of all hosts; see Told."""

    hosts: Mapping[str, Seen]
    databases: Sequence[str]
    keepers: Sequence[str]
    inventory: Sequence[str]
    named: Mapping[str, str]
    control: Mapping[str, str]
    beside: Mapping[str, str]
    stanzas: tuple[Stanza, ...] = field(default=())

    @classmethod
    def of(cls, told: Told) -> Known:
        hosts = {name: seen for name, seen in told["hosts"].items() if seen and "stanzas" in seen}
        stanzas = tuple(
            Stanza(
                *(holder, one["name"], one["place"], one["host"], tuple(one["systems"])),
                *(one["version"], one["newest"]),
            )
            for holder, seen in hosts.items()
            for one in seen["stanzas"]
            if NAME.fullmatch(one["name"])
        )
        return cls(
            hosts,
            told["databases"],
            told["keepers"],
            told["inventory"],
            {name: text for name, text in told["named"].items() if text},
            told["control"],
            told["beside"],
            stanzas,
        )

    def system(self, host: str) -> str:
        return self.hosts.get(host, Seen()).get("system", "")

    def is_of_another(self, stanza: Stanza, host: str) -> bool:
        """Whether backups are those of another server of this inventory."""
        others = set(self.inventory) - {host}
        names = others | {name for one, name in self.named.items() if one != host}
        return stanza.host in others or (stanza.host != host and stanza.name in names)


def stamp(seconds: int) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def fingerprint(key: str) -> str:
    """A key's name in messages: nothing can be read with it."""
    return hashlib.sha256(key.encode()).hexdigest()[:8]
