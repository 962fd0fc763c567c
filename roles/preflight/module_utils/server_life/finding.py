"""One thing that a run would overwrite, cut or fight with."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

LIMIT = 60  # seconds for any program that is asked
HEADER = "Managed by Ansible (role "


@dataclass(frozen=True)
class Finding:
    """`name` is what a person agrees to; `way` what else they can do. Some must be resolved."""

    name: str
    what: str
    way: str
    adoptable: bool = True
    path: str = ""  # a file that a yes keeps beside itself


def output(*command: str, text: str = "") -> str:
    """What a program printed; empty where there is none or it failed."""
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=LIMIT, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def read(path: str | Path) -> str:
    """A file's text; empty where it cannot be read."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def is_ours(path: str | Path) -> bool:
    """Whether Pergola wrote a file: all of its text files say so at their beginning."""
    return HEADER in read(path)[:400]
