"""Names that Caddy answers to already, for another site than this inventory's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .finding import Finding, is_ours, output, read

FOLDER = Path("/etc/caddy")


def names(path: Path) -> set[str]:
    """The hosts of a file of sites, as Caddy itself reads it."""
    adapted = output("caddy", "adapt", "--adapter", "caddyfile", "--config", str(path))
    return {
        name
        for found in re.findall(r'"host":\[([^\]]*)\]', adapted)
        for name in json.loads(f"[{found}]")
    }


def found(site: str, wanted: list[str]) -> Iterator[Finding]:
    """Files of other sites that have a name of this one's."""
    if not FOLDER.is_dir() or not wanted:
        return
    for path in sorted(FOLDER.glob("*.caddy")):
        if path.stem == site:
            continue
        for name in sorted(names(path) & set(wanted)):
            yield Finding(
                f"name-{name}",
                f"{path} answers to {name} already: Caddy would load neither",
                "choose another app_domain, app_domain_aliases or app_redirected_domains, or take "
                "it out of that site",
                adoptable=False,
            )
    caddyfile = FOLDER / "Caddyfile"
    if caddyfile.is_file() and not is_ours(caddyfile) and read(caddyfile).strip():
        for name in sorted(names(caddyfile) & set(wanted)):
            yield Finding(
                f"name-{name}",
                f"{caddyfile} answers to {name} already",
                "take that site out of it: this application takes its place",
                adoptable=False,
            )


def taken(site: str, wanted: list[str], identity: str, own: dict[str, Any]) -> Iterator[Finding]:
    """An application of the same name that another inventory has brought, for another site."""
    path = FOLDER / f"{site}.caddy"
    before = str(own.get("identity", ""))
    if not before or before == identity or not is_ours(path):
        return
    there = names(path)
    if there and not there & set(wanted):
        yield Finding(
            f"application-{site}",
            f"an application {site} is here already, of another inventory ({before}): it answers "
            f"to {', '.join(sorted(there))}, and this one would take its place, database and all",
            "choose another app_name; where it is the same application with another name of its "
            "site, say yes",
        )
