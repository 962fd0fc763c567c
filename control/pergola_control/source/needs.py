"""What an application's list of packages needs of the distribution's packages."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pergola_control.source.packages import Packages

TABLE = Path(__file__).with_name("system_packages.toml")


@dataclass(frozen=True)
class Needs:
    """`run`: package of the distribution -> for which of the lock's; `build`: the other way."""

    run: Mapping[str, str] = field(default_factory=dict)
    build: Mapping[str, Sequence[str]] = field(default_factory=dict)


def needs(packages: Packages) -> Needs:
    """What the packages that a server installs need beside them."""
    table = tomllib.loads(TABLE.read_text())
    if not packages.listed & table.keys():
        return Needs()
    return of(table, packages.installed, packages.compiled, packages.said)


def of(table: Mapping[str, Mapping[str, list[str]]], names: set[str], built: set[str],
       lock: str) -> Needs:  # fmt: skip
    """What some packages need; `built` are those without a wheel for servers."""
    run: dict[str, str] = {}
    build: dict[str, Sequence[str]] = {}
    for name in sorted(names & table.keys()):
        entry = table[name]
        if names & set(entry.get("unless", ())):
            continue
        for package in entry["run"]:
            run[package] = f"{run[package]}, {name}" if package in run else f"{lock}: {name}"
        if name in built and "build" in entry:
            build[f"{lock}: {name}"] = entry["build"]
    return Needs(run, build)
