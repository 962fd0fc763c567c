"""The command line: exits 0, or 1 with a report on stderr."""

import argparse
import os
import socket
import sys
from pathlib import Path

from pergola.documents import answer
from pergola.errors import PergolaError, of_system
from pergola.web import load


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(
        prog="pergola web", description="Caddy on this host. Run it as root."
    )
    verbs = main.add_subparsers(dest="verb", required=True, metavar="VERB")
    check = verbs.add_parser("check", help="whether Caddy would start with its files")
    check.add_argument("folder", nargs="?", type=Path, default=load.FOLDER)
    take = verbs.add_parser("load", help="have Caddy load what it has not yet")
    take.add_argument("--kept", type=Path, help="(Ansible) where the files before lie")
    take.add_argument("--only-look", action="store_true", help="change nothing")
    return main


def do(options: argparse.Namespace) -> object:
    if options.verb == "check":
        load.check(options.folder)
        return {"changed": False}
    needed = load.stale() if options.only_look else load.load(options.kept)
    return {"changed": bool(needed), "needed": needed}


def main() -> int:
    options = parser().parse_args()
    os.umask(0o022)
    try:
        print(answer(do(options)))
    except (PergolaError, OSError) as error:
        told = of_system(error) if isinstance(error, OSError) else error
        print(f"{socket.gethostname()}: {told}", file=sys.stderr)
        return 1
    return 0
