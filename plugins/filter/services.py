"""Services of an application beside its database, such as Valkey, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

NAME = "app_services"
# By names: the packages that have it, the first that the system knows, and its variables.
# (That of its tools has the whole program, and starts no instance for the whole server.)
PACKAGES = {"valkey": "valkey-tools | redis-tools"}
VARIABLES = {"valkey": ("REDIS_URL", "VALKEY_URL")}
DEFAULTS = {"memory_max": "256M", "eviction": "noeviction", "persistent": False}
POLICIES = (
    "noeviction", "allkeys-lru", "allkeys-lfu", "allkeys-random",
    "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl",
)  # fmt: skip
SIZE = re.compile(r"([1-9][0-9]{0,5})([MG])")
UNITS = {"M": 2**20, "G": 2**30}
LEAST = 8 * 2**20  # it takes 1 MB for itself


def given(services: Sequence[Any]) -> list[dict[str, Any]]:
    """Each as a dictionary with its name."""
    return [dict(one) if isinstance(one, Mapping) else {"name": one} for one in services]


def each(services: Sequence[Any]) -> list[dict[str, Any]]:
    """Each with all of its settings, for the host; the checks have nothing to say of them."""
    found = []
    for one in given(services):
        whole = {**DEFAULTS, **one}
        found.append(
            {
                "name": str(whole["name"]),
                "memory_bytes": size(whole["memory_max"]),
                "eviction": str(whole["eviction"]),
                "persistent": whole["persistent"] is True,
            }
        )
    return found


def size(text: object) -> int:
    """The bytes of such as 256M; 0: it is no size."""
    found = SIZE.fullmatch(str(text))
    return int(found[1]) * UNITS[found[2]] if found else 0


def here(services: Sequence[Any], app: str) -> dict[str, dict[str, str]]:
    """Each service by its name, for templates: its `socket` and its `url`."""
    found = {}
    for one in given(services):
        socket = f"/run/{app}/{one.get('name')}/{one.get('name')}.sock"
        found[str(one.get("name"))] = {"socket": socket, "url": f"unix://{socket}"}
    return found


def variables(service: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The variables that an application gets, of what `here` has found."""
    return {
        variable: one["url"]
        for name, one in service.items()
        for variable in VARIABLES.get(name, ())
    }


def packages(services: Sequence[Any]) -> dict[str, str]:
    """What of the distribution's packages they need, such as `a | b`, and what for."""
    names = [str(one.get("name")) for one in given(services)]
    return {PACKAGES[name]: f"{NAME}: {name}" for name in names if name in PACKAGES}


def wrong(services: Sequence[Any]) -> Iterator[str]:
    """What is wrong with the setting, as texts that begin with its name."""
    known = ", ".join(PACKAGES)
    names = []
    for one in given(services):
        if (name := one.get("name")) not in PACKAGES:
            yield f"{NAME}: there is no service {name}; there is {known}. Example: [valkey]"
            continue
        names.append(str(name))
        if more := sorted(map(str, set(one) - {"name", *DEFAULTS})):
            yield f"{NAME}, {name}: {', '.join(more)}: it has {', '.join(DEFAULTS)}"
        whole = {**DEFAULTS, **one}
        if size(whole["memory_max"]) < LEAST:
            yield (
                f"{NAME}, {name}: memory_max '{whole['memory_max']}' must be a size of 8M at "
                "least, such as 256M or 2G"
            )
        if whole["eviction"] not in POLICIES:
            yield f"{NAME}, {name}: eviction '{whole['eviction']}' is none of {', '.join(POLICIES)}"
        if not isinstance(whole["persistent"], bool):
            yield f"{NAME}, {name}: persistent is true or false"
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{NAME}: {name} is there twice"


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {
            "services_each": each,
            "services_here": here,
            "services_packages": packages,
            "services_variables": variables,
            "services_wrong": lambda services: list(wrong(services)),
        }
