"""The plan as text."""

import posixpath
import tarfile
import zlib
from collections.abc import Mapping

from pergola_control.plan.differences import (
    by_name,
    environment_lines,
    setting_lines,
    unit_lines,
    work_lines,
)
from pergola_control.plan.history import History, commit_lines, history_of
from pergola_control.plan.migrations import migration_lines
from pergola_control.plan.order import Live, New, Order, described, short
from pergola_control.plan.packages import Lock, options_of, package_lines
from pergola_control.refusal import RefusalError
from pergola_control.source.interpreters import PLACE
from pergola_control.source.servers import own_version
from pergola_control.source.settings import Settings

LABEL_WIDTH = 13


def plan_of(settings: Settings, order: Order) -> str:
    """The plan as text."""
    app, new, live = order["app"], order["new"], order["live"]
    where = f"{app} on {order['host']}"
    if live and live["id"] == new["id"]:
        return f"{where}: {short(new)} is live already: {of_the_same(live, order)}"
    paths, lock = contents(new)
    history = history_of(settings, live, new) if live else ""
    was = live or Live()
    works = {
        "processes": (by_name(was.get("processes")), by_name(new.get("processes"))),
        "schedules": (by_name(was.get("schedules")), by_name(new.get("schedules"))),
    }
    changed_works = {kind: work_lines(*both) for kind, both in works.items()}
    changed_settings = setting_lines(live, new)
    more_differs = bool(changed_settings or any(changed_works.values()))
    sections = {
        "commits": commit_lines(history, live, new) if live else [f"+ {described(new)}"],
        "packages": package_lines(lock_of(live, history, lock.projects) if live else None, lock),
        **({"python": python} if (python := python_lines(new)) else {}),
        **({"server": served} if (served := server_lines(new, lock)) else {}),
        **({"database": away} if (away := database_lines(new)) else {}),
        **({"Procfile": said} if (said := new.get("procfile", {}).get("said")) else {}),
        "migrations": [*migration_lines(history, live, new, paths), *after_lines(new)],
        "environment": environment_lines(live, new, more_differs),
        "settings": changed_settings,
        **changed_works,
        "units": unit_lines(app, live is None, *works["processes"]),
    }
    head = f"{live['id']} -> {new['id']}" if live else f"first deploy; it makes {new['id']}:"
    lines = [f"{where}: {head}"]
    for label, found in sections.items():
        for number, line in enumerate(found or ["none"]):
            lines.append(f"  {'' if number else label:{LABEL_WIDTH}}{line}")
    return "\n".join(map(printable, lines))


def python_lines(new: New) -> list[str]:
    """Which Python the release runs with, where not any server's own would do."""
    found = new.get("python") or {}
    if not found.get("said") or found.get("of_all"):
        return []
    brought = str(new.get("interpreter", "")).startswith(PLACE)
    whose = "which uv brings" if brought else "the server's own"
    return [f"{new['config'].get('python', '')}, {whose}, for {found['said']}"]


def server_lines(new: New, lock: Lock) -> list[str]:
    """What serves the release, where that is not the Uvicorn of its own lock."""
    server = str(new["config"].get("server", "uvicorn"))
    said_there = "server" in new.get("procfile", {}).get("settings", {})
    if said_there or new["config"].get("web") is False:
        return []
    if server == "command":
        return ["app_server_command"]
    versions = lock.packages().get(server, "")
    if server != "uvicorn":
        return [f"{server} {versions} of the lock".replace("  ", " ")]
    return [] if versions else [f"uvicorn {own_version()}, Pergola's own: the lock has none"]


def after_lines(new: New) -> list[str]:
    """What runs once the release serves, in one line."""
    command = str(new["config"].get("migrate_after_command") or "")
    return [f"once it serves: {' '.join(command.split())}"] if command else []


def database_lines(new: New) -> list[str]:
    """What is not done for a database of another server."""
    where = new.get("database_elsewhere") or {}
    if not where:
        return []
    verified = str(where.get("PGSSLMODE", "")).startswith("verify-")
    return [
        f"{where.get('PGDATABASE')} on {where.get('PGHOST')} (app_database_url)"
        + ("" if verified else f": sslmode={where.get('PGSSLMODE')} verifies no certificate"),
        "not done for it: backups, a point to return to before a migration, a migration's limits",
    ]


def of_the_same(live: Live, order: Order) -> str:
    """What a deploy of the live release does: its slot may run from files that have changed."""
    files = order.get("files") or []
    if not files and live.get("current", True):
        if live.get("runs_after"):
            return "app_migrate_after_command would run, which has not succeeded yet"
        return "a deploy would change nothing"
    names = ", ".join(posixpath.basename(path) for path in files)
    why = f"{names} would be written" if names else "its units are newer than its process"
    return f"{why}, and {order['app']}@<slot> starts again beside the old one"


def lock_of(live: Live, history: History | str, projects: Mapping[str, str]) -> Lock:
    """The live release's lock; its groups are told by the new release's project at worst."""
    if isinstance(history, History):
        before = {name: history.read(history.before, name) for name in projects}
        projects = {name: text or projects[name] for name, text in before.items()}
    name, text = live.get("lock_name") or "", live.get("lock") or ""
    return Lock(name, text, projects, live.get("directory", ""), options_of(live.get("config")))


def contents(new: New) -> tuple[list[str], Lock]:
    """An archive's files, and the list of packages in it."""
    lock = new["lock"]
    try:
        with tarfile.open(new["archive"]) as archive:
            paths = [member.name for member in archive if member.isfile()]
            projects = [path for path in paths if posixpath.basename(path) == "pyproject.toml"]
            texts = {name: text_of(archive, name) for name in (lock, *projects)}
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise RefusalError(
            f"The release's archive cannot be read: {error}.",
            "release_cache_dir",
            "run again: an archive that is missing or damaged is made again",
        ) from None
    if lock not in paths:
        raise RefusalError(
            f"The release's archive has no {lock}.",
            "app_build_command",
            "let the build keep it: servers install from it",
        )
    content = texts.pop(lock)
    return paths, Lock(lock, content, texts, new["directory"], options_of(new["config"]))


def text_of(archive: tarfile.TarFile, name: str) -> str:
    """The text of an archive's file, empty if it has none of that name."""
    try:
        file = archive.extractfile(name)
    except KeyError:
        file = None
    return file.read().decode(errors="replace") if file else ""


def printable(line: str) -> str:
    """A line without what a terminal obeys: a commit's subject or a path may hold it."""
    return "".join(letter if letter.isprintable() else "?" for letter in line).rstrip()
