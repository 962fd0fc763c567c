"""The server of an application: one that only its lock can have is looked for at first."""

import re

from pergola_control.here import ROOT
from pergola_control.refusal import RefusalError
from pergola_control.source.packages import Packages

# Those that Pergola does not bring.
OF_THE_LOCK = ("granian", "hypercorn")
# Pergola's own, for a lock that has none.
OWN = ROOT / "host/pergola/release/uvicorn.txt"


def refuse_missing(server: str, packages: Packages) -> None:
    """Refuse a server that is none of the packages that are installed."""
    if server in OF_THE_LOCK and not packages.has(server):
        what = f"{packages.said} has no {server}"
        if server in packages.listed:
            what = f"{packages.said} has {server} for development, or for an extra or a group only"
        raise RefusalError(
            f"app_server is {server}, but {what}.",
            "app_server",
            f"add {server} to the project's dependencies, make the lock again and commit it; or "
            "set app_server: uvicorn, which Pergola brings if the lock has none",
        )


def own_version() -> str:
    """The version of Pergola's own Uvicorn."""
    found = re.search(r"^uvicorn==(\S+)", OWN.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else ""
