"""Locks of PDM whose hash of the project an older PDM made: the current one takes only its own."""

import hashlib
import json
import tomllib
from collections.abc import Mapping

from pergola_control.source.projects import canonical, table

# A lock without it has no markers, and cannot be exported.
WITH_MARKERS = "pdm lock --strategy inherit_metadata --update-reuse"


def is_fresh(files: Mapping[str, str]) -> bool:
    """Whether a pdm.lock is of its pyproject.toml, by the hash that older versions of PDM made.

    It had the overrides alone of what is now hashed as `resolution`, and at first no groups of
    [dependency-groups].
    """
    found = tomllib.loads(files["pyproject.toml"])
    said = table(tomllib.loads(files["pdm.lock"]), "metadata").get("content_hash")
    settings, metadata = table(found, "tool", "pdm"), table(found, "project")
    own = {canonical(name): deps for name, deps in table(settings, "dev-dependencies").items()}
    groups = {canonical(name): deps for name, deps in table(found, "dependency-groups").items()}
    both = {name: [*listed(groups, name), *listed(own, name)] for name in groups | own}
    hashed = {
        "sources": settings.get("source", []),
        "dependencies": metadata.get("dependencies", []),
        "optional-dependencies": metadata.get("optional-dependencies", {}),
        "requires-python": metadata.get("requires-python", ""),
        "overrides": table(settings, "resolution", "overrides"),
    }
    forms = (table(settings, "dev-dependencies"), both)
    return said in {digest({**hashed, "dev-dependencies": one}) for one in forms}


def listed(groups: Mapping[str, object], name: str) -> list[object]:
    found = groups.get(name, [])
    return list(found) if isinstance(found, list) else []


def digest(hashed: Mapping[str, object]) -> str:
    """The hash as a lock has it."""
    text = json.dumps(hashed, sort_keys=True, default=str)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
