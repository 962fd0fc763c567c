"""What the server has for an application, and cannot do for it, before the first change."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pergola import apps, apt
from pergola.app import directories, postgresql, services
from pergola.app import packages as needed
from pergola.app.order import Order
from pergola.database import server as servers
from pergola.database import shared
from pergola.database.server import Noted
from pergola.database.shared import Changes
from pergola.errors import PergolaError
from pergola.postgres import Cluster
from pergola.web import site
from pergola.web.site import Site

# What role caddy of this Pergola has written.
PROVISIONED = Path("/etc/caddy/authority")


@dataclass(frozen=True)
class Look:
    """The answer.

    `wrong`: why it cannot be, a sentence each. `install`: packages. `packages`: those that its code
    needs, with the reason. `restart`: what PostgreSQL restarts for. `makes`: what is missing of
    databases and services, in words. `provisioned`: by this Pergola, or a newer one that reads the
    same.
    """

    site: Site
    provisioned: bool
    wrong: list[str] = field(default_factory=list)
    install: list[str] = field(default_factory=list)
    restart: Changes = field(default_factory=dict)
    makes: list[str] = field(default_factory=list)
    packages: list[str] = field(default_factory=list)


def look(order: Order) -> Look:
    found = site.look(order.app, order.domains[0] if order.domains else "")
    system = needed.look(order.system)
    packages = [*apt.missing(order.packages), *system.install]
    in_the_way = directories.wrong(apps.HOMES / order.app, order.shared)
    not_served = services.wrong(order.app, order.services)
    wrong = [*alike_names(order), *in_the_way, *system.wrong, *not_served]
    makes = [f"directory {path}" for path in directories.missing(order.writable)]
    makes += services.makes(order.app, order.services)
    provisioned = bool(found.version) and PROVISIONED.exists()
    if not order.has_database:
        return Look(
            found,
            provisioned,
            wrong=wrong,
            install=packages,
            makes=makes,
            packages=system.notes,
        )
    server = servers.NOTED.read(servers.FILE)
    if server is None or not server.least:
        return Look(found, provisioned=False, wrong=wrong, install=packages, packages=system.notes)
    try:
        cluster = postgresql.of_server(server)
    except PergolaError as error:
        return Look(found, provisioned, wrong=[*wrong, f"{error.reason}. {error.hint}"])
    wrong += postgresql.wrong(order, server, cluster)
    return Look(
        site=found,
        provisioned=provisioned,
        wrong=wrong,
        install=[*packages, *postgresql.packages(order, server)],
        restart={} if wrong else restarts(order, server, cluster),
        makes=[] if wrong else [*postgresql.makes(order, server, cluster), *makes],
        packages=system.notes,
    )


def alike_names(order: Order) -> Iterator[str]:
    """What another application or site of the server has already."""
    if said := postgresql.alike(order):
        yield said
    yield from site.taken(order.app, order.domains)
    if order.path and (said := site.path_wrong(order.app, order.path_domain, order.path)):
        yield said


def restarts(order: Order, server: Noted, cluster: Cluster) -> Changes:
    content = shared.wanted(cluster, server, postgresql.with_need(order), lowers=False)
    return shared.restarts(cluster, content)
