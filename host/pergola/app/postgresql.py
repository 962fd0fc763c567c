"""The application's part of the PostgreSQL server: its connections, databases and roles."""

from collections.abc import Iterator

from pergola import apt
from pergola.app import migrations, tcp
from pergola.app.order import Order
from pergola.database import admission, databases, extensions, needs, restart, shared, state
from pergola.database.databases import Database
from pergola.database.needs import NEED, Need
from pergola.database.restart import Restarted
from pergola.database.server import Noted
from pergola.errors import PergolaError
from pergola.postgres import Cluster, serving


def with_need(order: Order) -> dict[str, Need]:
    """The needs of all applications, this one's as they will be."""
    found = needs.noted()
    return {**found, order.app: order.need(found.get(order.app, Need()))}


def own(order: Order, server: Noted) -> list[Database]:
    """Its databases: the operators read them all, and its role has its share of connections."""
    return needs.own_databases(order.app, with_need(order)[order.app], server)


def others(order: Order) -> set[str]:
    """The databases and roles of the server's other applications."""
    rest = {name: need for name, need in needs.noted().items() if name != order.app}
    every = [one for need in rest.values() for one in need.databases]
    return {*rest, *(one.name for one in every), *(one.owner for one in every)}


def before(order: Order) -> Need:
    """What an earlier deploy has noted of it."""
    return needs.noted().get(order.app, Need())


def of_server(server: Noted) -> Cluster:
    """The cluster that applications reach; PergolaError while an upgrade of it is not finished."""
    now = serving()
    if now is not None and now.version != server.version:
        raise PergolaError(
            f"PostgreSQL {now.version} serves, and the server was set up for {server.version}: an "
            "upgrade was not finished",
            hint="run upgrade.yml again, or provision.yml, with the inventory of the server",
        )
    return Cluster(server.version)


def packages(order: Order, server: Noted) -> list[str]:
    """Those of its extensions that are not installed."""
    return apt.missing(extensions.packages(order.extensions, server.version))


def wrong(order: Order, server: Noted, cluster: Cluster) -> Iterator[str]:
    """Why the server cannot have it, a sentence each; nothing was changed so far."""
    applications = with_need(order)
    try:
        shared.wanted(cluster, server, applications, lowers=False)
    except PergolaError as error:
        yield f"{error.reason}. {error.hint}"
        return
    for package in apt.unknown(packages(order, server)):
        yield (
            f"app_databases: this system has no package of the extension "
            f"{extensions.of_package(package)} ({package}). Remove it, or set "
            "postgresql_repository: pgdg in the inventory that provisions the server"
        )
    if not cluster.is_in_service():
        return
    found = state.of_server(cluster)
    mine = {one.name for one in before(order).databases}
    yield from databases.taken(order.databases, found, mine, others(order))
    yield from databases.lacking(cluster, order.databases, found, coming=extensions.SPECIAL)


def apply(order: Order, server: Noted, cluster: Cluster) -> tuple[list[str], Restarted | None]:
    """Have the server serve it; what was made, in words, and the restart that it took.

    A restart that fails, or that an application's requests cannot wait for, leaves PostgreSQL as it
    was, and nothing that would want it again.
    """
    had = shared.written(cluster)
    restarted = None
    shared.settle(cluster, shared.wanted(cluster, server, with_need(order), lowers=False))
    found = restart.read_again(cluster)
    if found.pending or not found.running:
        try:
            restarted = restart.restart(cluster)
        except PergolaError:
            shared.settle(cluster, had)
            restart.read_again(cluster)
            if found.running and not cluster.is_in_service():
                cluster.start()
            raise
    note(order)
    made = databases.bring(cluster, own(order, server), False)
    return [*made, *lets_in(order, server, cluster)], restarted


def note(order: Order) -> None:
    """Note what it needs, for the server's other applications and its next deploy."""
    need, path = with_need(order)[order.app], needs.path_of(order.app)
    if NEED.read(path) != need:
        NEED.write(path, need)


def makes(order: Order, server: Noted, cluster: Cluster) -> list[str]:
    """What `apply` would make, in words."""
    if not cluster.is_in_service():
        return [f"database {one.name}" for one in order.databases]
    made = databases.bring(cluster, own(order, server), True)
    return [*made, *lets_in(order, server, cluster, only_look=True)]


def lets_in(order: Order, server: Noted, cluster: Cluster, only_look: bool = False) -> list[str]:
    """Have the application and its migrations let in; what was missing, in words."""
    # On the network the files that say so are written as a whole.
    lines = not server.address
    return [
        *tcp.bring(order, cluster, only_look, lines),
        *migrations.bring(order, cluster, only_look, lines),
        *admission.bring(cluster, server, with_need(order), only_look),
    ]


def alike(order: Order) -> str:
    """Another inventory's application of this name, in words; empty: there is none."""
    there = before(order)
    if order.takes_over or not there.identity or there.identity == order.identity:
        return ""
    if set(there.domains) & set(order.domains):
        return ""
    return (
        f"an application {order.app} is here already, of another inventory ({there.identity}): it "
        f"answers to {', '.join(there.domains) or 'no name'}, and this one would take its place, "
        "database and all. Choose another app_name; where it is the same application with another "
        "domain: -e preflight_takes_over=true"
    )
