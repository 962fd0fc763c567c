"""What serves a release by the line `web` of its Procfile.

What is known to work on a slot's socket is taken; of any other command the plan says how to have it
serve, and Uvicorn does, as without a Procfile.
"""

import json
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pergola_control.source.entries import Entry, refusal
from pergola_control.source.runners import WORD

PORT = re.compile(r"\$\{?PORT\b")
PROGRAM = re.compile(
    r"((?:\w+=\S*\s+)*)(?:exec\s+)?(?:python[\d.]*\s+-m\s+)?"
    r"(uvicorn|gunicorn|hypercorn|granian)(?=\s|$)"
)
# More than one plain command.
SHELL = re.compile(r"[;&|<>()`\n]")
# What Pergola says itself to each of them: options with a value, and without one.
OWN_OPTIONS = {
    "uvicorn": (
        "--host --port --uds --fd --workers --forwarded-allow-ips --timeout-keep-alive "
        "--timeout-graceful-shutdown --env-file --reload-dir --reload-include --reload-exclude "
        "--reload-delay",
        "--reload --proxy-headers --no-proxy-headers --factory --access-log --no-access-log",
    ),
    "gunicorn": ("-b --bind -w --workers", "--reload -D --daemon"),
    "hypercorn": ("-b --bind -w --workers --keep-alive --graceful-timeout", "--reload"),
    "granian": (
        "--host --port --uds --interface --workers --workers-kill-timeout --env-files",
        "--reload --factory --access-log --no-access-log",
    ),
}
TLS = re.compile(r"--(ssl-[\w-]+|keyfile\S*|certfile|ca-certs|ciphers|cert-reqs)(?=[\s=]|$)")
NOT_ASGI = re.compile(r"--interface(?:=|\s+)(?!asgi)(\w+)")


@dataclass(frozen=True)
class Rules:
    """The ASGI path, and the settings that win; `has`: whether the release has a package."""

    asgi: str
    settled: Sequence[str]
    has: Callable[[str], bool]


def web(entry: Entry, rules: Rules) -> tuple[dict[str, object], str]:
    """What serves the release by the line `web`, and what is said of it."""
    command = entry.command
    matched = PROGRAM.match(command)
    if matched and not SHELL.search(command):
        env, server = matched[1], matched[2]
        rest, target = options(server, command[matched.end() :], rules.asgi)
        if not target:
            return {}, f"web is not used, as app_asgi is {rules.asgi}, which it does not name"
        refuse_unfit(entry, command[matched.end() :])
        if server != "uvicorn" and not rules.has(server):
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
    valued, alone = (each.split() for each in OWN_OPTIONS[server])
    kept: list[str] = []
    words = iter(re.findall(WORD, text))
    for word in words:
        option, is_whole, _ = word.partition("=")
        if option in valued:
            if not is_whole:
                next(words, None)
        elif word not in alone and word[:2] not in valued:
            kept.append(word)
    name = asgi.removesuffix("()")
    names = {asgi, name} | ({name.partition(":")[0]} if name.endswith(":application") else set())
    target = next((word for word in kept if word.strip("\"'") in names), "")
    return [word for word in kept if word != target], target


def refuse_unfit(entry: Entry, text: str) -> None:
    """Refuse options that cannot hold behind Caddy, and for what app_asgi names."""
    if found := TLS.search(text):
        what = f"{found[0]} is about TLS, which Caddy has, and not the application"
        raise refusal(entry, "app_server", what, "take it out")
    if found := NOT_ASGI.search(text):
        what = f"--interface {found[1]} is not ASGI, which app_asgi names"
        raise refusal(entry, "app_server", what, "name an ASGI application with --interface asgi")


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
