"""The house has floors: an import goes down, never up or round."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "host/pergola"
# From the ground up; what stands in one line does not know each other, but in this order.
FLOORS = [
    ["errors", "frameworks"],
    ["people", "connection"],
    ["system"],
    ["documents", "apprise", "apt"],
    ["records"],
    ["lock", "notes", "paths", "results"],
    ["postgres"],
    ["access"],
    ["apps"],
]
# What people call: each knows all floors, and none of the others, but for those it stands on.
NOUNS = ["release", "backup", "database", "web", "certificates", "status", "upgrade", "app"]
STANDS_ON = {"app": ["database", "web"], "backup": ["app"]}
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(file):
    """The modules that a file imports, by their whole names."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: import by the whole name"
            names = {name.name for name in node.names}
            known = {path.stem for path in FILES} | set(NOUNS)
            for name in sorted(names):
                is_module = node.module.startswith("pergola") and name in known
                yield f"{node.module}.{name}" if is_module else node.module


def room(module):
    """The part of the package that a module belongs to: a floor, or a noun."""
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_an_import_goes_down_the_floors_only(file):
    mine = file.relative_to(PACKAGE).with_suffix("").parts[0]
    for module in imports(file):
        if not module.startswith("pergola"):
            assert module.split(".")[0] in sys.stdlib_module_names, f"{module} is on no host"
            continue
        other = room(module)
        if mine in NOUNS or mine == "cli":
            below = [*FLOOR, mine, *STANDS_ON.get(mine, [])]
            assert other in below or mine == "cli", f"{mine} imports {module}"
        elif mine != "__init__":
            assert FLOOR[other] < FLOOR[mine], f"{mine} imports {module}"


def test_every_module_has_its_floor():
    top = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "cli"}
    assert top == set(FLOOR)
    assert {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()} <= {*NOUNS}


def test_imports_do_not_go_round_within_a_noun():
    for noun in NOUNS:
        wants = {
            file.stem: {
                module.rpartition(".")[2]
                for module in imports(file)
                if module.startswith(f"pergola.{noun}.")
            }
            for file in (PACKAGE / noun).glob("*.py")
        }
        while wants:
            free = [name for name, wanted in wants.items() if not wanted & wants.keys()]
            assert free, f"these import each other: {wants}"
            for name in free:
                del wants[name]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_function_needs_scrolling_and_no_value_is_of_any_type(file):
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 50, f"{file.name}: {node.name}"
        if isinstance(node, ast.ImportFrom) and node.module == "typing":
            assert "Any" not in [name.name for name in node.names], file


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_file_is_longer_than_300_lines(file):
    assert len(file.read_text().splitlines()) <= 300
