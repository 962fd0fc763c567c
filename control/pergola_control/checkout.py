"""Which state of Pergola a checkout is, and whether it is older than another one.

A server knows the one that it was last set up with by a file, whose form stays as it is, as older
and newer checkouts read it:

    format   1
    version  that of the file VERSION, raised by hand: what orders first
    time     seconds since 1970 of the last commit that changed what reaches servers: what orders
             checkouts of one version; 0 where git does not know (no repository, a shallow clone)
    commit   its id; empty likewise
    code     a digest of what reaches servers: two checkouts that have the same are the same
    on, who  when and by whom, for people
    inventory  whose server it is: the inventory that provisions it, by its application's name;
             empty where that is not known, or several inventories share a host for copies
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from pergola_control.git import git_raw
from pergola_control.here import ROOT
from pergola_control.refusal import LimitExceededError

# What reaches servers. An inventory that lies in the same repository is another matter.
CODE = ("roles", "playbooks", "host", "control", "library", "plugins", "group_vars", "site.yml")
FORMAT = 1
GIT_LIMIT = 10  # seconds
COMMIT_SHOWN = 10  # characters


@dataclass(frozen=True)
class Checkout:
    """One state of Pergola."""

    version: str = "0"
    time: int = 0
    commit: str = ""
    code: str = ""

    def __str__(self) -> str:
        of = f" of {day(self.time)}" if self.time else ""
        return self.version + (f", commit {self.commit[:COMMIT_SHOWN]}{of}" if self.commit else "")

    def is_older(self, than: Checkout) -> bool:
        """Whether it must not follow the other one on a server."""
        if self.code == than.code:
            return False
        if numbers(self.version) != numbers(than.version):
            return numbers(self.version) < numbers(than.version)
        return bool(self.time and than.time) and self.time < than.time


def numbers(version: str) -> list[int]:
    """A version as what orders it; 1.0 and 1.0.0 are the same."""
    found = [int(number) for number in re.findall(r"\d+", version)]
    while found and not found[-1]:
        found.pop()
    return found


def day(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def here(version: str, root: Path = ROOT) -> Checkout:
    """The checkout that this file lies in."""
    digest = hashlib.sha256()
    for path in sorted(path for name in CODE for path in [root / name, *(root / name).rglob("*")]):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    commit, seconds = "", 0
    # In a shallow clone the oldest commit seems to have made everything.
    if git(root, "rev-parse", "--is-shallow-repository") == "false":
        last = git(root, "log", "-1", "--format=%H %ct", "--", *CODE).split()
        commit, seconds = (last[0], int(last[1])) if last else ("", 0)
    return Checkout(version, seconds, commit, digest.hexdigest()[:32])


def git(root: Path, *words: str) -> str:
    """What git says of the repository that a directory is in; empty where it can't tell."""
    with contextlib.suppress(OSError, LimitExceededError):
        done = git_raw(root, *words, limit=GIT_LIMIT)
        return "" if done.returncode else done.stdout.decode(errors="replace").strip()
    return ""


def read(text: str) -> tuple[Checkout, str]:
    """The checkout of a server's file, and when and by whom for people; nothing: an oldest one."""
    try:
        found = json.loads(text)
        checkout = Checkout(
            str(found["version"]),
            int(found.get("time", 0)),
            str(found.get("commit", "")),
            str(found.get("code", "")),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return Checkout(), ""
    on = f", on {found['on']}" if found.get("on") else ""
    return checkout, on + (f", by {found['who']}" if found.get("who") else "")


def owner(text: str) -> str:
    """Whose server it is by its file; empty where that is not known."""
    try:
        return str(json.loads(text).get("inventory", ""))
    except (ValueError, AttributeError):
        return ""


def written(checkout: Checkout, who: str, inventory: str = "") -> str:
    """The file of a checkout that works on a server from now on."""
    now = datetime.datetime.now(datetime.UTC).timestamp()
    document = {"format": FORMAT, **asdict(checkout), "on": day(now), "who": who}
    return json.dumps({**document, "inventory": inventory}) + "\n"
