"""The files that applications write, which are in no backup: how many there are, and their size.

A fact for people, counted when somebody asks and not at the timer's looks: it is no finding, so it
makes no status red and sends no message. Deploys count the same (app/apply.py).
"""

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pergola.notes import in_no_backup
from pergola.people import size
from pergola.status.config import Site

DATA = Path("/var/lib")
# Of one application: there may be millions, and somebody waits for the page.
SECONDS = 2


@dataclass
class Files:
    """Plain files below some directories; `whole`: there was time to count all."""

    places: list[str]
    count: int
    bytes: int
    whole: bool


def seen(sites: Iterable[Site], seconds: float = SECONDS) -> dict[str, Files]:
    """What each application of this host keeps, by its name."""
    return {site.app: counted(places(site), seconds) for site in sites}


def places(site: Site) -> list[str]:
    return in_no_backup(site.app, site.files or [str(DATA / site.app)])


def counted(places: list[str], seconds: float) -> Files:
    """The plain files below directories, by find: it follows no link that somebody put there."""
    if not places:  # find would take the current directory
        return Files([], 0, 0, whole=True)
    command = ["find", *places, "-xdev", "-type", "f", "-printf", r"%s\n"]
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
        text, whole = done.stdout, True
    except subprocess.TimeoutExpired as error:
        text, whole = error.stdout or b"", False
    # The last line may be cut off.
    sizes = [int(line) for line in text[: text.rfind(b"\n") + 1].split()]
    return Files(places, len(sizes), sum(sizes), whole)


def words(found: Files | None) -> str:
    """In a few words; empty if there is nothing to say."""
    if not found or (found.whole and not found.count):
        return ""
    count, total, where = found.count, size(found.bytes), ", ".join(found.places)
    if found.whole and count == 1:
        return f"1 file in {where} ({total}) is in no backup"
    if found.whole:
        return f"{count} files in {where} ({total}) are in no backup"
    return (
        f"more files in {where} than can be counted here (over {count}, {total}) are in no backup"
    )
