"""What a plan is made of: the release that is live on a host, and the one that would be."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

Work = Mapping[str, object]  # a process or a schedule
Works = Mapping[str, Work]  # by their names


class Release(TypedDict, total=False):
    """What both say of themselves; `date` is ISO 8601."""

    id: str
    commit: str
    describe: str
    date: str


class Live(Release, total=False):
    """What the host says of its live release; None stands for what it does not know."""

    current: bool  # its process has started with the files of its units as they are
    runs_after: bool  # its app_migrate_after_command has not succeeded yet
    revision: str | None  # the database's
    lock: str | None  # the text of it
    lock_name: str
    directory: str
    config: Mapping[str, object] | None
    environment: Sequence[str] | None
    processes: Sequence[Work] | Works | None
    schedules: Sequence[Work] | Works | None


class Procfile(TypedDict, total=False):
    """What the release has of it, by the settings' names; what is said of each line."""

    settings: Mapping[str, object]
    said: Sequence[str]


class New(Release, total=False):
    """What `source` printed, with the release's settings."""

    archive: str
    installer: str
    lock: str
    directory: str
    root: str  # what of the repository is packed
    python: Mapping[str, object]  # which versions were asked for, and where
    interpreter: str  # the path of its Python; empty: the server's usual one
    config: Mapping[str, object]
    environment: Sequence[str]  # the names of its variables
    database_elsewhere: Mapping[str, str]  # libpq's variables of another server's
    processes: Sequence[Work] | Works
    schedules: Sequence[Work] | Works
    procfile: Procfile


class Order(TypedDict, total=False):
    """What is asked: `files` are those that slots start from and that this run would write."""

    app: str
    host: str
    files: Sequence[str]
    new: New
    live: Live | None


def short(release: Release) -> str:
    """A commit as people write it; a directory's files as their release id begins."""
    commit = release["commit"]
    return release["id"].partition("-")[0] if commit.startswith("tree-") else commit[:7]


def described(release: Release) -> str:
    """One line about a release, from what it says of itself."""
    day = (release.get("date") or "")[:10]
    return f"{short(release)} {release.get('describe') or ''}" + (f" ({day})" if day else "")
