"""Whether this host reaches the others that it needs."""

import socket
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

SECONDS = 3.0


def unreachable(places: Iterable[str]) -> Iterator[str]:
    """Why a connection cannot be made, for each address:port of which that is so."""
    found = list(places)
    with ThreadPoolExecutor(max(len(found), 1)) as pool:
        for place, why in zip(found, pool.map(refusal, found), strict=True):
            if why:
                yield (
                    f"it cannot reach {place}: {why}. Is that host up, was it provisioned "
                    "(site.yml without --limit), and does no firewall of the provider stand "
                    "between them?"
                )


def refusal(place: str) -> str:
    """Why no connection can be made; empty: it can."""
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS).close()
    except TimeoutError:
        return f"no answer within {SECONDS:.0f} s"
    except OSError as error:
        return error.strerror or str(error)
    return ""
