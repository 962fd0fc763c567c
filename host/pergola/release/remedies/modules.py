"""The modules of a release as their text has them: read, never imported, for they are foreign."""

import ast
import difflib
import os
from collections.abc import Iterator
from pathlib import Path

from pergola.release import tree

# A release may hold much that is none of its application's.
MOST_FILES, MOST_BYTES = 3000, 300_000
PASSED_OVER = ("node_modules", "site-packages", "tests", "test", "migrations", "__pycache__")
# Of which an instance is an ASGI application, or what gives one.
MAKES = ("FastAPI", "Starlette", "Litestar", "Quart", "get_asgi_application")
SHOWN = 5


def sources(code: Path) -> Iterator[tuple[str, str]]:
    """Each module's name below the release's directory, as Python imports it, and its text."""
    found = 0
    for folder, names, files in os.walk(code):
        names[:] = sorted(n for n in names if n not in PASSED_OVER and not n.startswith("."))
        parts = Path(folder).relative_to(code).parts
        for file in sorted(files):
            if not file.endswith(".py"):
                continue
            found += 1
            if found > MOST_FILES:
                return
            text = tree.read_text(code, *parts, file)
            if text is not None and len(text) <= MOST_BYTES:
                package = parts if file == "__init__.py" else (*parts, file.removesuffix(".py"))
                yield ".".join(package[1:] if package[:1] == ("src",) else package), text


def parsed(text: str) -> ast.Module | None:
    """A module's tree; None: it is none that this Python can read."""
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def applications(code: Path, wanted: str) -> list[str]:
    """The ASGI applications of a release, as `module:name`, the most alike to `wanted` first."""
    found = []
    for module, text in sources(code):
        if any(name in text for name in MAKES) and (read := parsed(text)):
            found += [f"{module}:{name}" for name in of_module(read)]
    alike = difflib.get_close_matches(wanted, found, n=SHOWN, cutoff=0.0)
    return alike if len(found) > SHOWN else sorted(found, key=alike.index)


def of_module(module: ast.Module) -> Iterator[str]:
    """The names of a module that are applications, and with () the functions that make one."""
    for line in module.body:
        if isinstance(line, ast.Assign) and makes(line.value):
            yield from (target.id for target in line.targets if isinstance(target, ast.Name))
        elif isinstance(line, ast.AnnAssign) and line.value and makes(line.value):
            if isinstance(line.target, ast.Name):
                yield line.target.id
        elif isinstance(line, ast.FunctionDef) and is_factory(line):
            yield f"{line.name}()"


def makes(value: ast.expr) -> bool:
    """Whether an expression is a call that gives an application."""
    if not isinstance(value, ast.Call):
        return False
    called = value.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name in MAKES


def is_factory(function: ast.FunctionDef) -> bool:
    """Whether a function that can be called without arguments makes an application."""
    arguments = function.args
    needed = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    if needed > 0 or any(default is None for default in arguments.kw_defaults):
        return False
    inside = list(ast.walk(function))
    return any(isinstance(one, ast.Return) and one.value for one in inside) and any(
        isinstance(one, ast.expr) and makes(one) for one in inside
    )


def place_of(code: Path, name: str) -> str | None:
    """Where a module is below the release's directory; "": at its top; None: nowhere."""
    for folder, names, files in os.walk(code):
        names[:] = sorted(n for n in names if n not in PASSED_OVER and not n.startswith("."))
        if name in names or f"{name}.py" in files:
            place = Path(folder).relative_to(code)
            return "" if place == Path() else str(place)
    return None


def settings_class(code: Path, name: str) -> tuple[str, str, set[str]]:
    """What a class of pydantic-settings says: env_prefix, env_nested_delimiter, names of fields."""
    for _, text in sources(code):
        if f"class {name}" not in text or (read := parsed(text)) is None:
            continue
        for one in ast.walk(read):
            if isinstance(one, ast.ClassDef) and one.name == name:
                fields = {
                    line.target.id
                    for line in one.body
                    if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
                }
                said = dict(constants(one))
                return said.get("env_prefix", ""), said.get("env_nested_delimiter", ""), fields
    return "", "", set()


def constants(of: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Texts that a class's configuration gives by a name: in a call, a dictionary, a class."""
    for one in ast.walk(of):
        pairs: list[tuple[str | None, ast.expr | None]] = []
        if isinstance(one, ast.keyword):
            pairs = [(one.arg, one.value)]
        elif isinstance(one, ast.Dict):
            keys = [key.value if isinstance(key, ast.Constant) else None for key in one.keys]
            pairs = [(str(key), value) for key, value in zip(keys, one.values, strict=True)]
        elif isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name):
            pairs = [(one.targets[0].id, one.value)]
        for name, value in pairs:
            if name and isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield name, value.value
