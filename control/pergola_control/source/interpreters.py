"""The Python that a server runs a release with: one of its own, or one that uv brings."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from pergola_control import uv
from pergola_control.programs import some
from pergola_control.refusal import RefusalError

PLACE = "/opt/pergola/python"  # on servers; as in pergola.release.pythons
# What Pergola's own part of a slot runs on, and the Uvicorn that it brings.
OLDEST = Version("3.10")
# What uv calls processors where Linux has another name for them.
MACHINES = {"ppc64le": "powerpc64le", "riscv64": "riscv64gc", "armv7l": "armv7"}
# Where uv looks next for its own builds when the first place does not answer.
FIRST = "https://releases.astral.sh/github/"
SECOND = "https://github.com/astral-sh/"


@dataclass(frozen=True)
class Server:
    """What a server has: `own` interpreters of the system, path -> version; `brought` by uv."""

    host: str
    machine: str
    own: Mapping[str, str]
    brought: Sequence[str]

    @property
    def shown(self) -> str:
        """Its own versions, for a person."""
        return some([f"{version} ({path})" for path, version in self.own.items()]) or "none"


@dataclass(frozen=True)
class Chosen:
    """`interpreter`: its path; "" is the system's usual one. `key`: uv's name of what it brings.

    `urls`: where it may come from. `builds`: the entry of a list of one's own.
    """

    version: str = ""
    interpreter: str = ""
    key: str = ""
    urls: tuple[str, ...] = ()
    builds: Mapping[str, object] = field(default_factory=dict)


def chosen(versions: str, said: str, server: Server, mirror: str, own_list: Path | None) -> Chosen:
    """What a server runs a release with; a refusal when there is nothing that fits.

    The system's own is taken if it fits. Of what uv brings it is the newest of the minor version
    nearest to that: packages that were pinned have wheels for it more likely than for the newest.
    """
    fits = SpecifierSet(versions).contains
    for number, (path, version) in enumerate(server.own.items()):
        if fits(version):
            # Its updates are the system's, and no other release.
            return Chosen() if number == 0 else Chosen(minor(version), path)
    entries = listed(own_list) if own_list else {}
    machine = MACHINES.get(server.machine, server.machine)
    builds = [
        one
        for one in uv.pythons(mirror, own_list)
        if one["arch"] == machine and Version(str(one["version"])) >= OLDEST
    ]
    fitting = [one for one in builds if fits(str(one["version"]))]
    if not fitting:
        raise unknown(said, server, [str(one["version"]) for one in builds], own_list)
    usual = Version(next(iter(server.own.values()), "3.13"))
    best = min(fitting, key=lambda one: distance(Version(str(one["version"])), usual))
    key, version = str(best["key"]), str(best["version"])
    url = str(best["url"])
    urls = (url, url.replace(FIRST, SECOND)) if url.startswith(FIRST) else (url,)
    return Chosen(
        version,
        f"{PLACE}/{key}/bin/python{minor(version)}",
        "" if key in server.brought else key,
        urls,
        {key: entries[key]} if entries else {},
    )


def minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def distance(version: Version, usual: Version) -> tuple[int, int]:
    """How far a version is from the system's: by its minor version, then by its age."""
    return abs(version.minor - usual.minor), -version.micro


def listed(own_list: Path) -> Mapping[str, Mapping[str, object]]:
    """A list of one's own, in uv's form; a refusal of what uv would not check."""
    try:
        found = json.loads(own_list.read_text(encoding="utf-8"))
        unchecked = [key for key, one in found.items() if not one.get("sha256")]
    except (OSError, ValueError, AttributeError) as error:
        raise RefusalError(
            f"The list of Python builds cannot be read: {error}.",
            "app_python_mirror",
            "set it to a list in the form of uv's python-downloads-json-url, or to a mirror's URL",
        ) from None
    if unchecked:
        raise RefusalError(
            f"{own_list.name} has no sha256 for {some(unchecked)}.",
            "app_python_mirror",
            "add it: servers install nothing that they cannot check",
        )
    return dict(found)


def unknown(
    said: str, server: Server, versions: Sequence[str], own_list: Path | None
) -> RefusalError:
    """The refusal of a version that neither the server nor uv has."""
    minors: dict[tuple[int, ...], str] = {}
    for version in sorted(map(Version, versions)):
        if not version.is_prerelease:
            minors[version.release[:2]] = str(version)
    newest = some(list(minors.values())[::-1]) or f"none for {server.machine}"
    what = f"{own_list.name} has" if own_list else "The uv of this Pergola knows"
    return RefusalError(
        f"{server.host} has no Python that fits {said}; its own: {server.shown}. {what} no such "
        f"version either; the newest of each: {newest}.",
        "app_python",
        "set it to one of these, or correct the file that names the version",
    )


def unreachable(
    said: str, server: Server, chosen: Chosen, why: str, allowed: str = ""
) -> RefusalError:
    """The refusal of a version that a server cannot fetch.

    `allowed`: what the project allows, whatever the version that is named.
    """
    fits = SpecifierSet(allowed).contains
    own = next((minor(version) for version in server.own.values() if fits(version)), "")
    other = f' Or let the application run on the server\'s own: app_python: "{own}"' if own else ""
    return RefusalError(
        f"{server.host} has no Python that fits {said}; its own: {server.shown}. "
        f"{chosen.version} would be fetched, but the server does not reach it: {why}",
        "app_python_mirror",
        "set it to a mirror of uv's builds that the server reaches; behind a proxy set "
        f"base_http_proxy.{other}",
    )
