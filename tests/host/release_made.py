"""An application with releases, made for a test below its own directory."""

import json
from collections.abc import Sequence
from dataclasses import replace

from pergola.lock import Caller, Lock, Patience
from pergola.records import Line
from pergola.release.releases import Releases


def kept(releases: Releases, *names: str) -> None:
    """Have some releases been prepared."""
    for name in names:
        releases.path(name).mkdir(mode=0o750, exist_ok=True)
        (releases.path(name) / "ready").touch()


def manifest(releases: Releases, name: str, **values: object) -> None:
    """Have a release been made of something."""
    kept(releases, name)
    (releases.path(name) / "release.json").write_text(json.dumps(values))


def record(releases: Releases, action: str, name: str, outcome: str, **more: object) -> None:
    releases.record(replace(Line(action=action, to=name, outcome=outcome), **more))


def live(releases: Releases, name: str, action: str = "deploy", **more: object) -> None:
    """Have a release gone live."""
    kept(releases, name)
    record(releases, action, name, "live", **more)


def having(releases: Releases, **changes: object) -> Releases:
    """Have other settings."""
    releases.settings = replace(releases.settings, **changes)
    return releases


def schema(before: str | None, after: str | None, **more: object) -> dict[str, object]:
    return {"schema": (before, after), **more}


def lock_of(
    releases: Releases, run: str = "node/1/1", alive: Sequence[str] = ("node/1/1",), wait: int = 0
) -> Lock:
    """The lock as a call of a run has it."""
    settings = releases.settings
    lasts, unconnected = settings.lock_seconds, settings.unconnected_seconds
    caller = Caller(run, releases.who, tuple(alive), lasts, unconnected)
    return Lock(releases.app.place, caller, "deploy of a", Patience(wait))
