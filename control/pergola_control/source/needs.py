"""What an application's list of packages needs of the distribution's packages."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pergola_control import uv
from pergola_control.source.commits import Commit
from pergola_control.source.directories import Tree
from pergola_control.source.forms import Form
from pergola_control.source.places import packages_of
from pergola_control.source.projects import canonical
from pergola_control.source.settings import Settings

TABLE = Path(__file__).with_name("system_packages.toml")
REQUIREMENT = re.compile(r"^([A-Za-z0-9][\w.-]*)\s*(?:\[[^]]*\])?\s*(?:==|@)", re.MULTILINE)


@dataclass(frozen=True)
class Needs:
    """`run`: package of the distribution -> for which of the lock's; `build`: the other way."""

    run: Mapping[str, str] = field(default_factory=dict)
    build: Mapping[str, Sequence[str]] = field(default_factory=dict)


def needs(release: Commit | Tree, form: Form, settings: Settings) -> Needs:
    """What the packages that a server installs need beside them."""
    table = tomllib.loads(TABLE.read_text())
    listed = form.files.get(form.lock) or release.read(form.lock) or ""
    if form.installer != "uv-lock":
        names = {canonical(name) for name in REQUIREMENT.findall(listed)}
        return of(table, names, set(), form.said or form.lock)
    entries = packages_of(tomllib.loads(listed))
    known = {str(one.get("name")) for one in entries} & table.keys()
    if not known:
        return Needs()
    built = {str(one.get("name")) for one in entries if "sdist" in one and not one.get("wheels")}
    return of(table, installed(release, form, listed, settings) or known, built, form.lock)


def installed(release: Commit | Tree, form: Form, listed: str, settings: Settings) -> set[str]:
    """The packages of a uv.lock that a server installs: not those of development."""
    files = [path for path in release.names if path.rpartition("/")[2] == "pyproject.toml"]
    projects = {path: release.read(path) or "" for path in files}
    options = [f"--extra={name}" for name in settings.extras]
    options += [f"--group={name}" for name in settings.groups]
    try:
        pairs = uv.locked(projects, form.lock, listed, release.directory, options)
    except ValueError:  # the server says what is wrong with it
        return set()
    return {canonical(name) for name, _ in pairs}


def of(table: Mapping[str, Mapping[str, list[str]]], names: set[str], built: set[str],
       lock: str) -> Needs:  # fmt: skip
    """What some packages need; `built` are those without a wheel."""
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
