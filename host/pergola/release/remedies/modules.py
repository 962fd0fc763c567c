"""The modules of a release as their text has them: read, never imported, for they are foreign."""

import ast
import difflib
import os
from collections.abc import Iterator
from pathlib import Path

from pergola import frameworks
from pergola.release import tree

# A release may hold much that is none of its application's.
MOST_FILES, MOST_BYTES = 3000, 300_000
PASSED_OVER = ("node_modules", "site-packages", "tests", "test", "migrations", "__pycache__")
# Without one of these in its text a module has no application.
MAKES = (*frameworks.ASGI, "blacksheep", "scope")
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


def applications(code: Path, wanted: str) -> list[str]:
    """The ASGI applications of a release, as `module:name`, the most alike to `wanted` first."""
    found = []
    for module, text in sources(code):
        if any(name in text for name in MAKES) and (read := frameworks.parsed(text)):
            found += [f"{module}:{one.name}" for one in frameworks.applications(read)]
    alike = difflib.get_close_matches(wanted, found, n=SHOWN, cutoff=0.0)
    return alike if len(found) > SHOWN else sorted(found, key=alike.index)


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
        if f"class {name}" not in text or (read := frameworks.parsed(text)) is None:
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
