"""The distribution's packages that an application needs, as this system calls them."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pergola import apt
from pergola.documents import Form

NEAR = 3  # names that are shown beside one that apt does not know


@dataclass(frozen=True)
class Wanted:
    """`asked`: app_system_packages. `known`: package -> what of the lock needs it.

    `build`: what of the lock has to be compiled -> with which packages. `coming`: packages that the
    run installs before it. `required`: package -> what cannot be without it; of `a | b` the first
    that there is.
    """

    asked: list[str] = field(default_factory=list)
    known: dict[str, str] = field(default_factory=dict)
    build: dict[str, list[str]] = field(default_factory=dict)
    coming: list[str] = field(default_factory=list)
    required: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """`install`: those that are not there. `wrong`: why it cannot be. `notes`: for the plan."""

    install: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


WANTED = Form(Wanted)


def look(wanted: Wanted) -> Found:
    """What this system has of it; nothing is changed."""
    install, wrong, notes = [], [], []
    for name in apt.missing(wanted.asked):
        real = apt.of_system(name) if apt.is_read() else name
        if real is None:
            wrong.append(unknown(name))
        elif apt.missing([real]):
            install.append(real)
            notes.append(f"{real} (app_system_packages)")
    for name, why in wanted.required.items():
        real = apt.of_system(name) if apt.is_read() else first_there(name)
        if real is None:
            wrong.append(f"{why}: this system has no package {' or '.join(apt.alternatives(name))}")
        elif apt.missing([real]):
            install.append(real)
            notes.append(f"{real} ({why})")
    for name, why in wanted.known.items():
        if any(not apt.missing([one]) for one in apt.alternatives(name)):
            continue
        real = apt.of_system(name) if apt.is_read() else apt.alternatives(name)[0]
        if real is None:
            notes.append(f"none for {why}, which needs {name}: this system has no such package")
        elif apt.missing([real]) and real not in install:
            install.append(real)
            notes.append(f"{real} ({why})")
    wrong += not_compiled(wanted.build, [*wanted.asked, *wanted.coming])
    return Found(install, wrong, notes)


def first_there(name: str) -> str:
    """The one of `a | b` that is installed, else the first."""
    every = apt.alternatives(name)
    return next((one for one in every if not apt.missing([one])), every[0])


def not_compiled(build: Mapping[str, list[str]], coming: list[str]) -> Iterator[str]:
    """What has to be compiled, and cannot be."""
    if not (wanted := apt.missing(one for packages in build.values() for one in packages)):
        return
    # Few of those that are asked for come alone: build-essential brings gcc.
    there = {*coming, *(apt.brought_by(coming) if coming else ())}
    for what, packages in build.items():
        if lacking := [one for one in packages if one in wanted and one not in there]:
            instead = " (psycopg2-binary)" if what.endswith(" psycopg2") else ""
            yield (
                f"app_system_packages: {what} has no wheel, so the server compiles it, which takes "
                f"{', '.join(lacking)}. Set app_system_packages: [{', '.join(packages)}], or put a "
                f"package that has wheels in the lock{instead}"
            )


def unknown(name: str) -> str:
    """The sentence on a package that there is not, with those of nearly its name."""
    near = difflib.get_close_matches(name, apt.names(), NEAR)
    more = f"; it has {', '.join(near)}" if near else ""
    return f"app_system_packages: this system has no package {name}{more}"
