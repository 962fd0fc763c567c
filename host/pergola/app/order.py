"""What role app wants of this host."""

from dataclasses import dataclass, field

from pergola.app.directories import Directory
from pergola.app.packages import Wanted
from pergola.app.services import Service
from pergola.database import extensions
from pergola.database.databases import Database
from pergola.database.needs import Need
from pergola.documents import Form


@dataclass(frozen=True)
class Order:
    """One application.

    `identity`: what tells it from one of another inventory that has the same name. `domains`: the
    names of its site, its own first. `path`: it answers that path of another application's
    `path_domain`, by its `path_file`. `has_database`: in this host's own PostgreSQL, with so many
    `connections` at once; `keeps_connections`: not fewer than before, as not all were counted.
    `packages`: what it needs of the distribution's beside those of its extensions. `system`: what
    its code needs of them. `files`: the directories in which it keeps files. `shared`: those that
    stay from release to release. `writable`: others that it writes to. `takes_over`: somebody
    said yes to an application of another inventory. `tcp`: PostgreSQL lets it in by 127.0.0.1, too.
    `services`: what it has beside its database. `migrate_limits`: the settings of PostgreSQL that
    bound its migrations, in seconds; 0: without a limit. `here`: its releases run on this host;
    otherwise the host has its databases, its `site`, or both. `clients`: the addresses of other
    hosts that reach the databases. `reaches`: as address:port, what it must reach on other hosts.
    """

    app: str
    domains: list[str]
    path: str = ""
    path_domain: str = ""
    path_file: str = ""
    identity: str = ""
    has_database: bool = True
    connections: int = 0
    keeps_connections: bool = False
    databases: list[Database] = field(default_factory=list)
    packages: list[str] = field(default_factory=list)
    system: Wanted = field(default_factory=Wanted)
    tcp: bool = False
    files: list[str] = field(default_factory=list)
    shared: list[Directory] = field(default_factory=list)
    writable: list[str] = field(default_factory=list)
    takes_over: bool = False
    services: list[Service] = field(default_factory=list)
    migrate_limits: dict[str, int] = field(default_factory=dict)
    here: bool = True
    site: bool = True
    clients: list[str] = field(default_factory=list)
    reaches: list[str] = field(default_factory=list)

    @property
    def extensions(self) -> list[str]:
        return sorted({name for one in self.databases for name in one.extensions})

    def need(self, before: Need) -> Need:
        """What it needs of PostgreSQL.

        An extension that is taken from the list stays in its database, and statements there fail
        without its library: what was loaded for it before stays loaded. So does an earlier release
        that reaches PostgreSQL by TCP.
        """
        return Need(
            connections=max(self.connections, before.connections * self.keeps_connections),
            preload=sorted({*before.preload, *extensions.preload(self.extensions)}),
            packages=extensions.endings(self.extensions),
            databases=self.databases,
            tcp=self.tcp or before.tcp,
            here=self.here,
            clients=sorted(self.clients),
            identity=self.identity,
            domains=self.domains,
        )


ORDER = Form(Order)
