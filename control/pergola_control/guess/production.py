"""Which of Django's modules of settings a server runs with."""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pergola_control.guess import routes
from pergola_control.guess.modules import Module
from pergola_control.guess.variables import constant, named

VARIABLE = "DJANGO_SETTINGS_MODULE"
DEVELOPMENT = re.compile(r"(?<![a-z])(dev|devel|develop|development|local|debug)(?![a-z])")
PRODUCTION = ("production", "prod")


@dataclass(frozen=True)
class Chosen:
    """Production's settings: the module, and where development's are what is fallen back to."""

    name: str
    where: str


def settings_of(modules: Sequence[Module], main: Module) -> Chosen | None:
    """Production's settings, where something falls back to development's; None if nothing does."""
    ranked = sorted(modules, key=lambda one: one != main)
    defaults = [item for module in ranked for item in fallbacks(module)]
    where = next((where for name, where in defaults if is_development(name)), "")
    meant = [name for name, _ in fallbacks(main) if not is_development(name)]
    beside = [
        name.removesuffix(last(name)) + DEVELOPMENT.sub(word, last(name))
        for name, _ in defaults
        if is_development(name)
        for word in PRODUCTION
    ]
    there = {module.name for module in modules}
    name = next((one for one in [*meant, *beside] if one in there), "")
    return Chosen(name, where) if where and name else None


def fallbacks(module: Module) -> Iterator[tuple[str, str]]:
    """What os.environ.setdefault("DJANGO_SETTINGS_MODULE", …) names, and where."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and named(node) == "setdefault" and len(node.args) > 1:
            name = constant(node.args[1]) if constant(node.args[0]) == VARIABLE else ""
            if name:
                yield name, f"{module.path}:{node.lineno}"


def last(name: str) -> str:
    return name.rpartition(".")[2]


def is_development(name: str) -> bool:
    return bool(DEVELOPMENT.search(last(name)))


def without_others(modules: Sequence[Module], name: str) -> list[Module]:
    """The modules without the settings beside some that these do not import."""
    package = name.rpartition(".")[0]
    beside = {
        one.name: one
        for one in modules
        if one.name.rpartition(".")[0] == package and "settings" in one.name
    }
    found, pending = {name}, [name, package]
    known = {one.name: one for one in modules}
    while pending:
        module = known.get(pending.pop())
        more = (imports(module) if module else set()) & beside.keys() - found
        found |= more
        pending += more
    return [one for one in modules if one.name in found or one.name not in beside]


def imports(module: Module) -> set[str]:
    """What a module imports, by the names that it may have."""
    pairs = [key for _, key in routes.imported(module, {})]
    found = {source for source, _ in pairs} | {f"{source}.{name}" for source, name in pairs}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
    return found
