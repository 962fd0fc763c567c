"""What is live on this host, for programs."""

from pergola.documents import Json, plain
from pergola.records import LINE
from pergola.release.database import Database
from pergola.release.maintenance import Maintenance
from pergola.release.releases import Releases
from pergola.release.slots import Slots
from pergola.release.tree import read_text
from pergola.system import show

# What says of a manifest which release it is of; the rest are the settings that are part of it.
OWN = ("id", "commit", "describe", "date", "processes", "schedules")
NO_SETTINGS = (
    *(*OWN, "installer", "environment_names", "own_server", "interpreter"),
    *("lock", "directory", "version_variables", "exported"),
)
LAST_LINES = 10


def status(releases: Releases) -> Json:
    app = releases.app
    return {
        "app": app.name,
        "host": releases.host,
        "live": releases.live(),
        "slot": app.colour if releases.live() else None,
        "state": show(app.live_unit, "ActiveState"),
        "maintenance": Maintenance(releases).state(),
        "good": releases.good(),
        "ledger": [LINE.json(line) for line in releases.ledger()[-LAST_LINES:]],
    }


def runs_after(releases: Releases, live: str) -> bool:
    """Whether a deploy of the live release would run what comes after its migration."""
    command = releases.manifest(live).migrate_after_command
    mine = bool(command) and releases.settings.runs_schedules
    return mine and not releases.has_migrated_after(live)


def for_plan(releases: Releases) -> Json:
    """What the control node needs to tell what a deploy would change; secrets stay here."""
    live = releases.live()
    if live is None:
        return {"changed": False, "live": None}
    found = releases.manifest(live)
    name = found.lock_path
    manifest = plain(found)
    return {
        "changed": False,
        "live": {
            **{name: manifest[name] for name in OWN},
            "environment_names": found.environment_names,
            "environment": found.environment_names,
            "lock": read_text(releases.path(live), "code", *name.split("/")),
            "lock_name": name,
            "directory": found.directory,
            "revision": Database(releases).revision(),
            "slot": releases.app.colour,
            "current": Slots(releases).is_current(releases.app.colour),
            "runs_after": runs_after(releases, live),
            "config": {key: manifest[key] for key in manifest if key not in NO_SETTINGS},
        },
    }
