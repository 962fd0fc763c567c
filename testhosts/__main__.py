"""Entry point of `python3 testhosts VERB …`."""

import sys
from pathlib import Path


def start() -> int:
    """Run the command line; return the process's exit code."""
    # Started by its folder, Python puts the package itself on the path instead of its parent.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    sys.dont_write_bytecode = True  # runs as root: no root-owned __pycache__ in the user's clone
    from testhosts.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(start())
