"""The command line: exits 0, or 1 with a report on stderr."""

import argparse
import json
import os
import socket
import sys
from pathlib import Path

from database import databases, restart, settings
from database.server import Server
from database.system import DatabaseError

SETTINGS = Path("/etc/pergola/postgresql.json")


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
    check.add_argument("--set-in", default="", help="where a person mends what is refused")
    reload = verbs.add_parser("reload", help="read changed settings; say which need a restart")
    reload.add_argument("--only-look", action="store_true", help="change nothing")
    verbs.add_parser("restart", help="restart while the applications' requests wait")
    bring = verbs.add_parser("databases", help="(Ansible) make what is described on stdin")
    bring.add_argument("--only-look", action="store_true", help="change nothing")
    return main


def answer(server: Server, options: argparse.Namespace) -> dict[str, object]:
    """Do what the command line says."""
    if options.verb == "check":
        settings.check(server, options.file, options.coming.split(","), options.set_in)
        return {"changed": False}
    if options.verb == "reload":
        return restart.reload(server, options.only_look)
    if options.verb == "restart":
        return restart.restart(server)
    wanted = json.load(sys.stdin)
    of_databases = [databases.Database(**one) for one in wanted["databases"]]
    made = databases.bring(server, of_databases, wanted["extensions"], options.only_look)
    return {"changed": bool(made), "made": made}


def main() -> int:
    options = parser().parse_args()
    os.umask(0o022)
    try:
        version = options.version or json.loads(SETTINGS.read_text())["version"]
        print(json.dumps(answer(Server(version), options)))
    except DatabaseError as error:
        print(f"{socket.gethostname()}: {error.report()}", file=sys.stderr)
        return 1
    return 0
