"""A host that takes no requests of its edge for a while: it is updated, or restarts.

The mark lies below /run: a restart of the host takes it away.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

from pergola import apps
from pergola.apps import App

MARK = "away"
# An edge asks each second, and gives an answer two (roles/app/templates/edge.caddy.j2); a request
# that it has sent just before is answered meanwhile.
NOTICED_SECONDS = 4.0


@dataclass(frozen=True)
class Marked:
    """The applications whose mark was changed."""

    changed: bool
    apps: list[str] = field(default_factory=list)


def away() -> Marked:
    """Have edges send nothing here, and wait until they know."""
    found = [app for app in apps.live() if app.has_site() and not mark(app).exists()]
    for app in found:
        mark(app).touch()
    if found:
        time.sleep(NOTICED_SECONDS)
    return Marked(bool(found), [app.name for app in found])


def back() -> Marked:
    """Take requests again."""
    found = [app for app in apps.live() if mark(app).exists()]
    for app in found:
        mark(app).unlink(missing_ok=True)
    if found:
        # Before the next host goes, edges know of this one.
        time.sleep(NOTICED_SECONDS)
    return Marked(bool(found), [app.name for app in found])


def mark(app: App) -> Path:
    return app.run_dir / MARK
