"""A Procfile, as Heroku and others read it: the release's migration, its processes, its server.

Settings win: a part of it that a setting is about is passed over, and the plan says so.
"""

import posixpath
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from pergola_control.programs import unread
from pergola_control.refusal import RefusalError
from pergola_control.source.entries import Entry, entries, refusal
from pergola_control.source.runners import RunnerError, unwrapped
from pergola_control.source.web import PORT, Rules, web

USUAL = "Procfile"
# As app_processes have it.
NAME = re.compile(r"[a-z][a-z0-9-]{0,24}")
ENV_FILE = re.compile(r"\s--env-files?\b")


@dataclass(frozen=True)
class Taken:
    """What a release has of it: settings, by their names in its manifest; what is said."""

    settings: dict[str, object] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)


def taken(read: Callable[[str], str | None], directory: str, procfile: str, rules: Rules) -> Taken:
    """What is taken of the Procfile that a setting names; nothing where there is none."""
    path = posixpath.normpath(posixpath.join(directory, procfile))
    text = read(path) if procfile else None
    if text is None and procfile not in ("", USUAL):
        raise RefusalError(
            f"There is no {procfile} in the release.",
            "app_procfile",
            "set it to a path from app_subdirectory, or leave it out",
        )
    found, said = entries(text or "", path)
    taken = Taken(said=said)
    refuse_same([one for one in found if not settled(one, rules)])
    processes = []
    for entry in found:
        line = settled(entry, rules)
        if line:
            taken.said.append(f"{entry.where}: {line}")
            continue
        plain = replace(entry, command=command_of(entry))
        if entry.name == "web":
            settings, line = web(plain, rules)
            taken.settings.update(settings)
        elif entry.name == "release":
            taken.settings["migrate_command"] = plain.command
            line = f"release is app_migrate_command: {plain.command}"
        else:
            processes.append({"name": process_name(entry), "command": plain.command})
            line = f"{entry.name} is one of app_processes: {plain.command}"
        taken.said.append(f"{entry.where}: {line}{without_file(entry, line)}")
    if processes:
        taken.settings["processes"] = processes
    return taken


def without_file(entry: Entry, line: str) -> str:
    """What is said of a file of variables that a line names, and that a release does not read."""
    is_left_out = ENV_FILE.search(entry.command) and not ENV_FILE.search(line)
    return "; without its --env-file: app_environment has the variables" if is_left_out else ""


def settled(entry: Entry, rules: Rules) -> str:
    """Why a line is not used; "" if no setting wins over it."""
    for setting in settings_of(entry):
        if setting in rules.settled:
            state = "false" if setting == "app_web" else "set"
            return f"{entry.name} is not used, as {setting} is {state}"
    return ""


def settings_of(entry: Entry) -> tuple[str, ...]:
    """The settings that win over a line, the one that says the same last."""
    known = {"web": ("app_web", "app_server"), "release": ("app_migrate_command",)}
    return known.get(entry.name, ("app_processes",))


def command_of(entry: Entry) -> str:
    """The command of a line as a release runs it; a refusal of one that cannot run."""
    setting = settings_of(entry)[-1]
    if said := unread(entry.command):
        raise refusal(entry, setting, f"no shell can read the command ({said})", "correct the line")
    try:
        command = unwrapped(entry.command)
    except RunnerError as error:
        remedy = (
            "write the command by itself, as a release has its programs in PATH (one of another "
            "directory: cd DIRECTORY && COMMAND)"
        )
        raise refusal(entry, setting, str(error), remedy) from None
    if not command:
        raise refusal(entry, setting, "the command is empty", "take out the line")
    if entry.name != "web" and PORT.search(command):
        raise refusal(
            entry,
            setting,
            "the command uses $PORT, which the server alone has",
            "write the command with a port of its own (app_listen_ports opens it)",
        )
    return command


def process_name(entry: Entry) -> str:
    """A process's name as app_processes have it."""
    name = entry.name.replace("_", "-")
    if not NAME.fullmatch(name):
        says = "must be a lower-case letter followed by at most 24 of a-z, 0-9 and -"
        raise refusal(entry, "app_processes", f"the name {says}", "rename it")
    return name


def refuse_same(used: Sequence[Entry]) -> None:
    """Refuse two lines of one name, as only one of them would run."""
    seen: dict[str, Entry] = {}
    for entry in used:
        name = entry.name.replace("_", "-")
        before = seen.setdefault(name, entry)
        if before is not entry:
            count = f'app_processes: [{{name: "{name}", command: …, count: 2}}]'
            remedy = f"rename one of them; more processes of one kind: {count}"
            if name in ("web", "release"):
                remedy = "take one of them out"
            what = f"{before.where} is called {name} as well"
            raise refusal(entry, settings_of(entry)[-1], what, remedy)
