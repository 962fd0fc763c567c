"""What is written from look to look, also where the disk has no room for it.

The memory goes to the disk, and to /run while that cannot be written: what was told must not be
told again at each look. A reboot forgets /run; then it is told once more.
"""

import sys
from pathlib import Path

from pergola.documents import NewerError
from pergola.errors import PergolaError
from pergola.status.memory import FORM, Memory
from pergola.system import write

HOME = Path("/var/lib/pergola")
RUN = Path("/run/pergola-monitoring")
MEMORY = "monitoring.json"


def remembered() -> Memory:
    """The memory of earlier looks; of two the one that was written more often is the newer."""
    found = [known for folder in (HOME, RUN) if (known := read(folder / MEMORY))]
    return max(found, key=lambda known: known.written, default=Memory())


def read(path: Path) -> Memory | None:
    """A file's memory; None when there is none, or it cannot be read."""
    try:
        return FORM.read(path)
    except NewerError:
        print(f"<4>{path} was made by a newer Pergola: it is ignored", file=sys.stderr)
    except (PergolaError, OSError) as error:
        print(f"<4>{path} cannot be read ({error}): it is ignored", file=sys.stderr)
    return None


def remember(known: Memory) -> str:
    """Write the memory, to /run where the disk has no room; why it is not on the disk, or ""."""
    known.written += 1
    text = FORM.text(known)
    why = kept(HOME / MEMORY, text, 0o600)
    if not why:
        (RUN / MEMORY).unlink(missing_ok=True)
        return ""
    if also := kept(RUN / MEMORY, text, 0o600):
        print(f"<2>what was told cannot be remembered: {why}; {also}", file=sys.stderr)
    return why


def kept(path: Path, text: str, mode: int) -> str:
    """Replace a file at once; why that failed, or ""."""
    try:
        write(path, text, mode)
    except OSError as error:
        return f"{path}: {error.strerror or error}"
    return ""
