"""A repository of restic's, copied from another host file by file.

Each of its files is written once, and called by the SHA-256 of its content: what is there is never
fetched again, and nothing else is taken for it. Only `config`, with which a repository begins, has
no such name; it is fetched last, so that a copy that has it is whole.
"""

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pergola.backup.files.remote import Remote
from pergola.errors import ROOM_HINT, PergolaError
from pergola.people import size
from pergola.system import persist

# In the order in which restic writes them: what one of them names is there before it.
PARTS = ("data", "index", "keys", "snapshots", "config")
NAME = re.compile(r"config|(?:index|keys|snapshots)/[0-9a-f]{64}|data/([0-9a-f]{2})/\1[0-9a-f]{62}")
# A backup, or the removal of one, may be at work there: what it has written since is listed again.
ROUNDS = 10


@dataclass
class Mirror:
    """A copy, and what it is of. `listed`: what there is; `refused`: what was not taken, and why.

    `began`: the time that the new files get.
    """

    remote: Remote
    place: Path
    listed: dict[str, int] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    began: float = field(default_factory=time.time)

    def have(self) -> dict[str, int]:
        return files(self.place)

    def look(self, parts: Sequence[str] = PARTS) -> None:
        """See what there is: of restic's files, and nothing else by whatever name."""
        self.listed = {
            path: count
            for path, count in self.remote.files().items()
            if NAME.fullmatch(path) and path.split("/")[0] in parts
        }

    def fetch(self, parts: Sequence[str] = PARTS) -> int:
        """Have all that there is; how many files are new."""
        have = set(self.have())
        before = len(have)
        for _ in range(ROUNDS):
            self.look(parts)
            new = self.listed.keys() - have
            if "config" not in have | self.listed.keys():
                return 0  # there is no repository, or not yet
            got = {path for path in sorted(new, key=rank) if self.get(path)}
            have |= got
            # What has gone meanwhile is no fault.
            self.refused = {path: why for path, why in self.refused.items() if path in new - got}
            if not got:
                break
        return len(have) - before

    def get(self, path: str) -> bool:
        """Fetch one file; whether it is there now, complete and what its name says."""
        count = self.listed[path]
        # As for others: the last of the disk is root's, and must stay so.
        if shutil.disk_usage(self.place).free < count:
            raise PergolaError(
                f"there is no room for {size(count)} more in {self.place}", hint=ROOM_HINT
            )
        to, beside = self.place / path, self.place / ".new"
        beside.unlink(missing_ok=True)
        with beside.open("xb+") as file:
            why = self.remote.get(path, file, count) or wrong(file, path, count)
            if not why:
                os.fchmod(file.fileno(), 0o440)
                os.utime(file.fileno(), (self.began, self.began))
                os.fsync(file.fileno())
                to.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
                beside.replace(to)
        beside.unlink(missing_ok=True)
        if why:
            self.refused[path] = why
            return False
        persist(to.parent)
        return True

    def is_same(self) -> bool:
        """Whether what there is now is the repository that this is the copy of."""
        mine = (self.place / "config").read_bytes()
        with tempfile.TemporaryFile() as file:
            why = self.remote.get("config", file, len(mine))
            file.seek(0)
            return not why and file.read() == mine


def files(place: Path) -> dict[str, int]:
    """The sizes of a repository's files, by their paths in it."""
    found = {}
    for folder, _, names in os.walk(place):
        for path in (Path(folder, name) for name in names):
            if NAME.fullmatch(relative := str(path.relative_to(place))):
                found[relative] = path.stat().st_size
    return found


def rank(path: str) -> tuple[int, str]:
    return PARTS.index(path.split("/")[0]), path


def wrong(file: BinaryIO, path: str, count: int) -> str:
    """Why a file's content is not what its name and size say; empty: it is."""
    found = os.fstat(file.fileno()).st_size
    if found != count:
        return f"has {found} bytes, and was listed with {count}"
    return (
        "" if path == "config" or digest(file) == Path(path).name else "is not what its name says"
    )


def digest(file: BinaryIO) -> str:
    file.seek(0)
    found = hashlib.sha256()
    while piece := file.read(2**20):
        found.update(piece)
    return found.hexdigest()
