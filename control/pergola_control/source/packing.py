"""A directory as an archive: the same bytes for the same files, on any day and machine."""

import gzip
import os
import posixpath
import stat
import tarfile
from pathlib import Path
from typing import IO

from pergola_control.refusal import RefusalError
from pergola_control.source.files import kind_of, special_file, walk


def member(root: Path, path: str, mtime: int) -> tarfile.TarInfo:
    """One entry of the archive, with nothing of this machine in it; a refusal for what is unfit."""
    status = (root / path).lstat()
    info = tarfile.TarInfo(path)
    info.mtime = mtime
    if stat.S_ISLNK(status.st_mode):
        info.type, info.mode = tarfile.SYMTYPE, 0o777
        info.linkname = checked_link(root, path)
    elif stat.S_ISDIR(status.st_mode):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    elif stat.S_ISREG(status.st_mode):
        info.mode = 0o755 if kind_of(status.st_mode) == "x" else 0o644
        info.size = status.st_size
    else:
        raise special_file(path)
    return info


def checked_link(root: Path, path: str) -> str:
    """A link's target; a refusal if it leaves the release."""
    target = os.fspath((root / path).readlink())
    lexical = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    real = Path(os.path.realpath(root / path))
    if target.startswith("/") or lexical.split("/")[0] == ".." or not real.is_relative_to(root):
        raise RefusalError(
            f"The link {path} -> {target} leaves the release.",
            "app_source",
            "replace it by a file or by a relative link inside app_subdirectory "
            "(a link made by the build: let app_build_command remove it)",
        )
    return target


def pack(root: Path, mtime: int, out: IO[bytes]) -> None:
    """Write a directory as tar.gz: the same bytes for the same files, on any day and machine."""
    root = root.resolve()
    paths = sorted(path.relative_to(root).as_posix() for path in walk(root))
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=out, compresslevel=6, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in paths:
            info = member(root, path, mtime)
            if info.isreg():
                with (root / path).open("rb") as file:
                    archive.addfile(info, file)
            else:
                archive.addfile(info)
