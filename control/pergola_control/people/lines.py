"""The line of a program: how it is printed, and running it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from pergola_control.here import seen_from_here

Asked = Mapping[str, str | bool | None]
NOTHING: Asked = {}


def program(name: str) -> str:
    """One of Ansible's programs, as it is typed here: this Python's, wherever another one is."""
    ours = Path(sys.executable).with_name(name)
    seen = shutil.which(name)
    return name if seen and ours.exists() and ours.samefile(seen) else seen_from_here(ours)


def extra(asked: Asked) -> list[str]:
    """Variables of the command line, in a form that Ansible does not cut."""
    words = []
    for name, value in asked.items():
        text = "true" if value is True else value or ""
        if re.fullmatch(r"[\w./:@+=-]+", text):
            words += ["-e", f"{name}={text}"]
        elif text:
            words += ["-e", json.dumps({name: text}, ensure_ascii=False)]
    return words


def line(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    """A command as it can be pasted into a shell."""
    settings = [f"{name}={shlex.quote(value)}" for name, value in environment.items()]
    return " ".join((*settings, shlex.join(argv)))


def run(argv: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Print a command, and become it."""
    print(line(argv, environment), file=sys.stderr, flush=True)
    try:
        os.execvpe(argv[0], list(argv), {**os.environ, **environment})  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.exit(f"{argv[0]} could not be started: {error.strerror}\n  Next: make setup")
