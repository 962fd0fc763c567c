"""Services of applications, such as Valkey: how full they are, as they say themselves."""

import re
import socket
import time
from collections.abc import Iterable, Iterator

from pergola import apps
from pergola.apps import service_unit
from pergola.people import size
from pergola.status.config import Site
from pergola.status.look import OK, UNKNOWN, Finding, Look
from pergola.status.seen import Store

SECONDS = 3
# Its answer ends with this one's.
ASKED = b"INFO memory\r\nINFO stats\r\nPING\r\n"
END = b"+PONG\r\n"
LINE = re.compile(r"^(\w+):(.*?)\r?$", re.MULTILINE)


# -- seen ------------------------------------------------------------------------------------------


def seen(sites: Iterable[Site]) -> list[Store]:
    """What each service of the applications says."""
    return [asked(site.app, name) for site in sites for name in site.services]


def asked(app: str, name: str) -> Store:
    try:
        said = dict(LINE.findall(answer(f"{apps.RUN}/{app}/{name}/{name}.sock")))
        return Store(
            app,
            name,
            used_bytes=int(said["used_memory"]),
            most_bytes=int(said["maxmemory"]),
            eviction=said["maxmemory_policy"],
            evicted=int(said["evicted_keys"]),
        )
    except (OSError, KeyError, ValueError) as error:
        return Store(app, name, error=f"{type(error).__name__}: {error}")


def answer(path: str) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        until = time.monotonic() + SECONDS
        connection.settimeout(SECONDS)
        connection.connect(path)
        connection.sendall(ASKED)
        said = b""
        while not said.endswith(END):
            connection.settimeout(max(until - time.monotonic(), 0.001))
            more = connection.recv(65536)
            if not more:
                raise OSError("the answer was cut off")
            said += more
    return said.decode(errors="replace")


# -- judged ----------------------------------------------------------------------------------------


def full(look: Look) -> Iterator[Finding]:
    """One that removes any key to make room is meant to be full; no other may get there."""
    for one in look.seen.services or []:
        name = f"{one.name} {one.app}"
        if one.error or not one.most_bytes:
            why = one.error or "it has no limit of memory"
            yield Finding(name, UNKNOWN, f"{why}; see unit {service_unit(one.app, one.name)}")
            continue
        percent = 100 * one.used_bytes / one.most_bytes
        says = f"{size(one.used_bytes)} of {size(one.most_bytes)} in use"
        if one.evicted:
            says += f", {one.evicted} keys were removed to make room since its start"
        if one.eviction.startswith("allkeys-"):
            yield Finding(name, OK, says)
            continue
        state = look.level(name, "service_percent", percent)
        if state != OK:
            says += (
                f"; writes fail when it is full ({one.eviction}): look for what is not taken out "
                "of it, or raise memory_max in app_services"
            )
        yield Finding(name, state, says)


CHECKS = (full,)
