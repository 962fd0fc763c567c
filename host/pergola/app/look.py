"""What the server has for an application, and cannot do for it, before the first change."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from pergola import apps, apt
from pergola.app import directories, postgresql, services
from pergola.app import packages as needed
from pergola.app.order import Order
from pergola.app.reach import unreachable
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
    own = look_at_own(order)
    provisioned = not order.site or (bool(found.version) and PROVISIONED.exists())
    wrong = [*alike_names(order), *own.wrong, *unreachable(order.reaches)]
    if not order.has_database:
        return replace(own, site=found, provisioned=provisioned, wrong=wrong)
    server = servers.NOTED.read(servers.FILE)
    if server is None or not server.least:
        return replace(own, site=found, provisioned=False, wrong=wrong, makes=[])
    try:
        cluster = postgresql.of_server(server)
    except PergolaError as error:
        told = f"{error.reason}. {error.hint}"
        return Look(found, provisioned, wrong=[*wrong, told])
    wrong += postgresql.wrong(order, server, cluster)
    return Look(
        site=found,
        provisioned=provisioned,
        wrong=wrong,
        install=[*own.install, *postgresql.packages(order, server)],
        restart={} if wrong else restarts(order, server, cluster),
        makes=[] if wrong else [*postgresql.makes(order, server, cluster), *own.makes],
        packages=own.packages,
    )


def look_at_own(order: Order) -> Look:
    """What is the application's own here: packages, directories, services."""
    if not order.here:
        return Look(Site(), provisioned=False)
    system = needed.look(order.system)
    in_the_way = directories.wrong(apps.HOMES / order.app, order.shared)
    makes = [f"directory {path}" for path in directories.missing(order.writable)]
    return Look(
        Site(),
        provisioned=False,
        wrong=[*in_the_way, *system.wrong, *services.wrong(order.app, order.services)],
        install=[*apt.missing(order.packages), *system.install],
        makes=[*makes, *services.makes(order.app, order.services)],
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
