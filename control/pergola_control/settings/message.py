"""All that is wrong as one text: what it is, an example, the file and line to edit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pergola_control.settings.files import Files
from pergola_control.settings.problems import Problem
from pergola_control.settings.specs import example, first_sentence


def from_here(path: Path) -> str:
    """A path relative to where the user is."""
    return os.path.relpath(path)


def rendered(problem: Problem, files: Files, host: str, new_file: Path) -> str:
    """A problem in a few lines: what is wrong, what it is, an example, where to fix it."""
    lines = [problem.text]
    if sentence := first_sentence(problem.spec):
        lines.append(f"  meaning: {sentence}")
    if (text := example(problem.spec)) and "example: " not in problem.what:
        lines.append(f"  example: {text}")
    place = None if problem.missing else files.place(problem.name, host)
    if not problem.name:
        return "\n".join(lines)
    if problem.missing:
        lines.append(f"  add to:  {from_here(new_file)}")
    elif problem.name in files.given:
        lines.append("  set in:  the command line, by -e")
    elif place:
        path, line = place
        lines.append(f"  set in:  {from_here(path)}" + (f":{line}" if line else " (vaulted)"))
    else:
        lines.append("  set in:  no file of the inventory, but in a play")
    return "\n".join(lines)


def message(problems: Sequence[Problem], files: Files, host: str, new_file: Path) -> str:
    """All problems of an environment as one text: what is missing, then in the files' order."""

    def order(problem: Problem) -> tuple[bool, str, int]:
        path, line = (not problem.missing and files.place(problem.name, host)) or ("", None)
        return not problem.missing, str(path), line or 0

    ordered = sorted(problems, key=order)
    return "\n\n".join(rendered(problem, files, host, new_file) for problem in ordered)


def headline(count: int, inventory: Path) -> str:
    """How many problems an environment has."""
    settings = "1 setting" if count == 1 else f"{count} settings"
    # In the directory itself its own name says more than a dot.
    name = from_here(inventory) if inventory.resolve() != Path.cwd() else inventory.resolve().name
    return f"{settings} of {name} must be fixed; nothing was changed on any host."
