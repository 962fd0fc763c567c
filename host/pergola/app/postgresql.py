"""The application's part of the PostgreSQL server: its connections, databases and roles."""

from collections.abc import Iterator

from pergola.app.order import Order
from pergola.database import databases, extensions, needs, restart, shared, state
from pergola.database.databases import Database
from pergola.database.needs import NEED, Need
from pergola.database.restart import Restarted
from pergola.database.server import Noted
from pergola.errors import PergolaError
from pergola.postgres import Cluster


def with_need(order: Order) -> dict[str, Need]:
    """The needs of all applications, this one's as they will be."""
    found = needs.noted()
    return {**found, order.app: order.need(found.get(order.app, Need()))}


def own(order: Order, server: Noted) -> list[Database]:
    """Its databases: the operators read them all, and its role has its share of connections."""
    return needs.own_databases(order.app, with_need(order)[order.app], server)


def others(order: Order) -> set[str]:
    """The names of the server's other applications, as PostgreSQL knows them."""
    return needs.noted().keys() - {order.app}


def packages(order: Order, server: Noted) -> list[str]:
    """Those of its extensions that are not installed."""
    return extensions.missing(extensions.packages(order.extensions, server.version))


def wrong(order: Order, server: Noted, cluster: Cluster) -> Iterator[str]:
    """Why the server cannot have it, a sentence each; nothing was changed so far."""
    applications = with_need(order)
    try:
        shared.wanted(cluster, server, applications, lowers=False)
    except PergolaError as error:
        yield f"{error.reason}. {error.hint}"
        return
    for package in extensions.unknown(packages(order, server)):
        yield (
            f"app_databases: this system has no package of the extension "
            f"{extensions.of_package(package)} ({package}). Remove it, or set "
            "postgresql_repository: pgdg in the inventory that provisions the server"
        )
    if not cluster.is_in_service():
        return
    found = state.of_server(cluster)
    yield from databases.taken(order.databases, found, others(order))
    yield from databases.lacking(cluster, order.databases, found, coming=extensions.SPECIAL)


def apply(order: Order, server: Noted, cluster: Cluster) -> tuple[list[str], Restarted | None]:
    """Have the server serve it; what was made, in words, and the restart that it took."""
    need = with_need(order)[order.app]
    path = needs.path_of(order.app)
    if NEED.read(path) != need:
        NEED.write(path, need)
    shared.settle(cluster, shared.wanted(cluster, server, needs.noted(), lowers=False))
    restarted = None
    found = restart.read_again(cluster)
    if found.pending or not found.running:
        restarted = restart.restart(cluster)
    return databases.bring(cluster, own(order, server), False, others(order)), restarted


def makes(order: Order, server: Noted, cluster: Cluster) -> list[str]:
    """What `apply` would make, in words."""
    if not cluster.is_in_service():
        return [f"database {one.name}" for one in order.databases]
    return databases.bring(cluster, own(order, server), True, others(order))


def alike(order: Order) -> str:
    """Another inventory's application of this name, in words; empty: there is none."""
    before = needs.noted().get(order.app, Need())
    if order.takes_over or not before.identity or before.identity == order.identity:
        return ""
    if set(before.domains) & set(order.domains):
        return ""
    return (
        f"an application {order.app} is here already, of another inventory ({before.identity}): it "
        f"answers to {', '.join(before.domains)}, and this one would take its place, database and "
        "all. Choose another app_name; where it is the same application with another domain: "
        "-e preflight_takes_over=true"
    )
