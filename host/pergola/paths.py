"""Applications that answer a path of another one's site (app_path), by their files for Caddy.

/etc/caddy/paths/<domain>/<number>-<app>.caddy; the site that has the domain takes them in, by the
number: the longest path first.
"""

import re
from pathlib import Path

FOLDER = Path("/etc/caddy")
PATH = re.compile(r"^@\S+ path (\S+) ", re.MULTILINE)


def files(app: str, domain: str = "*") -> list[Path]:
    """Those of an application; "*": of all."""
    return sorted(FOLDER.glob(f"paths/{domain}/[0-9][0-9][0-9]-{app}.caddy"))


def owner_of(domain: str) -> str:
    """The application whose site takes in the paths of a domain; empty: none does."""
    line = f"/paths/{domain}/*.caddy\n"
    found = (path.stem for path in sorted(FOLDER.glob("*.caddy")) if line in path.read_text())
    return next(found, "")


def log_owner(app: str) -> str:
    """The application in whose access log the answers of this one stand."""
    found = (owner_of(file.parent.name) for file in files(app))
    return next(filter(None, found), app)


def of_domain(domain: str) -> dict[str, str]:
    """Who answers which path of a domain, by the path."""
    found = {}
    for file in files("*", domain):
        if said := PATH.search(file.read_text()):
            found[said[1]] = file.stem[4:]
    return found
