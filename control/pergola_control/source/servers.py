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
    if server in OF_THE_LOCK and not is_in_lock(server, text):
        raise RefusalError(
            f"app_server is {server}, but {lock} has no {server}.",
            "app_server",
            f"add {server} to the project's dependencies, make the lock again and commit it; or "
            "set app_server: uvicorn, which Pergola brings if the lock has none",
        )


def is_in_lock(name: str, text: str) -> bool:
    """Whether a list of packages has one of this name."""
    return bool(re.search(rf'^(name = "{name}"|{name}(\[.*\])?\s*==)', text, re.M | re.I))


def own_version() -> str:
    """The version of Pergola's own Uvicorn."""
    found = re.search(r"^uvicorn==(\S+)", OWN.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else ""
