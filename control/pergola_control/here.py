"""Where this checkout of Pergola lies, and paths as people type them."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def from_here(path: str | Path) -> str:
    """A path as somebody in the directory of the run would write it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") or "," in str(path) else relative


def seen_from_here(path: Path) -> str:
    """The shorter way to name a path."""
    return min(os.path.relpath(path), str(path), key=len)
