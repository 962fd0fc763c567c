"""Which cluster is meant: that of the version which role postgresql has noted."""

from dataclasses import dataclass
from pathlib import Path

from pergola.documents import Form
from pergola.errors import PergolaError
from pergola.postgres import Cluster

FILE = Path("/etc/pergola/postgresql.json")


@dataclass(frozen=True)
class Noted:
    """The version of the cluster that applications use."""

    version: int


NOTED = Form(Noted)


def cluster(version: int | None = None) -> Cluster:
    """The cluster of a version; None: of the one that is noted."""
    if version is not None:
        return Cluster(version)
    noted = NOTED.read(FILE)
    if noted is None:
        raise PergolaError(f"{FILE} is missing", hint="run site.yml")
    return Cluster(noted.version)
