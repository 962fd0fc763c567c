"""What is live on this host, for programs."""

import socket
from typing import Any

from releases.database import Database
from releases.maintenance import Maintenance
from releases.store import Store
from releases.system import show


def status(store: Store) -> dict[str, Any]:
    return {
        "app": store.app,
        "host": socket.gethostname(),
        "live": store.live(),
        "slot": store.live_colour(),
        "state": show(store.unit(store.live_colour()), "ActiveState"),
        "maintenance": Maintenance(store).state(),
        "good": store.good(),
        "ledger": store.ledger()[-10:],
    }


def for_plan(store: Store) -> dict[str, Any]:
    """What the control node needs to tell what a deploy would change; secrets stay here."""
    live = store.live()
    if live is None:
        return {"changed": False, "live": None}
    manifest = store.manifest(live)
    name = "uv.lock" if manifest.get("installer") == "uv-lock" else "requirements.txt"
    lock = store.path(live) / "code" / name
    own = ("id", "commit", "describe", "date", "processes", "schedules", "environment_names")
    return {
        "changed": False,
        "live": {
            **{name: manifest.get(name) for name in own},
            "environment": manifest.get("environment_names", []),
            "lock": lock.read_text() if lock.exists() else None,
            "lock_name": name,
            "revision": Database(store).revision(),
            "slot": store.live_colour(),
            "config": {
                key: value
                for key, value in manifest.items()
                if key not in (*own, "installer", "environment_names")
            },
        },
    }
