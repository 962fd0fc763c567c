"""Files of somebody else's that stand where Pergola writes its own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .finding import Finding, is_ours, output, read

INFO = Path("/var/lib/dpkg/info")
SYSTEMD = Path("/etc/systemd/system")


def of_distribution(path: Path, text: bytes) -> bool:
    """Whether a file is as a package brought it."""
    owner = output("dpkg-query", "--search", str(path)).partition(":")[0]
    if not owner or "diversion" in owner:
        return False
    digest = hashlib.md5(text, usedforsecurity=False).hexdigest()
    conffiles = output("dpkg-query", "--show", "--showformat=${Conffiles}", owner)
    if found := re.search(rf"^ {re.escape(str(path))} ([0-9a-f]{{32}})", conffiles, re.MULTILINE):
        return found[1] == digest
    sums = "".join(read(one) for one in INFO.glob(f"{owner}*.md5sums"))
    return f"{digest}  {str(path).lstrip('/')}\n" in sums


def is_somebodys(path: Path) -> bool:
    """Whether a person, or a program of theirs, has made a file."""
    if path.is_symlink() or not path.is_file() or is_ours(path):
        return False
    text = path.read_bytes()
    return bool(text.strip()) and not of_distribution(path, text)


def units(names: list[str], folder: Path = SYSTEMD) -> Iterator[Finding]:
    """Units that Pergola gives a drop-in and somebody else has changed, before it did so."""
    for name in names:
        dropins = sorted((folder / f"{name}.d").glob("*.conf"))
        theirs = [path for path in dropins if not is_ours(path)]
        if len(theirs) < len(dropins):
            continue  # it is no first run
        theirs += [path for path in [folder / name] if is_somebodys(path)]
        if own := ", ".join(map(str, theirs)):
            yield Finding(
                f"unit-{name.split('.')[0].rstrip('@')}",
                f"{name} is changed by {own}, and Pergola would add its own start and sandbox",
                "take out of these what Pergola sets itself; with a yes they stay, and what sorts "
                "after 50-pergola.conf wins",
            )


def found(wanted: list[dict[str, Any]]) -> Iterator[Finding]:
    """Each of `wanted`: path, and the name and the way on where there is a better one."""
    for one in wanted:
        path = Path(one["path"])
        if is_somebodys(path):
            way = one.get("way") or (
                "move what it says elsewhere, and remove the file; with a yes it is kept beside "
                f"as {path.name}.before-pergola"
            )
            yield Finding(
                one.get("name") or path.name,
                f"{path} is not Pergola's and would be replaced",
                way,
                one.get("adoptable", True),
                str(path),
            )
