"""The command line, which role app calls: exits 0, or 1 with a report on stderr."""

import argparse
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from pergola.app.apply import apply
from pergola.app.away import away, back
from pergola.app.hold import go_on, hold
from pergola.app.look import look
from pergola.app.order import ORDER
from pergola.app.packages import WANTED
from pergola.app.packages import look as look_at
from pergola.app.retire import retire
from pergola.documents import answer
from pergola.errors import PergolaError, of_system

MOMENTS: dict[str, Callable[[], object]] = {
    "hold": hold,
    "go-on": go_on,
    "away": away,
    "back": back,
}


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(
        prog="pergola app",
        description="One application's part of this server, as it is described on standard input.",
    )
    verbs = main.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("look", help="what the server has for it, and what it would change")
    verbs.add_parser("packages", help="which of the distribution's packages it needs")
    ends = verbs.add_parser("retire", help="stop an application that runs on other hosts now")
    ends.add_argument("app")
    ends.add_argument("--leads", action="store_true", help="its site stays here")
    ends.add_argument("--only-look", action="store_true", help="change nothing")
    verbs.add_parser("hold", help="hold the requests of those whose database is on another host")
    verbs.add_parser("go-on", help="let them go on")
    verbs.add_parser("away", help="have the edge send no requests here")
    verbs.add_parser("back", help="have it send some again")
    take = verbs.add_parser("apply", help="make its accounts and databases, and serve its site")
    take.add_argument("--kept", type=Path, help="where the files before lie")
    return main


def main() -> int:
    options = parser().parse_args()
    os.umask(0o022)
    try:
        if options.verb == "packages":
            print(answer(look_at(WANTED.parse(sys.stdin.read(), "what is wanted"))))
            return 0
        if options.verb == "retire":
            print(answer(retire(options.app, options.leads, options.only_look)))
            return 0
        if options.verb in MOMENTS:
            print(answer(MOMENTS[options.verb]()))
            return 0
        order = ORDER.parse(sys.stdin.read(), "the order on standard input")
        print(answer(look(order) if options.verb == "look" else apply(order, options.kept)))
    except (PergolaError, OSError) as error:
        told = of_system(error) if isinstance(error, OSError) else error
        print(f"{socket.gethostname()}: {told}", file=sys.stderr)
        return 1
    return 0
