"""What role postgresql has noted of the server: which cluster is meant, and what it is set to."""

from dataclasses import dataclass, field
from pathlib import Path

from pergola.documents import Form
from pergola.errors import PergolaError
from pergola.postgres import Cluster

FILE = Path("/etc/pergola/postgresql.json")


@dataclass(frozen=True)
class Noted:
    """The server as the inventory that provisions it has set it.

    `version`: of the cluster that applications use. `connections`: as set; 0: as many as the
    applications need beside `other_connections`, and at least `least`, which is 0 where an earlier
    Pergola has noted it. `work_mb`: megabytes that
    all connections share for sorts and hashes. `own`: the names in postgresql_settings. `readers`:
    who may read every application's databases. `address`: where applications of other hosts reach
    it; empty: it is not on the network. `hba`, `ident`: lines of pg_hba.conf and pg_ident.conf for
    others than applications.
    """

    version: int
    connections: int = 0
    other_connections: int = 20
    least: int = 0
    work_mb: int = 0
    own: list[str] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)
    address: str = ""
    hba: list[str] = field(default_factory=list)
    ident: list[str] = field(default_factory=list)


NOTED = Form(Noted)


def noted() -> Noted:
    found = NOTED.read(FILE)
    if found is None:
        raise PergolaError(f"{FILE} is missing", hint="run provision.yml")
    return found


def cluster(version: int | None = None) -> Cluster:
    """The cluster of a version; None: of the one that is noted."""
    return Cluster(noted().version if version is None else version)
