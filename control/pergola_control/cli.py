"""Which program is meant."""

import importlib
import sys
from collections.abc import Sequence

PROGRAMS = ("guess", "inventory", "people", "plan", "source")


def main(argv: Sequence[str]) -> None:
    """Run the program that the first word names with the rest; only its code is read."""
    name = argv[0] if argv else ""
    if name not in PROGRAMS:
        sys.exit(f"usage: python control {'|'.join(PROGRAMS)} [--help]")
    importlib.import_module(f"pergola_control.{name}.cli").main(argv[1:])
