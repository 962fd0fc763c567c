"""The server of an application: one that only its lock can have is looked for at first."""

import re
from collections.abc import Callable

from pergola_control.here import ROOT
from pergola_control.refusal import RefusalError

# Those that Pergola does not bring.
OF_THE_LOCK = ("granian", "hypercorn")
LOCKS = ("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "requirements.txt")
# Pergola's own, for a lock that has none.
OWN = ROOT / "host/pergola/release/uvicorn.txt"


def refuse_missing(server: str, read: Callable[[str], str | None]) -> None:
    """Refuse a server that is in none of the application's locks."""
    found = {name: text for name in LOCKS if (text := read(name)) is not None}
    if server not in OF_THE_LOCK or not found:
        return
    named = re.compile(rf'^(name = "{server}"|\s*"{server}": \{{|{server}(\[.*\])?\s*==)', re.M)
    if not any(map(named.search, found.values())):
        raise RefusalError(
            f"app_server is {server}, but {', '.join(found)} has no {server}.",
            "app_server",
            f"add {server} to the project's dependencies, make the lock again and commit it; or "
            "set app_server: uvicorn, which Pergola brings if the lock has none",
        )


def own_version() -> str:
    """The version of Pergola's own Uvicorn."""
    found = re.search(r"^uvicorn==(\S+)", OWN.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else ""
