"""How an application is started elsewhere: read from files of other tools, never run."""

import json
import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import yaml

from pergola_control.guess.packages import toml_of
from pergola_control.guess.repository import Repository
from pergola_control.source.entries import entries
from pergola_control.source.projects import table
from pergola_control.source.runners import RunnerError, unwrapped

COMPOSE = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
SERVERS = ("uvicorn", "gunicorn", "hypercorn", "granian", "daphne")
STARTED = re.compile(rf"^(exec\s+)?(python[\d.]*\s+-m\s+(?=({'|'.join(SERVERS)})\b))?")
TARGET = re.compile(r"[A-Za-z_][\w.]*(:[A-Za-z_]\w*(\(\))?)?")
# Where to listen, how often and for how long: that is Pergola's affair.
WITH_VALUE = (
    *("--host", "--port", "--uds", "--fd", "-b", "--bind", "-w", "--workers", "--interface", "-p"),
    *("--forwarded-allow-ips", "--timeout-keep-alive", "--timeout-graceful-shutdown"),
    *("--env-file", "--log-file", "--access-logfile", "--reload-dir"),
)
ALONE = (
    *("--reload", "--proxy-headers", "--no-proxy-headers", "--factory", "--preload"),
    *("--access-log", "--no-access-log"),
)


@dataclass(frozen=True)
class Start:
    """`kind`: web, release, or the name of another process. `command`: without its runner."""

    where: str
    kind: str
    command: str

    @property
    def server(self) -> str:
        """The server that it starts; "" for another program."""
        first = self.command.split(maxsplit=1)[0] if self.command else ""
        return first if first in SERVERS else ""

    @property
    def words(self) -> list[str]:
        try:
            return shlex.split(self.command)
        except ValueError:
            return self.command.split()

    @property
    def target(self) -> str:
        """The application that it names, as app_asgi has it; "" if none is recognized."""
        pairs = [
            (":" in word, word)
            for before, word in pairwise(["", *self.kept])
            if TARGET.fullmatch(word) and (":" in word or not before.startswith("-"))
        ]
        if not self.server or not pairs:
            return ""
        is_whole, name = max(pairs, key=lambda each: each[0])
        name = name if is_whole else f"{name}:application"
        is_factory = "--factory" in self.words and not name.endswith("()")
        return f"{name}()" if is_factory else name

    @property
    def kept(self) -> list[str]:
        """The words behind the program that say something of the application."""
        found: list[str] = []
        words = iter(self.words[1:])
        for word in words:
            if word in WITH_VALUE:
                next(words, None)
            elif word not in ALONE and not word.startswith(tuple(f"{one}=" for one in WITH_VALUE)):
                found.append(word)
        return found


def starts(repository: Repository, home: str) -> list[Start]:
    """The commands of all files that name one, those of the closest kin first."""
    found: list[Start] = []
    for directory in dict.fromkeys((home, "")):
        for read in (of_procfile, of_tables, of_render, of_compose, of_dockerfile):
            found += read(repository, directory)
    return [Start(one.where, one.kind, plain(one)) for one in found]


def plain(start: Start) -> str:
    """A command without what runs it; of several that lead to a server, the server's."""
    try:
        command = unwrapped(start.command)
    except RunnerError:  # as it is: a deploy says what is wrong with it
        command = start.command
    last = STARTED.sub("", re.split(r"&&|;|\n", command)[-1].strip(), count=1)
    is_server = bool(Start(start.where, start.kind, last).server)
    return last if is_server else STARTED.sub("", command, count=1)


def path_of(directory: str, name: str) -> str:
    return posixpath.join(directory, name)


def of_procfile(repository: Repository, directory: str) -> Iterator[Start]:
    path = path_of(directory, "Procfile")
    for entry in entries(repository.read(path) or "", path)[0]:
        yield Start(entry.where, entry.name, entry.command)


def of_tables(repository: Repository, directory: str) -> Iterator[Start]:
    """Of fly.toml and railway.toml."""
    fly, railway = path_of(directory, "fly.toml"), path_of(directory, "railway.toml")
    processes = table(toml_of(repository, fly), "processes")
    for name, command in processes.items():
        kind = "web" if name in ("app", "web") or len(processes) == 1 else name
        yield Start(repository.where(fly, rf"^\s*{name}\s*="), kind, str(command))
    deployed = table(toml_of(repository, railway), "deploy")
    if command := deployed.get("startCommand"):
        yield Start(repository.where(railway, "startCommand"), "web", str(command))


def of_render(repository: Repository, directory: str) -> Iterator[Start]:
    path = path_of(directory, "render.yaml")
    services = yaml_of(repository, path).get("services")
    for service in services if isinstance(services, list) else []:
        if isinstance(service, Mapping) and service.get("startCommand"):
            kind = "web" if service.get("type") == "web" else str(service.get("name", "worker"))
            yield Start(repository.where(path, "startCommand"), kind, str(service["startCommand"]))


def of_compose(repository: Repository, directory: str) -> Iterator[Start]:
    """Of services that name a server of Python's: others are databases and queues."""
    for path in (path_of(directory, name) for name in COMPOSE):
        for service in table(yaml_of(repository, path), "services").values():
            command = service.get("command") if isinstance(service, Mapping) else None
            start = Start(repository.where(path, "command:"), "web", spelled(command))
            if Start("", "", plain(start)).server:
                yield start


def of_dockerfile(repository: Repository, directory: str) -> Iterator[Start]:
    """Its last CMD."""
    path = path_of(directory, "Dockerfile")
    text = (repository.read(path) or "").replace("\\\n", " ")
    for line in reversed(re.findall(r"^CMD\s+(.+)$", text, re.MULTILINE)):
        yield Start(repository.where(path, r"^CMD\b"), "web", spelled(line))
        return


def spelled(command: object) -> str:
    """A command that is a text, or a list of words; also one in JSON."""
    if isinstance(command, str) and command.strip().startswith("["):
        try:
            command = json.loads(command)
        except json.JSONDecodeError:
            return ""
    if isinstance(command, Sequence) and not isinstance(command, str):
        words = [str(one) for one in command]
        is_shell = words[:2] in (["sh", "-c"], ["/bin/sh", "-c"], ["bash", "-c"])
        return words[2] if is_shell and len(words) > 2 else shlex.join(words)
    return command.strip() if isinstance(command, str) else ""


def yaml_of(repository: Repository, path: str) -> Mapping[str, object]:
    """A file of YAML; empty if it is none, or not a mapping."""
    try:
        found = yaml.safe_load(repository.read(path) or "")
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, Mapping) else {}
