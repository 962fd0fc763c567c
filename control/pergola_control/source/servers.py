"""The server of an application: one that only its lock can have is looked for at first."""

import re

from pergola_control.here import ROOT
from pergola_control.refusal import RefusalError

# Those that Pergola does not bring.
OF_THE_LOCK = ("granian", "hypercorn")
# Pergola's own, for a lock that has none.
OWN = ROOT / "host/pergola/release/uvicorn.txt"


def refuse_missing(server: str, lock: str, text: str) -> None:
    """Refuse a server that is not in the application's list of packages, which `lock` names."""
    if server not in OF_THE_LOCK:
        return
    named = re.compile(rf'^(name = "{server}"|{server}(\[.*\])?\s*==)', re.M | re.I)
    if not named.search(text):
        raise RefusalError(
            f"app_server is {server}, but {lock} has no {server}.",
            "app_server",
            f"add {server} to the project's dependencies, make the lock again and commit it; or "
            "set app_server: uvicorn, which Pergola brings if the lock has none",
        )


def own_version() -> str:
    """The version of Pergola's own Uvicorn."""
    found = re.search(r"^uvicorn==(\S+)", OWN.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else ""
