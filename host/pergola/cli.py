"""The command: `pergola NOUN VERB`. Each noun has its own command line, and is imported alone."""

import fcntl
import importlib
import os
import sys
from pathlib import Path

NOUNS = {
    "backup": "the backups of its databases, points, restores and drills",
    "release": "the releases of one application: deploy, roll back, list, inspect",
    "app": "an application's accounts, databases and site",
    "web": "Caddy: whether its files can be loaded, what it has not loaded yet",
    "database": "the PostgreSQL server, its settings, databases and roles",
    "certificates": "certificates between the hosts of an environment: ask for them, take them",
    "status": "the state of this server: what is wrong, what is live, the jobs",
    "upgrade": "updates of this server, and other versions of its PostgreSQL",
}
# The names of the programs that these were.
ALIASES = {
    "pergola-backup": "backup",
    "pergola-postgresql": "database",
    "pergola-status": "status",
    "pergola-upgrade": "upgrade",
}
VERSION = Path(__file__).resolve().parents[1]


def main() -> int:
    """Run one noun's command line; by the name of an alias it is that noun's alone."""
    noun = ALIASES.get(Path(sys.argv[0]).name, "")
    if not noun:
        noun = "".join(sys.argv[1:2])
        del sys.argv[1:2]
    if noun not in NOUNS:
        return usage(noun)
    hold_version()
    code: int = importlib.import_module(f"pergola.{noun}.cli").main()
    return code


def usage(noun: str) -> int:
    lines = [f"  {name:10} {text}" for name, text in NOUNS.items()]
    text = "\n".join(["usage: pergola NOUN VERB ...", "", *lines])
    asked = noun in ("-h", "--help", "help")
    print(text if asked else f"{text}\n\nthere is no '{noun}'", file=None if asked else sys.stderr)
    return 0 if asked else 2


def hold_version() -> int:
    """Keep this version's files while this process runs: another one's arrival removes old ones.

    The kernel's lock on their directory ends with the process.
    """
    folder = os.open(VERSION, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(folder, fcntl.LOCK_SH)
    return folder
