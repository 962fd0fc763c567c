"""Ansible module: what a host knows of backups, before anything is changed there.

Its cluster by the system identifier, the stanzas of its repositories with the clusters that they
are of, and every key that pgBackRest's configuration holds. It asks pgBackRest where that is
installed, and reads files otherwise: a new server has neither program nor configuration.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: backups_seen
short_description: What a host knows of backups; nothing is changed
options:
  data:
    description: The data directory of the cluster that applications reach.
    type: str
    default: ""
  repositories:
    description: Directories of repositories. Stanzas there are named without a configuration too.
    type: list
    elements: path
    default: []
"""

RETURN = r"""
system:
  description: The cluster's system identifier; empty without a cluster.
  returned: always
  type: str
stanza:
  description: The stanza of the host's own backups, as it is configured.
  returned: always
  type: str
stanzas:
  description: >-
    name, place, host (the inventory's name of the server that they are of, where the configuration
    has it), systems (identifiers of their clusters; none where they could not be read), version
    (PostgreSQL's, of the newest), newest (seconds since 1970).
  returned: always
  type: list
keys:
  description: place, stanza, key, current (false for a file that pgBackRest does not read).
  returned: always
  type: list
"""

SETTINGS = Path("/etc/pergola/backup.json")
CONFIGURATION = Path("/etc/pgbackrest")
SECONDS_TO_ANSWER = 60
LARGEST = 1_000_000  # bytes of a file that may be configuration
SECTION = re.compile(r"\[([^\]:]+)(?::[^\]]*)?\]")
OPTION = re.compile(r"([a-z0-9-]+)\s*=\s*(.*)")
KEY = re.compile(r"repo\d+-cipher-pass")


@dataclass
class Configured:
    """A file in the form of pgBackRest's configuration: its options by section."""

    path: Path
    sections: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Configured:
        found, section = cls(path), ""
        for line in path.read_text(errors="replace").splitlines():
            text = line.strip()
            if match := SECTION.fullmatch(text):
                section = match[1]
                found.sections.setdefault(section, {})
            elif match := OPTION.fullmatch(text):
                found.sections.setdefault(section, {}).setdefault(match[1], match[2])
        return found

    @property
    def stanzas(self) -> list[str]:
        return [name for name in self.sections if name not in ("", "global")]

    @property
    def is_read(self) -> bool:
        """Whether pgBackRest takes it as configuration."""
        return self.path == CONFIGURATION / "pgbackrest.conf" or (
            self.path.parent == CONFIGURATION / "conf.d" and self.path.suffix == ".conf"
        )


def configuration(directory: Path = CONFIGURATION) -> list[Configured]:
    """Every file there, and beside there, also those that somebody has put aside."""
    beside = directory.parent.glob(f"{directory.name}.conf*")
    found = [*(sorted(directory.rglob("*")) if directory.is_dir() else []), *sorted(beside)]
    return [
        Configured.read(path)
        for path in found
        if path.is_file() and not path.is_symlink() and path.stat().st_size < LARGEST
    ]


def keys(files: list[Configured]) -> Iterator[dict[str, Any]]:
    """Every key, with the stanza that it is of."""
    for file in files:
        for section, options in file.sections.items():
            of = section if section in file.stanzas else next(iter(file.stanzas), "")
            for key in {value for name, value in options.items() if KEY.fullmatch(name) and value}:
                yield {"place": str(file.path), "stanza": of, "key": key, "current": file.is_read}


def system_of(data: str) -> str:
    """A cluster's system identifier: its control file begins with it."""
    control = Path(data) / "global/pg_control"
    if not data or not control.is_file():
        return ""
    with control.open("rb") as file:
        return str(int.from_bytes(file.read(8), sys.byteorder))


def own_stanza(file: Path = SETTINGS) -> str:
    try:
        return str(json.loads(file.read_text())["stanza"])
    except (OSError, ValueError, KeyError):
        return ""


def ask(stanza: str, repository: str) -> dict[str, Any]:
    """What pgBackRest says of a stanza in one of this host's repositories; empty if nothing."""
    command = ["runuser", "-u", "postgres", "--", "pgbackrest", "--log-level-console=off"]
    options = [f"--stanza={stanza}", f"--repo={repository}", "--output=json", "info"]
    try:
        done = subprocess.run(
            [*command, *options],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS_TO_ANSWER,
        )
        return next(iter(json.loads(done.stdout)), {}) if done.returncode == 0 else {}
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return {}


def options_of(files: list[Configured]) -> dict[str, dict[str, str]]:
    """The options of each stanza, as pgBackRest puts them together from all its files."""
    read = [file for file in files if file.is_read]
    of_all = {name: value for one in read for name, value in one.sections.get("global", {}).items()}
    found: dict[str, dict[str, str]] = {}
    for file in read:
        for stanza in file.stanzas:
            found.setdefault(stanza, dict(of_all)).update(file.sections[stanza])
    return found


def configured_stanzas(files: list[Configured]) -> Iterator[dict[str, Any]]:
    """The stanzas of the repositories in this host's file systems that can be read."""
    for stanza, options in options_of(files).items():
        for name, path in options.items():
            number = re.fullmatch(r"repo(\d+)-path", name)
            if number is None or not Path(path).is_dir():
                continue
            if {f"repo{number[1]}-host", f"repo{number[1]}-type"} & set(options):
                continue  # elsewhere
            found = ask(stanza, number[1])
            backups = found.get("backup", [])
            if found.get("db"):
                yield {
                    "name": stanza,
                    "place": path,
                    "host": Path(options.get("pg1-host-ca-file", "")).stem,
                    "systems": sorted({str(one["system-id"]) for one in found["db"]}),
                    "version": str(found["db"][-1]["version"]),
                    "newest": max((one["timestamp"]["stop"] for one in backups), default=0),
                }


def other_stanzas(repositories: list[str], known: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The stanzas of repositories that could not be read, by their directories."""
    there = {(one["name"], one["place"]) for one in known}
    for place in repositories:
        for info in sorted(Path(place).glob("backup/*/backup.info")):
            name = info.parent.name
            if (name, place) not in there:
                newest = int(info.stat().st_mtime)
                found = {"name": name, "place": place, "host": "", "systems": [], "version": ""}
                yield {**found, "newest": newest}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "data": {"type": "str", "default": ""},
            "repositories": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    files = configuration()
    stanzas = list(configured_stanzas(files))
    stanzas += other_stanzas(module.params["repositories"], stanzas)
    module.exit_json(
        changed=False,
        system=system_of(module.params["data"]),
        stanza=own_stanza(),
        stanzas=stanzas,
        keys=list(keys(files)),
    )


if __name__ == "__main__":
    main()
