"""Static files under names that carry their content's hash, so that they may be cached for ever."""

import gzip
import hashlib
import mimetypes
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

STATIC = Path(__file__).parent / "static"
FILES = ("vendor/pico.min.css", "vendor/htmx.min.js", "app.css")


@dataclass(frozen=True)
class Asset:
    """One file, in memory."""

    name: str  # app.0123456789ab.css
    content: bytes
    media_type: str


@lru_cache
def load(root: Path = STATIC) -> dict[str, Asset]:
    """Read the files; the keys are their plain names, such as app.css."""
    assets = {}
    for relative in FILES:
        path = root / relative
        if not path.is_file():
            raise SystemExit(
                f"{path} is missing: run sample_app/build first, it fetches {path.name}"
            )
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:12]
        media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        assets[path.name] = Asset(f"{path.stem}.{digest}{path.suffix}", content, media_type)
    return assets


def url(name: str) -> str:
    """Return the address of a file, for templates."""
    return f"/static/{load()[name].name}"


def find(hashed_name: str) -> Asset | None:
    """Find a file by the name that carries its hash, and by no other."""
    return next((asset for asset in load().values() if asset.name == hashed_name), None)


def write(path: Path, content: bytes) -> bool:
    """Write a file in one step, readable by the web server; a file that is there already stays."""
    if path.is_file() and path.read_bytes() == content:
        return False
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.chmod(0o644)
    temporary.replace(path)
    return True


def collect(out: Path) -> int:
    """Write every file and its gzip form into a shared directory; return how many were new.

    Nothing is deleted: a page that an older release sent still asks for the older names.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = 0
    for asset in load().values():
        # Without a time stamp the same content always packs to the same bytes.
        packed = gzip.compress(asset.content, 9, mtime=0)
        written += write(out / asset.name, asset.content) + write(out / f"{asset.name}.gz", packed)
    return written
