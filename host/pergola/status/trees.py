"""The live releases' files: whether somebody has edited them since the deploy."""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from pergola import apps
from pergola.status.memory import Tree
from pergola.status.seen import Application

# The parts of a release that nobody changes after it was made. The virtual environment has
# thousands of files, so it is looked through more rarely.
PARTS, LARGE = ("code", "environment", "credentials", "release.json"), "venv"
LARGE_EVERY = 600
# Releases whose first sight is remembered.
KEPT = 10


def trees(here: Iterable[Application], known: dict[str, Tree], now: float) -> dict[str, Tree]:
    """The live releases' files by digests, and which changed since they were first seen.

    By size and time, as their content would take too long every minute. The first sight is that of
    the minute after the deploy. `now` is the clock of the host's uptime, `known` what was seen
    before.
    """
    found = {}
    for app in here:
        if app.release is None:
            continue
        path = apps.HOMES / app.app / "releases" / app.release
        try:
            made = (path / "ready").stat().st_mtime_ns
        except FileNotFoundError:  # the site's own checks say what that does
            continue
        found[app.app] = tree(path, f"{app.release} {made}", known.get(app.app), now)
    return found


def tree(path: Path, key: str, before: Tree | None, now: float) -> Tree:
    """One release; `before` is what was seen of its application before."""
    same = before if before and before.key == key else None
    digests = {part: digest(path / part) for part in PARTS}
    if same and 0 <= now - same.large_at < LARGE_EVERY:
        digests[LARGE], at = same.large, same.large_at
    else:
        digests[LARGE], at = digest(path / LARGE), now
    firsts = before.firsts if before else {}
    first = firsts.get(key, digests)
    changed = [part for part in digests if digests[part] != first[part]]
    # A rollback may come back to one that was edited.
    others = {name: parts for name, parts in firsts.items() if name != key}
    return Tree(
        key,
        firsts=dict([*others.items(), (key, first)][-KEPT:]),
        large=digests[LARGE],
        large_at=at,
        changed=[name for part in changed for name in newest(path, path / part)],
    )


def files(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """A file, or all files of a directory in order, without what Python compiles."""
    if not path.is_dir() or path.is_symlink():
        if os.path.lexists(path):
            yield str(path), path.lstat()
        return
    for folder, names, inside in os.walk(path):
        names[:] = sorted(name for name in names if name != "__pycache__")
        for name in sorted([*inside, *names]):
            full = f"{folder}/{name}"
            there = os.lstat(full)
            if not stat.S_ISDIR(there.st_mode):
                yield full, there


def digest(path: Path) -> str:
    seen = hashlib.sha256()
    for name, there in files(path):
        seen.update(f"{name}\0{there.st_size}\0{there.st_mtime_ns}\n".encode(errors="replace"))
    return seen.hexdigest()[:32]


def newest(release: Path, part: Path) -> list[str]:
    """The files of a changed part that changed last."""
    there = sorted(files(part), key=lambda one: one[1].st_ctime_ns, reverse=True)
    return [os.path.relpath(name, release) for name, _ in there[:1]] or [part.name]
