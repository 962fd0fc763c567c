"""The cache: an application's archives, so that a commit is fetched and built once."""

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pergola_control.refusal import RefusalError
from pergola_control.source.building import build
from pergola_control.source.commits import Commit
from pergola_control.source.directories import Tree
from pergola_control.source.files import lfs_warnings
from pergola_control.source.packing import pack
from pergola_control.source.pins import installer_of
from pergola_control.source.settings import Settings

FORMAT = "1"  # part of an archive's name: change it when archives are made differently
KEPT = 5
LOCK_LIMIT = 1200  # seconds


@dataclass(frozen=True)
class Cached:
    """An archive in the cache, described by a JSON file of the same name."""

    path: Path
    sha256: str
    size: int
    installer: str
    warnings: list[str]

    @property
    def result(self) -> dict[str, object]:
        """The archive's part of the result; the size is in bytes."""
        return {
            "installer": self.installer,
            "archive": str(self.path),
            "sha256": self.sha256,
            "bytes": self.size,
        }


def archive_path(settings: Settings, release: Commit | Tree) -> Path:
    """Where the archive of this commit, subdirectory and build is kept."""
    subdirectory = release.subdirectory if isinstance(release, Commit) else settings.subdirectory
    inside = ("submodules",) if isinstance(release, Commit) and release.inside else ()
    parts = "\0".join((FORMAT, release.commit, subdirectory, settings.build, *inside))
    part = hashlib.sha256(parts.encode()).hexdigest()[:12]
    return settings.room / f"{release.short}-{part}.tar.gz"


def note_path(archive: Path) -> Path:
    """The JSON file beside an archive."""
    return archive.with_name(archive.name + ".json")


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def reusable(path: Path) -> Cached | None:
    """The archive made before, None if there is none or it is damaged."""
    try:
        note = json.loads(note_path(path).read_text())
        found = Cached(path, note["sha256"], note["bytes"], note["installer"], note["warnings"])
        if file_sha256(path) != found.sha256:
            return None
        os.utime(path)  # the newest are kept
    except (OSError, ValueError, KeyError):
        return None
    return found


def made(settings: Settings, release: Commit | Tree, path: Path) -> Cached:
    """Make the archive and put it into the cache, whole or not at all."""
    installer = installer_of(release.read)
    with tempfile.TemporaryDirectory(prefix="pergola-") as temporary:
        directory = Path(temporary).resolve() / "source"
        directory.mkdir()
        release.copy_to(directory)
        warnings = lfs_warnings(directory)
        if settings.build:
            build(settings.build, directory, release.time)
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as out:
            pack(directory, release.time, out)
    found = Cached(path, file_sha256(partial), partial.stat().st_size, installer, warnings)
    note = {"sha256": found.sha256, "bytes": found.size, "installer": installer}
    note_path(path).write_text(json.dumps(note | {"warnings": warnings}))
    partial.rename(path)
    return found


def prune(room: Path, keep: Path) -> None:
    """Keep the newest archives of an app, and always the one just asked for."""
    archives = sorted(room.glob("*.tar.gz"), key=lambda path: path.stat().st_mtime, reverse=True)
    others = [path for path in archives if path != keep]
    for path in others[KEPT - 1 :]:
        note_path(path).unlink(missing_ok=True)
        path.unlink()


@contextlib.contextmanager
def locked(room: Path) -> Iterator[None]:
    """Hold an app's part of the cache; a refusal when another run has it for too long."""
    room.mkdir(parents=True, exist_ok=True, mode=0o700)
    deadline = time.monotonic() + LOCK_LIMIT
    with (room / ".lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RefusalError(
                        f"Another run has been making a release for {LOCK_LIMIT} s.",
                        "app_source",
                        "wait for it, or end it, and run again",
                    ) from None
                time.sleep(0.1)
        yield
