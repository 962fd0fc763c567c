"""The command line: exits 0, or 1 with a report on stderr."""

import argparse
import os
import socket
import sys

from pergola.certificates.order import ORDER, checked
from pergola.certificates.request import request
from pergola.certificates.take import take
from pergola.documents import answer
from pergola.errors import PergolaError, of_system


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(
        prog="pergola certificates",
        description="Certificates between hosts, as they are described on standard input.",
    )
    verbs = main.add_subparsers(dest="verb", required=True, metavar="VERB")
    ask = verbs.add_parser("request", help="make keys, and say what is to be signed")
    ask.add_argument("--only-look", action="store_true", help="change nothing")
    have = verbs.add_parser("take", help="write what was signed")
    for verb in (ask, have):
        verb.add_argument(
            "--replace", action="store_true", help="trust other authorities than before"
        )
    return main


def main() -> int:
    options = parser().parse_args()
    os.umask(0o022)
    try:
        order = checked(ORDER.parse(sys.stdin.read(), "the order on standard input"))
        if options.verb == "request":
            print(answer(request(order, options.only_look, options.replace)))
        else:
            print(answer(take(order, options.replace)))
    except (PergolaError, OSError) as error:
        told = of_system(error) if isinstance(error, OSError) else error
        print(f"{socket.gethostname()}: {told}", file=sys.stderr)
        return 1
    return 0
