"""The next command, as it has to be typed where this one was."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# What Ansible asks for, or takes from a file, in every run: the names of these options.
ASKS = (
    ("-K", "--ask-become-pass"),
    ("-k", "--ask-pass"),
    ("-J", "--ask-vault-pass", "--ask-vault-password"),
)
FILES = (
    ("--vault-password-file", "--vault-pass-file"),
    ("--become-password-file", "--become-pass-file"),
    ("--vault-id",),
)


def typed(playbook: str, argv: Sequence[str] | None = None) -> str:
    """The command that runs one of Pergola's playbooks for the inventory of this run.

    `playbook` is its path from Pergola's directory. That may be a submodule of the directory where
    people type, and an inventory is named by the very words that they used. So are the options for
    passwords: without them the command would be refused.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-i", "--inventory", "--inventory-file", action="append", default=[])
    for names in ASKS:
        parser.add_argument(*names, dest=names[-1], action="store_true")
    for names in FILES:
        parser.add_argument(*names, dest=names[-1], action="append", default=[])
    given, _ = parser.parse_known_args(list(sys.argv[1:] if argv is None else argv))
    path = str(ROOT / playbook)
    words = ["ansible-playbook", min(os.path.relpath(path), path, key=len)]
    for source in given.inventory:
        words += ["-i", source]
    words += [names[1] for names in ASKS if getattr(given, names[-1])]
    for names in FILES:
        words += [word for value in getattr(given, names[-1]) for word in (names[0], value)]
    return shlex.join(words)


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"typed": typed}
