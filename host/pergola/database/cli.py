"""The command line: exits 0, or 1 with a report on stderr."""

import argparse
import os
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path

from pergola.database import databases, restart, settings
from pergola.database.server import cluster
from pergola.documents import Form, answer
from pergola.errors import PergolaError, of_system
from pergola.postgres import Cluster


@dataclass(frozen=True)
class Wanted:
    """What role postgresql wants: databases, and extensions of the server's own database."""

    databases: list[databases.Database]
    extensions: list[str] = field(default_factory=list)


WANTED = Form(Wanted)


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(
        prog="pergola-postgresql",
        description="The PostgreSQL server of this host. Run it as root.",
    )
    main.add_argument("--version", type=int, help="the major version; that of the settings")
    verbs = main.add_subparsers(dest="verb", required=True, metavar="VERB")
    check = verbs.add_parser("check", help="whether the server would start with its settings")
    check.add_argument("file", nargs="?", type=Path, help="instead of conf.d/pergola.conf")
    check.add_argument("--coming", default="", help="libraries that are installed afterwards")
    check.add_argument("--set-in", default="", help="where a person corrects what is refused")
    reload = verbs.add_parser("reload", help="read changed settings; say which need a restart")
    reload.add_argument("--only-look", action="store_true", help="change nothing")
    verbs.add_parser("restart", help="restart while the applications' requests wait")
    bring = verbs.add_parser("databases", help="(Ansible) make what is described on stdin")
    bring.add_argument("--only-look", action="store_true", help="change nothing")
    return main


def do(server: Cluster, options: argparse.Namespace) -> object:
    """Do what the command line says; what it is answered."""
    if options.verb == "check":
        settings.check(server, options.file, options.coming.split(","), options.set_in)
        return {"changed": False}
    if options.verb == "reload":
        return restart.reload(server, options.only_look)
    if options.verb == "restart":
        return restart.restart(server)
    wanted = WANTED.parse(sys.stdin.read(), "the order on standard input")
    made = databases.bring(server, wanted.databases, wanted.extensions, options.only_look)
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
