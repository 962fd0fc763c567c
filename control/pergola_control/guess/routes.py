"""The paths that an application answers at, as far as its text says them."""

import ast
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pergola_control.guess.modules import Module
from pergola_control.guess.variables import constant, named

# The first are asked for: those that are named for readiness look at more than that it runs.
HEALTH = (
    *("readyz", "ready", "readiness", "healthz", "health", "health-check", "healthcheck"),
    *("health_check", "livez", "live", "liveness", "heartbeat", "ping", "status", "up"),
)
DECORATORS = ("get", "route", "api_route", "head")
CALLS = ("Route", "path", "add_get", "add_route", "add_api_route", "add_url_rule")
UNKNOWN = "{…}"  # a prefix that only running the code tells
Key = tuple[str, str]  # a module's name, and a router's in it


@dataclass(frozen=True)
class Path:
    """A path that is answered without an argument, and where that is written."""

    path: str
    where: str


def paths(modules: Sequence[Module]) -> list[Path]:
    """All paths, with the prefixes that their routers are included by."""
    by_name = {module.name: module for module in modules}
    texts = constants(modules)
    prefixes = {key: text for module in modules for key, text in own_prefixes(module, texts)}
    included = dict(item for module in modules for item in inclusions(module, by_name, texts))
    found = []
    for module in modules:
        for owner, path, line in written(module, texts):
            if "{" in path or "<" in path:
                continue
            whole = prefix_of((module.name, owner), prefixes, included) + path
            path = "/" + re.sub("/+", "/", whole).lstrip("/")
            found.append(Path(path, f"{module.path}:{line}"))
    return found


def health_path(found: Sequence[Path], known: bool = True) -> Path | None:
    """The path that is named for the application's health; `known`: with all of its prefixes."""
    ranked = [
        (HEALTH.index(last), one.path.count("/"), one.path, one)
        for one in found
        if ("{" not in one.path) == known
        and (last := one.path.strip("/").rpartition("/")[2].lower()) in HEALTH
    ]
    return min(ranked, key=lambda each: each[:3])[3] if ranked else None


def written(module: Module, known: dict[str, str]) -> Iterator[tuple[str, str, int]]:
    """(the router or application, the path, the line) of each route."""
    above = dict(in_classes(module, known))
    in_django = posixpath.basename(module.path) == "urls.py"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for one in node.decorator_list:
                prefix, text = above.get(node, ""), route_of(one, known)
                if isinstance(one, ast.Call) and prefix is not None and text is not None:
                    owner = named(one.func.value) if isinstance(one.func, ast.Attribute) else ""
                    text = f"{prefix}/{text}".rstrip("/") if prefix else text
                    yield owner, text, one.lineno
        elif isinstance(node, ast.Call) and named(node) in CALLS and node.args:
            is_include = len(node.args) > 1 and named(node.args[1]) == "include"
            if named(node) == "path" and in_django and not is_include:
                yield "urlpatterns", f"/{constant(node.args[0])}", node.lineno
            elif named(node) != "path" and (text := constant(node.args[0])):
                yield "", text, node.lineno


def in_classes(module: Module, known: dict[str, str]) -> Iterator[tuple[ast.AST, str | None]]:
    """The functions of Litestar's controllers, with the path of each class; None: not known."""
    for one in ast.walk(module.tree):
        for line in one.body if isinstance(one, ast.ClassDef) else ():
            if isinstance(line, ast.Assign) and named(line.targets[0]) == "path":
                path = constant(line.value) or known.get(named(line.value))
                yield from ((function, path) for function in ast.walk(one))


def route_of(call: ast.expr, known: dict[str, str]) -> str | None:
    """The path of a decorator, None if that is not known; / without one, as Litestar's may be."""
    if not isinstance(call, ast.Call) or named(call) not in DECORATORS:
        return None
    given = {one.arg: one.value for one in call.keywords}
    path = call.args[0] if call.args else given.get("path")
    if path is None:
        return "/"
    return constant(path) if isinstance(path, ast.Constant) else known.get(named(path))


def prefix_said(node: ast.expr | None, known: dict[str, str]) -> str:
    """What an argument for a prefix gives."""
    if node is None or isinstance(node, ast.Constant):
        return constant(node)
    return UNKNOWN if isinstance(node, ast.Call) else known.get(named(node), UNKNOWN)


def own_prefixes(module: Module, known: dict[str, str]) -> Iterator[tuple[Key, str]]:
    """What routers say themselves: APIRouter(prefix="/users")."""
    for line in module.tree.body:
        if isinstance(line, ast.Assign) and isinstance(line.value, ast.Call):
            given = {one.arg: one.value for one in line.value.keywords}
            for target in line.targets:
                yield (module.name, named(target)), prefix_said(given.get("prefix"), known)


def inclusions(
    module: Module, by_name: dict[str, Module], known: dict[str, str]
) -> Iterator[tuple[Key, tuple[Key, str]]]:
    """Which router is included by which other, with which prefix."""
    origin = dict(imported(module, by_name))
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        if named(node) in ("path", "re_path") and len(node.args) > 1:
            if named(node.args[1]) == "include" and isinstance(node.args[1], ast.Call):
                target = constant(node.args[1].args[0]) if node.args[1].args else ""
                prefix = f"/{constant(node.args[0])}"
                yield (target, "urlpatterns"), ((module.name, "urlpatterns"), prefix)
        elif named(node) == "include_router" and isinstance(node.func, ast.Attribute):
            given = {one.arg: one.value for one in node.keywords}
            prefix = prefix_said(given.get("prefix"), known)
            outer = origin.get(named(node.func.value), (module.name, named(node.func.value)))
            yield included_key(node.args[0], module, origin), (outer, prefix)
        elif named(node) == "mount" and isinstance(node.func, ast.Attribute):
            given = {one.arg: one.value for one in node.keywords}
            inner = node.args[1] if len(node.args) > 1 else given.get("app")
            if isinstance(inner, ast.Name | ast.Attribute):  # another application
                outer = (module.name, named(node.func.value))
                yield included_key(inner, module, origin), (outer, constant(node.args[0]))


def included_key(node: ast.expr, module: Module, origin: dict[str, Key]) -> Key:
    """The router that an expression names: a module's, or one that was imported by itself."""
    if isinstance(node, ast.Attribute):
        owner = origin.get(named(node.value), (module.name, ""))
        return (owner[0], node.attr)
    return origin.get(named(node), (module.name, named(node)))


def imported(module: Module, by_name: dict[str, Module]) -> Iterator[tuple[str, Key]]:
    """What each imported name is: (a module's name, and the name in it, "" for the module)."""
    package = module.name.split(".")
    if not module.path.endswith("__init__.py"):
        package = package[:-1]
    for line in ast.walk(module.tree):
        if not isinstance(line, ast.ImportFrom):
            continue
        above = package[: len(package) - line.level + 1] if line.level else []
        source = ".".join([*above, *filter(None, [line.module])])
        for one in line.names:
            inner = f"{source}.{one.name}" if source else one.name
            key = (inner, "") if inner in by_name else (source, one.name)
            yield one.asname or one.name, key


def constants(modules: Sequence[Module]) -> dict[str, str]:
    """Texts by the names that they are given anywhere: API_V1_STR: str = "/api/v1"."""
    found: dict[str, str] = {}
    for module in modules:
        for line in ast.walk(module.tree):
            if isinstance(line, ast.Assign | ast.AnnAssign) and (text := constant(line.value)):
                target = line.targets[0] if isinstance(line, ast.Assign) else line.target
                found.setdefault(named(target), text)
    return found


def prefix_of(key: Key, prefixes: dict[Key, str], included: dict[Key, tuple[Key, str]]) -> str:
    """All that comes before a router's paths."""
    text = prefixes.get(key, "")
    for _ in range(10):  # routers in routers; never for ever
        if key not in included:
            return text
        key, prefix = included[key]
        text = prefixes.get(key, "") + prefix + text
    return text
