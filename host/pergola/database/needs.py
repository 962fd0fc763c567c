"""What the applications of this host need of PostgreSQL, a document each, and what that adds up to.

The server's own file, conf.d/pergola.conf, is for a server without applications. What they need
beyond it stands in a file of its own, which is read after that one.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pergola.database.databases import Database
from pergola.database.server import Noted
from pergola.documents import Form
from pergola.errors import PergolaError

FOLDER = Path("/etc/pergola/applications")
ENDING = ".fact"  # role preflight reads them, for connections and packages of extensions
FILE = "pergola_applications.conf"
HEAD = "# Written by Pergola: what the applications of this server need beyond pergola.conf.\n"
USUAL_CONNECTIONS = 100  # for which the server's own work_mem is
WORK_MB = (4, 64)
LOOPBACK = "127.0.0.1"
SORTS = 3  # that a connection may make at once
OTHERS = "backups, monitoring, migrations and consoles"


@dataclass(frozen=True)
class Need:
    """One application's: connections at once, libraries to be loaded, databases.

    `packages`: those of its extensions, without the beginning that has PostgreSQL's version.
    `identity` and `domains` say whose application of that name it is. `tcp`: by 127.0.0.1, too.
    `here`: its releases run on this host. `clients`: the addresses of the hosts from which it comes
    over the network.
    """

    connections: int = 0
    preload: list[str] = field(default_factory=list)
    packages: list[str] = field(default_factory=list)
    databases: list[Database] = field(default_factory=list)
    identity: str = ""
    domains: list[str] = field(default_factory=list)
    tcp: bool = False
    here: bool = True
    clients: list[str] = field(default_factory=list)


NEED = Form(Need)
# By the setting's name: its value, and why it is that.
Shares = dict[str, tuple[str, str]]


def path_of(app: str) -> Path:
    return FOLDER / f"{app}{ENDING}"


def noted() -> dict[str, Need]:
    """The needs of all applications, by their names."""
    found = {path.stem: NEED.read(path) for path in sorted(FOLDER.glob(f"*{ENDING}"))}
    return {name: need for name, need in found.items() if need}


def own_databases(app: str, need: Need, server: Noted) -> list[Database]:
    """An application's databases as the server makes them.

    The operators may read them all; its role opens no more connections than it needs.
    """
    limit = need.connections or None
    return [
        replace(
            one,
            readers=[*one.readers, *(name for name in server.readers if name not in one.readers)],
            connections=limit if one.owner == app else None,
        )
        for one in need.databases
    ]


def total(server: Noted, needs: Mapping[str, Need]) -> int:
    """The connections that all may have open at once."""
    return server.other_connections + sum(need.connections for need in needs.values())


def summed(server: Noted, needs: Mapping[str, Need]) -> str:
    """The same in words."""
    each = [f"{need.connections} for {name}" for name, need in sorted(needs.items())]
    return " + ".join([*each, f"{server.other_connections} for {OTHERS}"])


def check(server: Noted, needs: Mapping[str, Need]) -> None:
    """Refuse more connections than the server is set to; PergolaError says the sum."""
    needed = total(server, needs)
    if server.connections and needed > server.connections:
        raise PergolaError(
            f"postgresql_max_connections {server.connections} is too small: "
            f"{summed(server, needs)} are {needed}",
            hint=f"set it to {needed} or more in the inventory that provisions this server, or "
            "remove it there, so that it is computed; then run its provision.yml",
        )


def listening(needs: Mapping[str, Need], own: str) -> Shares:
    """Where the server listens beside its own addresses, if an application wants that."""
    asking = sorted(name for name, need in needs.items() if need.tcp)
    addresses = [one.strip() for one in own.split(",") if one.strip()]
    if not asking or {"*", "0.0.0.0", "localhost", LOOPBACK} & set(addresses):  # noqa: S104 - read
        return {}
    why = f"no network; app_database_tcp of {', '.join(asking)}"
    return {"listen_addresses": (f"'{','.join([*addresses, LOOPBACK])}'", why)}


def shares(
    server: Noted,
    needs: Mapping[str, Need],
    libraries: Iterable[str],
    at_least: int = 0,
    listens: str = "",
) -> Shares:
    """The settings in which the applications' needs go beyond the server's own.

    `libraries`: those that the server loads by its own settings. `at_least`: connections that
    stay, although fewer are needed. `listens`: the addresses of its own settings.
    """
    check(server, needs)
    own = set(libraries)
    found: Shares = {}
    needed = total(server, needs)
    if not server.connections and max(needed, at_least) > server.least:
        why = f"needed: {summed(server, needs)}"
        found["max_connections"] = (str(max(needed, at_least)), why)
    if server.work_mb and needed > USUAL_CONNECTIONS and "work_mem" not in server.own:
        megabytes = min(max(server.work_mb // (needed * SORTS), WORK_MB[0]), WORK_MB[1])
        why = f"its memory over the connections that are needed, {SORTS} sorts or hashes in each"
        found["work_mem"] = (f"{megabytes}MB", why)
    preload = {library for need in needs.values() for library in need.preload}
    if preload - own:
        every = ",".join(sorted(preload | own))
        found["shared_preload_libraries"] = (f"'{every}'", "the server's, and those of extensions")
    return found | listening(needs, listens)


def text(settings: Shares) -> str:
    lines = [f"{name} = {value}  # {why}\n" for name, (value, why) in settings.items()]
    return HEAD + "".join(lines) if lines else ""


def values(content: str) -> Iterator[tuple[str, str]]:
    """The settings of such a file, as PostgreSQL takes them."""
    for line in content.splitlines():
        name, equals, rest = line.partition(" = ")
        if equals:
            yield name, rest.partition("  # ")[0].strip("'")
