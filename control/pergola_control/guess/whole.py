"""All that can be said of a repository's application."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pergola_control.guess import database, packages, places, routes, serving, static, variables
from pergola_control.guess.database import Connection
from pergola_control.guess.environment import Environment, environment
from pergola_control.guess.modules import Found, Module, applications, modules_of
from pergola_control.guess.packages import Packages
from pergola_control.guess.places import Place
from pergola_control.guess.production import VARIABLE, settings_of, without_others
from pergola_control.guess.repository import Repository
from pergola_control.guess.seen import Seen
from pergola_control.guess.services import services
from pergola_control.guess.start import Start, beside, starts
from pergola_control.programs import some
from pergola_control.refusal import RefusalError


@dataclass
class Guess:
    """The settings as far as they were seen, in the order of a file of settings."""

    framework: str
    has_database: bool
    seen: list[Seen] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    environment: Environment = field(default_factory=Environment)
    connection: Connection = field(default_factory=Connection)

    @property
    def settings(self) -> dict[str, object]:
        found = {one.setting: one.value for one in self.seen}
        values = {"app_environment": self.environment.plain, "app_secrets": self.environment.secret}
        return found | {name: value for name, value in values.items() if value}


def guess(repository: Repository) -> Guess:
    """What a repository's application is; a refusal where there is none to be found."""
    modules = modules_of(repository)
    found = applications(modules)
    commands = [one for home in homes(modules, found) for one in starts(repository, home)]
    main = serving.meant(found, modules, commands)
    if main is None:
        raise RefusalError(
            f"{repository.shown} has no application that could be recognized in its Python files "
            "(FastAPI, Starlette, Litestar, Quart, BlackSheep, Django, Flask, aiohttp, ASGI).",
            "",
            "write a file of settings with app_name and app_asgi, and name it: "
            "make try APP=… SETTINGS=settings.yml",
        )
    place = Place(repository, main)
    ours = [module for module in modules if module.home == place.home]
    production = settings_of(ours, main.module)
    if production:
        ours = without_others(ours, production.name)
    own = packages.packages(repository, place.home, place.lock)
    whole = Guess(main.framework, bool(database.driver_of(own)))
    wanted = variables.variables(used(ours, main.module))
    known = variables.examples(repository, place.home)
    whole.connection = database.connected(own, wanted, known, ours, place.free_directory)
    whole.environment = environment(wanted, known, whole.connection.values)
    for one in settings(place, ours, own, commands, whole):
        if isinstance(one, Seen):
            whole.seen.append(one)
        else:
            whole.notes.append(one)
    if not whole.connection.values:
        whole.notes += database.beside_code(ours)
    whole.notes += beside(repository, place.home)
    others = list(dict.fromkeys(one.asgi for one in found if one.module != main.module))
    if others:
        whole.notes.append(f"other applications that it could be: {some(others)}")
    whole.notes += services(wanted, known, whole.environment, own.has("celery"))
    if production:
        whole.environment.plain[VARIABLE] = production.name
        why = "production's settings, where development's are fallen back to"
        whole.environment.said[VARIABLE] = production.where, why
    return whole


def homes(modules: Sequence[Module], found: Sequence[Found]) -> list[str]:
    """The projects that may be started, those with an application first."""
    return list(dict.fromkeys([*(one.module.home for one in found), *(m.home for m in modules)]))


def used(modules: Sequence[Module], main: Module) -> list[Module]:
    """The modules of the application's package, and what these import or name."""
    names = {module.name: module for module in modules}
    top = main.name.partition(".")[0]
    found = {name for name in names if name.partition(".")[0] == top}
    pending = list(found)
    while pending:
        more = named_in(names[pending.pop()], names) - found
        found |= more
        pending += more
    return [module for module in modules if module.name in found]


def named_in(module: Module, names: Mapping[str, Module]) -> set[str]:
    """The other modules that one imports, or names as a text, as Django does."""
    found = {f"{source}.{name}" for _, (source, name) in routes.imported(module, {})}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif text := variables.constant(node):
            found |= {text, text.partition(":")[0]}
    parents = {name.rpartition(".")[0] for name in found}
    return (found | parents) & names.keys()


def settings(
    place: Place, modules: Sequence[Module], own: Packages, commands: Sequence[Start], whole: Guess
) -> Iterator[Seen | str]:
    """The settings one after the other, and notes."""
    main = place.found
    yield places.name(place)
    yield from places.whereabouts(place, modules)
    yield from places.chosen(place)
    yield Seen("app_asgi", main.asgi, main.where, main.framework)
    yield from serving.server(place, own, commands)
    if not main.is_asgi and main.framework != "aiohttp" and not own.has("gunicorn"):
        yield f"{main.framework} is served by Gunicorn, which its lock lacks: add gunicorn to it"
    health, note = serving.health(main, routes.paths(modules))
    yield health
    yield from filter(None, [note])
    yield from whole.connection.settings()
    yield from migrations(place, own, commands, whole)
    yield from static.static(place, modules, list(whole.environment.secret))
    yield from serving.processes(commands)


def migrations(
    place: Place, own: Packages, commands: Sequence[Start], whole: Guess
) -> Iterator[Seen | str]:
    """app_migrate_command: as another tool runs it, or as the project's own files say."""
    found = database.migration(place.repository, place.home, own, place.found.asgi)
    release = next((one for one in commands if one.kind == "release"), None)
    if not whole.has_database and not whole.connection.sqlite:
        if found or release:
            where = found.where if found else release.where if release else ""
            yield (
                f"{where}: it has migrations, but neither a driver of PostgreSQL nor a variable "
                "with SQLite's file; they are not run without app_migrate_command"
            )
        return
    if release:
        yield Seen("app_migrate_command", release.command, release.where, "run at each release")
    elif found and not found.command:
        yield f"{found.where}: its script_location was not found: write app_migrate_command"
    elif found:
        command = place.command(found.command)
        yield Seen("app_migrate_command", command, found.where, "its migrations")
    if found and found.query and whole.has_database:
        yield Seen("app_schema_query", found.query, found.where, "the schema's revision")
