"""Commands in the live release, as the application, for whoever called: in their terminal."""

import os
import shlex
import subprocess
import sys

from pergola.errors import PergolaError
from pergola.records import Line
from pergola.release.releases import Releases
from pergola.release.units import transient

SHELL = ("bash", "--norc")


def run(releases: Releases, command: list[str]) -> int:
    """Run a command in the live release, as the application; return its exit code."""
    release = releases.must_live()
    code = subprocess.run(at_console(releases, release, command), check=False).returncode
    told = f"exit {code}"
    releases.record(Line(action="run", to=release, outcome=told, command=shlex.join(command)))
    return code


def psql(releases: Releases, arguments: list[str]) -> int:
    """PostgreSQL's shell on the application's database, in the same sandbox as `shell`."""
    database = releases.settings.database
    if not database and not releases.settings.database_elsewhere:
        raise PergolaError(f"no database of {releases.app.name} is known on this host")
    # The release's own variables say where a database elsewhere is.
    command = ["psql", *arguments, *(["-d", database] if database else [])]
    words = at_console(releases, releases.must_live(), command)
    return subprocess.run(words, check=False).returncode


def at_console(releases: Releases, release: str, command: list[str]) -> list[str]:
    """The command line that runs a command of a release in the terminal of whoever called."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        terminal = os.environ.get("TERM", "dumb")
        return transient(releases, release, command, "--pty", TERM=terminal)
    return transient(releases, release, command, "--pipe")
