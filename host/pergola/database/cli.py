"""The command line: exits 0, or 1 with a report on stderr."""

import argparse
import os
import socket
import sys
from pathlib import Path

from pergola.database import databases, needs, restart, settings
from pergola.database.server import cluster, noted
from pergola.documents import answer
from pergola.errors import PergolaError, of_system
from pergola.postgres import Cluster


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(
        prog="pergola-postgresql",
        description="The PostgreSQL server of this host. Run it as root.",
    )
    main.add_argument("--version", type=int, help="the major version; that of the settings")
    verbs = main.add_subparsers(dest="verb", required=True, metavar="VERB")
    check = verbs.add_parser("check", help="whether the server would start with its settings")
    check.add_argument("file", nargs="?", type=Path, help="instead of conf.d/pergola.conf")
    check.add_argument("--set-in", default="", help="where a person corrects what is refused")
    reload = verbs.add_parser("reload", help="read changed settings; say which need a restart")
    reload.add_argument("--only-look", action="store_true", help="change nothing")
    verbs.add_parser("restart", help="restart while the applications' requests wait")
    bring = verbs.add_parser("databases", help="make the databases of all applications as noted")
    bring.add_argument("--only-look", action="store_true", help="change nothing")
    return main


def do(server: Cluster, options: argparse.Namespace) -> object:
    """Do what the command line says; what it is answered."""
    if options.verb == "check":
        files = {}
        if options.file:
            # Alone: what applications need beyond it might hide what is wrong with it.
            files = {"pergola.conf": options.file.read_text(), needs.FILE: ""}
        settings.check(server, files, options.set_in)
        return {"changed": False}
    if options.verb == "reload":
        return restart.reload(server, options.only_look)
    if options.verb == "restart":
        return restart.restart(server)
    wanted = [
        one
        for app, need in needs.noted().items()
        for one in needs.own_databases(app, need, noted())
    ]
    made = databases.bring(server, wanted, options.only_look)
    return {"changed": bool(made), "made": made}


def main() -> int:
    options = parser().parse_args()
    os.umask(0o022)
    try:
        print(answer(do(cluster(options.version), options)))
    except (PergolaError, OSError) as error:
        told = of_system(error) if isinstance(error, OSError) else error
        print(f"{socket.gethostname()}: {told}", file=sys.stderr)
        return 1
    return 0
