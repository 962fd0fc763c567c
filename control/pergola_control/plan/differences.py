"""Settings, variables, processes and schedules that two releases do not have in common."""

import json
from collections.abc import Callable, Mapping, Sequence

from pergola_control.plan.order import Live, New, Work, Works
from pergola_control.programs import text

# Any other setting may hold a password, if only in a command line.
HARMLESS = frozenset(
    {
        "asgi",
        "backward_compatible",
        "domain",
        "extras",
        "groups",
        "drain_seconds",
        "health_follow_redirects",
        "health_path",
        "health_status",
        "migrate_after_command",
        "migrate_command",
        "node",
        "package",
        "python",
        "requirements",
        "server",
        "shared_directories",
        "start_timeout_seconds",
        "static_dir",
        "static_url",
        "subdirectory",
        "uvicorn_options",
        "web",
        "workers",
    }
)


def differences(
    before: Mapping[str, object],
    after: Mapping[str, object],
    show: Callable[[str, object], object] = lambda _name, value: value,
) -> list[str]:
    """One line for each name that came, went or has another value; `show` may say nothing of it."""
    lines = []
    for name in sorted({*before, *after}):
        if name not in before:
            lines.append(f"+ {name} {show(name, after[name])}")
        elif name not in after:
            lines.append(f"- {name} {show(name, before[name])}")
        elif before[name] != after[name]:
            old, new = show(name, before[name]), show(name, after[name])
            lines.append(f"~ {name} {old} -> {new}" if old or new else f"~ {name}")
    return lines


def harmless(name: str, value: object) -> str:
    """A setting's value for a person, or nothing if it could be a secret."""
    if name not in HARMLESS:
        return ""
    if isinstance(value, list):
        value = " ".join(map(str, value))
    shown = value if isinstance(value, str) else json.dumps(value)
    return text(shown.encode()) or "(empty)"


def setting_lines(live: Live | None, new: New) -> list[str]:
    """The settings that differ; for a first deploy those that say something."""
    if live is None:
        said = {name: value for name, value in new["config"].items() if value not in ("", [], {})}
        return differences({}, said, harmless)
    before = live.get("config")
    if before is None:
        return ["cannot be compared: those of the live release are unknown"]
    return differences(before, new["config"], harmless)


def environment_lines(live: Live | None, new: New, more_differs: bool) -> list[str]:
    """The names of variables that come and go."""
    after = dict.fromkeys(new["environment"], "")
    if live is None:
        return differences({}, after)
    before = live.get("environment")
    if before is None:
        return ["cannot be compared: that of the live release is unknown"]
    lines = differences(dict.fromkeys(before, ""), after)
    # An id ends in a digest of all settings, those that are never shown among them.
    if lines or live["id"].rpartition("-")[2] == new["id"].rpartition("-")[2]:
        return lines
    if more_differs:
        return ["the same names; values, which are never shown, may differ"]
    return ["the same names; a value, which is never shown, differs here or in a secret file"]


def by_name(works: Sequence[Work] | Works | None) -> Works:
    """Processes or schedules by their names, from a list as well."""
    if isinstance(works, Mapping):
        return works
    return {str(work["name"]): work for work in works or ()}


def work_lines(before: Works, after: Works) -> list[str]:
    """The processes or schedules that come, go and change, and what of them does."""

    def parts(name: str) -> str:
        old, new = before[name], after[name]
        return ", ".join(key for key in sorted({*old, *new}) if old.get(key) != new.get(key))

    return [
        f"~ {name} ({parts(name)})"
        if name in before and name in after
        else f"{'+' if name in after else '-'} {name}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def unit_lines(app: str, first: bool, before: Works, after: Works) -> list[str]:
    """What starts and stops, and what is away meanwhile."""
    again = "starts again beside the old one, which stops after the switch"
    lines = [f"{app}@<slot> starts" if first else f"{app}@<slot> {again}"]
    away = []
    for name in sorted({*before, *after}):
        if name not in before:
            lines.append(f"{name} starts")
        elif name not in after:
            lines.append(f"{name} stops for good")
        elif before[name].get("overlap") and after[name].get("overlap"):
            lines.append(f"{name} {again}")
        else:
            away.append(f"{name} stops before it starts again")
    return [*lines, f"expected interruption: {'; '.join(away) or 'none'}"]
