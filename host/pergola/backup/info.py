"""What `pgbackrest info --output=json` says: the parts of it that are read here."""

import json
from typing import TypedDict

Clusters = TypedDict("Clusters", {"id": int, "repo-key": int, "system-id": int, "version": str})
Of = TypedDict("Of", {"id": int, "repo-key": int})


class Archive(TypedDict):
    """An archive of one cluster."""

    database: Of


class Span(TypedDict):
    """The first and the last of something: segments of WAL, or their positions."""

    start: str
    stop: str


class Moments(TypedDict):
    """When a backup was begun and when it ended, in seconds since 1970."""

    start: int
    stop: int


class Added(TypedDict):
    """`delta`: the bytes that a backup has added to its repository."""

    delta: int


class Sizes(TypedDict):
    """`size`: the bytes of the whole cluster."""

    size: int
    repository: Added


# `error-list` is there when one backup is asked for.
Entry = TypedDict(
    "Entry",
    {
        "database": Of,
        "label": str,
        "type": str,
        "timestamp": Moments,
        "archive": Span,
        "lsn": Span,
        "info": Sizes,
        "error": bool,
        "error-list": list[str] | None,
        "annotation": dict[str, str],
    },
    total=False,
)


class Status(TypedDict, total=False):
    """Whether a repository could be asked: 0, or why not."""

    code: int
    message: str


class Repo(TypedDict):
    """A repository of the stanza."""

    status: Status


class Info(TypedDict, total=False):
    """Of one stanza, in one repository or in several."""

    archive: list[Archive]
    backup: list[Entry]
    db: list[Clusters]
    repo: list[Repo]


def stanzas_in(text: str) -> list[Info]:
    """The answer of `pgbackrest info`: with a wrong key it quotes bytes that are no text."""
    found: list[Info] = json.loads(text, strict=False)
    return found


def merged(parts: list[Info]) -> Info:
    """What several repositories say, as if it were one."""
    return Info(
        archive=[one for part in parts for one in part.get("archive", [])],
        backup=[one for part in parts for one in part.get("backup", [])],
        db=[one for part in parts for one in part.get("db", [])],
    )
