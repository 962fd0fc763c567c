"""Extensions of PostgreSQL that have a package of their own, or must be loaded at its start.

The others are part of the server's package, or of packages in base_extra_packages.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Special:
    """`package`: the end of its name, after postgresql-VERSION-; `preload`: its library."""

    package: str
    preload: str = ""


SPECIAL = {
    "vector": Special("pgvector"),
    "postgis": Special("postgis-3"),
    "pg_cron": Special("cron", "pg_cron"),
    "pgaudit": Special("pgaudit", "pgaudit"),
}


def endings(extensions: Iterable[str]) -> list[str]:
    return sorted({SPECIAL[one].package for one in extensions if one in SPECIAL})


def packages(extensions: Iterable[str], version: int) -> list[str]:
    return [f"postgresql-{version}-{name}" for name in endings(extensions)]


def preload(extensions: Iterable[str]) -> list[str]:
    return sorted({SPECIAL[one].preload for one in extensions if one in SPECIAL} - {""})


def of_package(package: str) -> str:
    """The extension that a package brings."""
    return next(name for name, one in SPECIAL.items() if package.endswith(f"-{one.package}"))
