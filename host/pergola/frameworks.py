"""Applications in a module's text: read, never imported, for the code is foreign."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# Of which an instance is an ASGI application, or what gives one; with what people call it.
ASGI = {
    "FastAPI": "FastAPI",
    "Starlette": "Starlette",
    "Litestar": "Litestar",
    "Quart": "Quart",
    "get_asgi_application": "Django",
}
# Names that say nothing without the package that they are from.
FROM_PACKAGE = {("Application", "blacksheep"): "BlackSheep"}
CALLED_WITH = ["scope", "receive", "send"]


@dataclass(frozen=True)
class Application:
    """`name`: with () if it is that of a function that makes the application."""

    name: str
    line: int
    framework: str


def parsed(text: str) -> ast.Module | None:
    """A module's tree; None: it is none that this Python can read."""
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def applications(module: ast.Module, known: Mapping[str, str] = ASGI) -> Iterator[Application]:
    """The names of a module that are applications, and the functions that make one.

    `known`: what is called to make one, and its framework.
    """
    for name, framework in FROM_PACKAGE.items():
        if any(framework_is_from(line, *name) for line in module.body):
            known = {**known, name[0]: framework}
    for line in module.body:
        if isinstance(line, ast.Assign | ast.AnnAssign) and line.value:
            targets = line.targets if isinstance(line, ast.Assign) else [line.target]
            if framework := made_by(line.value, known):
                names = (target.id for target in targets if isinstance(target, ast.Name))
                yield from (Application(name, line.lineno, framework) for name in names)
        elif isinstance(line, ast.FunctionDef) and (framework := made_in(line, known)):
            if needs_nothing(line):
                yield Application(f"{line.name}()", line.lineno, framework)
        elif isinstance(line, ast.AsyncFunctionDef) and is_called_as_asgi(line):
            yield Application(line.name, line.lineno, "ASGI")


def framework_is_from(line: ast.stmt, name: str, package: str) -> bool:
    """Whether a line imports a name from a package."""
    return (
        isinstance(line, ast.ImportFrom)
        and (line.module or "").partition(".")[0] == package
        and name in [one.asname or one.name for one in line.names]
    )


def made_by(value: ast.AST, known: Mapping[str, str]) -> str:
    """The framework of the application that an expression gives; "" if it gives none."""
    if not isinstance(value, ast.Call):
        return ""
    called = value.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return known.get(name, "")


def needs_nothing(function: ast.FunctionDef) -> bool:
    """Whether a function can be called without arguments."""
    arguments = function.args
    needed = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    return needed <= 0 and not any(default is None for default in arguments.kw_defaults)


def made_in(function: ast.FunctionDef, known: Mapping[str, str]) -> str:
    """The framework of the application that a function makes and returns; "" if it does not."""
    inside = list(ast.walk(function))
    if not any(isinstance(one, ast.Return) and one.value for one in inside):
        return ""
    return next(filter(None, (made_by(one, known) for one in inside)), "")


def is_called_as_asgi(function: ast.AsyncFunctionDef) -> bool:
    return [one.arg for one in function.args.args] == CALLED_WITH
