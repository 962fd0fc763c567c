"""What the server has for an application, and cannot do for it, before the first change."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from pergola.app import postgresql
from pergola.app.order import Order
from pergola.database import extensions, shared
from pergola.database import server as servers
from pergola.database.server import Noted
from pergola.database.shared import Changes
from pergola.postgres import Cluster
from pergola.web import site
from pergola.web.site import Site


@dataclass(frozen=True)
class Look:
    """The answer.

    `wrong`: why it cannot be, a sentence each. `install`: packages. `restart`: what PostgreSQL
    restarts for. `makes`: what is missing of databases, in words. `provisioned`: by anybody.
    """

    site: Site
    provisioned: bool
    wrong: list[str] = field(default_factory=list)
    install: list[str] = field(default_factory=list)
    restart: Changes = field(default_factory=dict)
    makes: list[str] = field(default_factory=list)


def look(order: Order) -> Look:
    found = site.look(order.app, order.domains[0])
    server = servers.NOTED.read(servers.FILE) if order.has_database else None
    packages = extensions.missing(order.packages)
    wrong = [*alike_names(order)]
    if server is None:
        provisioned = bool(found.version) and not order.has_database
        return Look(found, provisioned, wrong=wrong, install=packages)
    cluster = Cluster(server.version)
    wrong += postgresql.wrong(order, server, cluster)
    return Look(
        site=found,
        provisioned=bool(found.version),
        wrong=wrong,
        install=[*packages, *postgresql.packages(order, server)],
        restart={} if wrong else restarts(order, server, cluster),
        makes=[] if wrong else postgresql.makes(order, server, cluster),
    )


def alike_names(order: Order) -> Iterator[str]:
    """What another application or site of the server has already."""
    if said := postgresql.alike(order):
        yield said
    yield from site.taken(order.app, order.domains)


def restarts(order: Order, server: Noted, cluster: Cluster) -> Changes:
    content = shared.wanted(cluster, server, postgresql.with_need(order), lowers=False)
    return shared.restarts(cluster, content)
