"""Extensions of PostgreSQL that have a package of their own, or must be loaded at its start.

The others are part of the server's package, or of packages in base_extra_packages.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from pergola.system import attempt


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


def missing(names: Iterable[str]) -> list[str]:
    """The packages that are not installed."""
    form = "--showformat=${db:Status-Status}"
    return [
        name
        for name in names
        if attempt("dpkg-query", "--show", form, name).stdout.strip() != "installed"
    ]


def unknown(names: Iterable[str]) -> list[str]:
    """The packages that apt cannot install, as no archive that it reads has them."""
    return [
        name for name in names if "Candidate: (none)" in (said := policy(name)) or not said.strip()
    ]


def policy(name: str) -> str:
    return attempt("apt-cache", "policy", name).stdout
