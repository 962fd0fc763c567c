"""Files on another host, read as pgBackRest reads its own there: over its TLS.

It lists and gives each file below a repository to whom it lets in, whatever has made it: for the
files of applications the hosts need neither another port nor another certificate.
"""

import configparser
import dataclasses
import json
import re
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pergola.errors import PergolaError
from pergola.people import last_lines
from pergola.postgres import ACCOUNT
from pergola.system import Done, attempt, checked

# pgBackRest's exit codes for a file that it cannot open, or that is not there.
NOT_OPEN, MISSING = 41, 55
LARGEST_LIST = 2**28  # bytes: a million files
# Nothing of the configuration: that has this host's own repositories. Seconds.
PLAIN = (
    "--no-config",
    "--log-level-file=off",
    "--log-level-console=off",
    "--log-level-stderr=warn",
)
PATIENT = ("--io-timeout=10", "--protocol-timeout=60")


@dataclass(frozen=True)
class Remote:
    """A directory on another host. `name`: for people; `options`: how the host is reached."""

    name: str
    stanza: str
    path: str
    options: tuple[str, ...]

    def below(self, name: str) -> "Remote":
        return dataclasses.replace(self, path=f"{self.path}/{name}")

    def folders(self) -> list[str]:
        """The names of the directories in it; none where it is not there."""
        return [name for name, kind, _ in self.listed() if kind == "path" and name != "."]

    def files(self) -> dict[str, int]:
        """The sizes of all plain files below it, by their paths in it."""
        return {name: size for name, kind, size in self.listed("--recurse") if kind == "file"}

    def listed(self, *options: str) -> list[tuple[str, str, int]]:
        with tempfile.TemporaryFile() as file:
            done = self.attempt(file, LARGEST_LIST, "repo-ls", "--output=json", *options)
            if done.returncode:
                raise PergolaError(
                    f"the files on {self.name} cannot be listed", last_lines(done.stderr)
                )
            file.seek(0)
            found = json.load(file)
        return [(name, one["type"], one.get("size", 0)) for name, one in found.items()]

    def get(self, path: str, file: BinaryIO, most: int) -> str:
        """Write what is in a file, up to so many bytes; why it cannot be had now, or an empty text.

        PergolaError where the host does not answer.
        """
        done = self.attempt(file, most, "repo-get", "--raw", path)
        if done.returncode in (NOT_OPEN, MISSING):
            return last_lines(done.stderr, 1)
        if done.returncode == -signal.SIGXFSZ:
            return "is larger than it was listed"
        checked(done, f"pgbackrest repo-get from {self.name}")
        return ""

    def attempt(self, file: BinaryIO, most: int, command: str, *words: str) -> Done:
        """Run one of pgBackRest's commands: as its account, which may read its keys."""
        where = (f"--stanza={self.stanza}", *self.options, f"--repo1-path={self.path}")
        # What a host sends does not fill the disk.
        limited = ("prlimit", f"--fsize={most}", "pgbackrest", *PLAIN, *PATIENT)
        return attempt(*limited, *where, command, *words, account=ACCOUNT, output=file)


def told(file: Path) -> configparser.ConfigParser:
    """A file of pgBackRest's configuration; PergolaError where there is none."""
    found = configparser.ConfigParser(
        interpolation=None, delimiters="=", comment_prefixes="#", strict=False
    )
    if not found.read(file):
        raise PergolaError(f"{file} is missing", hint="run site.yml first")
    return found


def reached(file: Path, name: str, path: str = "") -> list[Remote]:
    """The hosts that a file of pgBackRest's configuration says how to reach.

    Servers have such a file for each host that keeps their copies, and that host one for each
    server. `path`: on it; empty: that of the repository there.
    """
    found = []
    configuration = told(file)
    for stanza in configuration.sections():
        options = dict(configuration[stanza])
        for side in (key for key in options if re.fullmatch(r"(pg|repo)\d+-host", key)):
            ways = tuple(
                f"--repo1-host{key.removeprefix(side)}={value}"
                for key, value in options.items()
                if key.startswith(side)
            )
            at = path or options[f"{side.removesuffix('-host')}-path"]
            found.append(Remote(name, stanza, at, ways))
    return found
