"""A Procfile, as Heroku and others read it: the release's migration, its processes, its server.

Settings win: a part of it that a setting is about is passed over, and the plan says so. What of
`web` is known to work on a slot's socket is taken; of any other command the plan says how to have
it serve, and Uvicorn does, as without a Procfile.
"""

import json
import posixpath
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pergola_control.refusal import RefusalError
from pergola_control.source.servers import is_in_lock

USUAL = "Procfile"
ENTRY = re.compile(r"([A-Za-z0-9_-]+):\s*(\S.*)")
# As app_processes have it.
NAME = re.compile(r"[a-z][a-z0-9-]{0,24}")
PORT = re.compile(r"\$\{?PORT\b")
# What the packages of a release are run by elsewhere; here its programs are in PATH.
RUNNER = re.compile(r"(uv|poetry|pdm|pipenv|rye|hatch)\s+run\s+(-\S+\s+)*")
PROGRAM = re.compile(
    r"((?:\w+=\S*\s+)*)(?:python3?\s+-m\s+)?(uvicorn|gunicorn|hypercorn|granian)\b"
)
# More than one plain command.
SHELL = re.compile(r"[;&|<>()`\n]")
VALUE = r"""(?:"[^"]*"|'[^']*'|[^\s"']\S*)"""
# What Pergola says itself to each of them: options with a value, and without one.
OWN_OPTIONS = {
    "uvicorn": (
        "--host --port --uds --fd --workers --forwarded-allow-ips --timeout-keep-alive "
        "--timeout-graceful-shutdown --reload-dir",
        "--reload --proxy-headers --no-proxy-headers --factory --access-log --no-access-log",
    ),
    "gunicorn": ("-b --bind -w --workers", "--reload"),
    "hypercorn": ("-b --bind -w --workers --keep-alive --graceful-timeout", "--reload"),
    "granian": (
        "--host --port --uds --interface --workers --workers-kill-timeout",
        "--reload --factory --access-log --no-access-log",
    ),
}


@dataclass(frozen=True)
class Entry:
    """One line: its file and number, the type of process, and the command."""

    where: str
    name: str
    command: str


@dataclass(frozen=True)
class Taken:
    """What a release has of it: settings, by their names in its manifest; what is said."""

    settings: dict[str, object] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Rules:
    """What the settings say: the ASGI path, the settings that win, the text of the lock."""

    asgi: str
    settled: Sequence[str]
    lock: str


def taken(read: Callable[[str], str | None], directory: str, procfile: str, rules: Rules) -> Taken:
    """What is taken of the Procfile that a setting names; nothing where there is none."""
    path = posixpath.normpath(posixpath.join(directory, procfile))
    text = read(path) if procfile else None
    if text is None:
        if procfile not in ("", USUAL):
            raise RefusalError(
                f"There is no {procfile} in the release.",
                "app_procfile",
                "set it to a path from app_subdirectory, or leave it out",
            )
        return Taken()
    found, said = entries(text, path)
    taken = Taken(said=said)
    processes = []
    for entry in found:
        if entry.name == "web":
            settings, line = web(entry, rules)
            taken.settings.update(settings)
        elif entry.name == "release":
            line = settle(entry, "app_migrate_command", rules)
            taken.settings.update({} if line else {"migrate_command": entry.command})
            line = line or f"release is app_migrate_command: {entry.command}"
        else:
            line = settle(entry, "app_processes", rules)
            processes += [] if line else [process(entry)]
            line = line or f"{entry.name} is one of app_processes: {entry.command}"
        taken.said.append(f"{entry.where}: {line}")
    refuse_same(processes, path)
    if processes:
        taken.settings["processes"] = processes
    return taken


def entries(text: str, path: str) -> tuple[list[Entry], list[str]]:
    """The lines of a Procfile that say something, and what is said of others."""
    found, said = [], []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        where, line = f"{path}:{number}", line.strip()
        if not line or line.startswith("#"):
            continue
        if matched := ENTRY.fullmatch(line):
            command = (
                RUNNER.sub("", matched[2], count=1) if RUNNER.match(matched[2]) else matched[2]
            )
            found.append(Entry(where, matched[1], command))
        else:
            said.append(f"{where}: passed over, as it is not `name: command`")
    return found, said


def settle(entry: Entry, setting: str, rules: Rules) -> str:
    """Why a line is not used; "" if it is. A refusal of one that cannot run."""
    if setting in rules.settled:
        return f"{entry.name} is not used, as {setting} is set"
    shell = shutil.which("bash") or "sh"
    done = subprocess.run(
        [shell, "-n", "-c", entry.command], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.splitlines() or ["?"])[0].rpartition(": ")[2]
        raise refusal(entry, setting, f"no shell can read the command ({said})", "correct the line")
    if PORT.search(entry.command):
        raise refusal(
            entry,
            setting,
            "the command uses $PORT, which the server alone has",
            "write the command with a port of its own (app_listen_ports opens it)",
        )
    return ""


def process(entry: Entry) -> dict[str, object]:
    """A process as app_processes have it."""
    name = entry.name.lower().replace("_", "-")
    if not NAME.fullmatch(name):
        says = "names a unit: a lower-case letter, then at most 24 of a-z, 0-9 and -"
        raise refusal(entry, "app_processes", f"the name {says}", "rename it")
    return {"name": name, "command": entry.command}


def refuse_same(processes: Sequence[Mapping[str, object]], path: str) -> None:
    names = [str(one["name"]) for one in processes]
    for name in {one for one in names if names.count(one) > 1}:
        raise RefusalError(
            f"{path}: two lines are called {name}.",
            "app_procfile",
            f'rename one of them; more processes of one kind: app_processes: [{{name: "{name}", '
            "command: …, count: 2}]",
        )


def refusal(entry: Entry, setting: str, what: str, remedy: str) -> RefusalError:
    return RefusalError(
        f"{entry.where}: {entry.name}: {what}.",
        "app_procfile",
        f'{remedy}; or set {setting}, which wins; or app_procfile: "", for none of the file',
    )


# -- the server ------------------------------------------------------------------------------------


def web(entry: Entry, rules: Rules) -> tuple[dict[str, object], str]:
    """What serves the release by the line `web`, and what is said of it."""
    for setting, state in (("app_web", "false"), ("app_server", "set")):
        if setting in rules.settled:
            return {}, f"web is not used, as {setting} is {state}"
    command = entry.command
    matched = PROGRAM.match(command)
    if matched and not SHELL.search(command):
        env, server = matched[1], matched[2]
        rest, target = options(server, command[matched.end() :], rules.asgi)
        if not target:
            return {}, f"web is not used, as app_asgi is {rules.asgi}, which it does not name"
        if not is_in_lock(server, rules.lock) and server != "uvicorn":
            return {}, f"web is not used, as the lock has no {server}; Uvicorn serves"
        if server == "gunicorn":
            return served_by(f"{env}gunicorn {' '.join([*rest, target])}")
        if not env and "$" not in " ".join(rest):
            return built_in(server, [word for one in rest for word in shlex.split(one)])
    wanted = json.dumps(as_server_command(command), ensure_ascii=False)
    return {}, (
        f"web is not used: Uvicorn serves {rules.asgi} (app_asgi). To have it serve, write "
        f"app_server: command and app_server_command: {wanted}"
    )


def options(server: str, text: str, asgi: str) -> tuple[list[str], str]:
    """The options of a server that are not Pergola's own, and the application; "" if another."""
    valued, plain = OWN_OPTIONS[server]
    for option in valued.split():
        between = r"(?:=|\s+)" if option.startswith("--") else r"=?\s*"
        text = re.sub(rf"(?<=\s){option}{between}{VALUE}(?=\s|$)", "", text)
    for option in plain.split():
        text = re.sub(rf"(?<=\s){option}(?=\s|$)", "", text)
    words = re.findall(rf"(?:{VALUE})+", text)
    name = asgi.removesuffix("()")
    names = {asgi, name} | ({name.partition(":")[0]} if name.endswith(":application") else set())
    target = next((word for word in words if word.strip("\"'") in names), "")
    return [word for word in words if word != target], target


def served_by(command: str) -> tuple[dict[str, object], str]:
    said = f"web is app_server_command, on the slot's socket, with app_workers workers: {command}"
    return {"server": "command", "server_command": command}, said


def built_in(server: str, rest: list[str]) -> tuple[dict[str, object], str]:
    """A server that Pergola starts itself, with further options."""
    name = "app_uvicorn_options" if server == "uvicorn" else "app_server_options"
    settings: dict[str, object] = {"server": server, name.removeprefix("app_"): rest}
    workers = "app_workers workers"
    if server == "hypercorn":  # it cuts the requests of more
        settings["workers"], workers = 1, "1 worker"
    more = f"; {name}: {shlex.join(rest)}" if rest else ""
    return settings, f"web is app_server: {server}, with {workers}{more}"


def as_server_command(command: str) -> str:
    """A command as app_server_command takes it: `exec` before the last, and told its port."""
    last = list(split_points(command))[-1:]
    head, tail = (command[: last[0]], command[last[0] :]) if last else ("", command)
    port = "" if PORT.search(command) else 'PORT="$PORT" '
    env = "exec env " if head and (port or re.match(r"\w+=", tail)) else "exec " if head else ""
    return f"{head}{'' if tail.startswith('exec ') else env}{port}{tail}"


def split_points(command: str) -> Iterator[int]:
    """Where the next of several commands begins."""
    for found in re.finditer(r"(?:&&|;)\s*", command):
        yield found.end()
