"""Requests wait while the database of another host restarts, in the queues of the slots' sockets.

A hold ends by itself after apps.PAUSE_SECONDS: whoever asked for it may be gone by then.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pergola import apps
from pergola.apps import App
from pergola.errors import PergolaError


@dataclass(frozen=True)
class Held:
    """Which applications are held, or go on."""

    apps: list[str] = field(default_factory=list)
    changed: bool = True


def concerned() -> list[App]:
    """Those that are live here, and have their database on another host of the environment."""
    return [app for app in apps.live() if app.database and not app.has_local_database()]


def hold() -> Held:
    """Hold all of them, or none: PergolaError where one cannot be."""
    found = concerned()
    with ThreadPoolExecutor(max(len(found), 1)) as pool:
        # All at once: the first one's requests must not wait for the last one's to end.
        said = dict(zip((app.name for app in found), pool.map(App.pause, found), strict=True))
        if failed := {name: why for name, why in said.items() if why}:
            list(pool.map(App.go_on, found))
            raise PergolaError(
                "requests would fail, as they cannot be held: "
                + "; ".join(f"{name}: {why}" for name, why in failed.items()),
                hint="deploy.yml makes what is missing; PostgreSQL was not restarted",
            )
    return Held([app.name for app in found])


def go_on() -> Held:
    """Let all of them go on."""
    found = concerned()
    with ThreadPoolExecutor(max(len(found), 1)) as pool:
        list(pool.map(App.go_on, found))
    return Held([app.name for app in found])
