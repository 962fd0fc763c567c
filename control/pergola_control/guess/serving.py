"""What serves an application, and when it counts as ready."""

import ast
import shlex
from collections.abc import Iterator, Sequence

from pergola_control.guess.modules import Found, Module
from pergola_control.guess.packages import Packages
from pergola_control.guess.places import Place
from pergola_control.guess.repository import relative
from pergola_control.guess.routes import Path, health_path
from pergola_control.guess.seen import Seen
from pergola_control.guess.start import Start

BRINGS_ITSELF = ("granian", "hypercorn")


def meant(
    found: Sequence[Found], modules: Sequence[Module], starts: Sequence[Start]
) -> Found | None:
    """The application: the one that a start command names, else the likeliest."""
    for start in starts:
        module, _, name = start.target.partition(":")
        for one in found:
            if one.module.name == module and one.name.removesuffix("()") == name.removesuffix("()"):
                return one
        for each in modules:  # whatever makes it there
            if start.target and each.name == module:
                kind = "Flask" if start.server == "gunicorn" and "-k" not in start.words else "ASGI"
                return Found(each, name, 1, kind)
    return found[0] if found else None


def server(place: Place, packages: Packages, starts: Sequence[Start]) -> Iterator[Seen]:
    """app_server and what belongs to it; nothing where Uvicorn serves as it does by itself."""
    found = place.found
    start = next((one for one in starts if same(one, found)), None)
    if found.framework == "aiohttp":
        path = relative(found.module.path, place.base)
        serves = f"PORT=$PORT python {path}"  # it reads the variable itself
        yield from command(serves, found.where, "aiohttp, which serves by itself")
    elif start and start.server == "gunicorn":
        yield from command(gunicorn(start.kept, place), start.where, "the start command")
    elif not found.is_asgi:
        where = packages.where("gunicorn") or found.where
        yield from command(gunicorn([found.asgi], place), where, f"{found.framework} is WSGI")
    elif start and start.server in BRINGS_ITSELF and packages.has(start.server):
        yield from built_in(start.server, start.where, "the start command")
    elif start:
        yield from options(start, place)
    elif packages.is_direct("gunicorn") and packages.is_direct("uvicorn-worker"):
        words = ["-k", "uvicorn_worker.UvicornWorker", found.asgi]
        where = packages.where("uvicorn-worker")
        yield from command(gunicorn(words, place), where, "Gunicorn with Uvicorn's workers")
    else:
        own = [one for one in BRINGS_ITSELF if packages.is_direct(one)]
        if own and not packages.is_direct("uvicorn"):
            yield from built_in(own[0], packages.where(own[0]), "the only server of the project")
        elif place.path:
            option = [f"--app-dir={place.path}"]
            yield Seen("app_uvicorn_options", option, found.where, "where the module is")


def same(start: Start, found: Found) -> bool:
    return bool(start.target) and start.target.removesuffix("()") == found.asgi.removesuffix("()")


def gunicorn(words: Sequence[str], place: Place) -> str:
    where = ["--chdir", place.path] if place.path else []
    return shlex.join(["gunicorn", *where, *words])


def command(text: str, where: str, why: str) -> Iterator[Seen]:
    yield Seen("app_server", "command", where, why)
    yield Seen("app_server_command", text, where, why)


def built_in(name: str, where: str, why: str) -> Iterator[Seen]:
    yield Seen("app_server", name, where, why)
    if name == "hypercorn":
        yield Seen("app_workers", 1, where, "Hypercorn cuts the requests of more")


def options(start: Start, place: Place) -> Iterator[Seen]:
    """Further options of Uvicorn's that the start command has."""
    rest = [word for word in start.kept if word != start.target.removesuffix("()")]
    rest = [word for word in rest if word != start.target]
    named = any(word.startswith("--app-dir") for word in rest)
    rest += [f"--app-dir={place.path}"] if place.path and not named else []
    if rest and start.server == "uvicorn" and "$" not in " ".join(rest):
        yield Seen("app_uvicorn_options", rest, start.where, "options of the start command")


def health(found: Found, known: Sequence[Path]) -> tuple[Seen, str]:
    """app_health_path, and what to say of one that only says that something answers."""
    setting = "app_health_path"
    if one := health_path(known):
        return Seen(setting, one.path, one.where, "a path named for it"), ""
    other = health_path(known, known=False)
    unsure = f"{other.where} is named for it, behind a prefix that is not known; " if other else ""
    root = next((one for one in known if one.path == "/"), None)
    add = "add a path that queries the database, and answers 200"
    if root:
        note = f"{unsure}app_health_path is the front page ({root.where}): {add}, such as /healthz"
        return Seen(setting, "/", root.where, "no path is named for it"), note
    if found.framework == "FastAPI" and has_openapi(found.module):
        note = f"{unsure}app_health_path is /openapi.json, which says only that it runs: {add}"
        return Seen(setting, "/openapi.json", found.where, "no path is named for it"), note
    note = (
        f"{unsure}no path was found that says that it is ready: {add}; or name in "
        'app_health_status what app_health_path answers, such as ["404"]'
    )
    return Seen(setting, "/", found.where, "no path is named for it"), note


def has_openapi(module: Module) -> bool:
    """Whether FastAPI describes itself at the usual address."""
    keywords = [one for one in ast.walk(module.tree) if isinstance(one, ast.keyword)]
    return not any(one.arg in ("openapi_url", "root_path") for one in keywords)


def processes(starts: Sequence[Start]) -> Iterator[Seen]:
    """What a Procfile and its like run beside the server."""
    others = [one for one in starts if one.kind not in ("web", "release")]
    listed = [one for one in others if "$PORT" not in one.command]
    names = [one.kind.lower().replace("_", "-")[:25].strip("-") for one in listed]
    if listed:
        value = [
            {"name": name, "command": one.command} for name, one in zip(names, listed, strict=True)
        ]
        yield Seen("app_processes", value, listed[0].where, "what runs beside the server")
