"""The cache: an application's archives, so that a commit is fetched and built once."""

import contextlib
import fcntl
import hashlib
import json
import os
import posixpath
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pergola_control.programs import some
from pergola_control.refusal import RefusalError
from pergola_control.source.building import build
from pergola_control.source.commits import Commit
from pergola_control.source.directories import Tree, refuse_code, static_path
from pergola_control.source.files import all_paths, machine_made, refuse_pointers
from pergola_control.source.forms import Form
from pergola_control.source.packing import pack
from pergola_control.source.settings import Settings
from pergola_control.source.shared import refuse_in_the_way, shared_paths

FORMAT = "2"  # part of an archive's name: change it when archives are made differently
KEPT = 5
LOCK_LIMIT = 1200  # seconds


@dataclass(frozen=True)
class Cached:
    """An archive in the cache, described by a JSON file of the same name."""

    path: Path
    sha256: str
    size: int
    warnings: list[str]

    @property
    def result(self) -> dict[str, object]:
        """The archive's part of the result; the size is in bytes."""
        return {"archive": str(self.path), "sha256": self.sha256, "bytes": self.size}


def archive_path(settings: Settings, release: Commit | Tree, form: Form) -> Path:
    """Where the archive of this commit, subdirectory, list of packages and build is kept."""
    inside = ("submodules",) if isinstance(release, Commit) and release.inside else ()
    more = (release.directory, settings.static_dir, *settings.shared, *form.files.values())
    parts = "\0".join(
        (FORMAT, release.commit, release.subdirectory, settings.build, *inside, *more)
    )
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
        found = Cached(path, note["sha256"], note["bytes"], note["warnings"])
        if file_sha256(path) != found.sha256:
            return None
        os.utime(path)  # the newest are kept
    except (OSError, ValueError, KeyError):
        return None
    return found


def made(settings: Settings, release: Commit | Tree, form: Form, path: Path) -> Cached:
    """Make the archive and put it into the cache, whole or not at all."""
    with tempfile.TemporaryDirectory(prefix="pergola-") as temporary:
        directory = Path(temporary).resolve() / "source"
        directory.mkdir()
        release.copy_to(directory)
        warnings: list[str] = []
        static = static_path(release.directory, settings)
        if settings.build:
            own = machine_made(directory)
            build(settings.build, directory / release.directory, release.time)
            warnings += without_machine_made(directory, own, static)
        refuse_pointers(directory)
        refuse_without_static(static, (directory / static).is_dir())
        below = all_paths(directory / static)  # through a link too
        refuse_code(release.directory, settings, [posixpath.join(static, path) for path in below])
        refuse_in_the_way(shared_paths(settings, release.directory), all_paths(directory))
        add(form, directory)
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as out:
            pack(directory, release.time, out)
    found = Cached(path, file_sha256(partial), partial.stat().st_size, warnings)
    note = {"sha256": found.sha256, "bytes": found.size}
    note_path(path).write_text(json.dumps(note | {"warnings": warnings}))
    partial.rename(path)
    return found


def without_machine_made(directory: Path, own: set[Path], static: str) -> list[str]:
    """Remove what a build left that is of no use elsewhere, such as node_modules; say so."""
    left = sorted(
        path
        for path in machine_made(directory) - own
        if not (directory / static / "x").is_relative_to(path)
    )
    for path in left:
        shutil.rmtree(path)
    names = [path.relative_to(directory).as_posix() for path in left]
    said = f"What the build left of packages and caches is not in this release: {some(names)}."
    return [said] if left else []


def refuse_without_static(static: str, is_there: bool) -> None:
    """Refuse a release without the directory of static files that the settings name."""
    if static and not is_there:
        raise RefusalError(
            f"The release would have no directory {static}.",
            "app_static_dir",
            "correct the path (from app_subdirectory), let app_build_command make it, or commit it",
        )


def add(form: Form, directory: Path) -> None:
    """Write the list of packages where it is not one of the source's own files."""
    for name, content in form.files.items():
        path = directory / name
        if path.parent.is_symlink() or path.is_symlink():
            raise RefusalError(
                f"{name} is a link, where the list of packages is written.",
                "app_source",
                "give it another name",
            )
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    if not (directory / form.lock).is_file():
        raise RefusalError(
            f"The release would have no {form.lock}, which servers install from.",
            "app_build_command",
            "let the build keep it, and .gitattributes not exclude it (export-ignore)",
        )


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
