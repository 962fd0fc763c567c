"""The control node's house: its rooms, and which of them may know which."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "control/pergola_control"
# From the ground up: a room knows those above it in this list, and not each other's.
ROOMS = [
    *("refusal", "here", "programs", "git", "uv", "operator", "checkout", "package", "basic"),
    *(
        "modules",
        "source",
        "plan",
        "settings",
        "command",
        "guess",
        "inventory",
        "backups",
        "certificates",
        "output",
        "people",
        "cli",
    ),
]
# What requirements.txt pins.
PINNED = {"ansible", "cryptography", "dotenv", "packaging", "typer", "yaml"}
# Of the servers' package what knows nothing of a server: people's moments are read by one reader,
# and so are applications' modules.
SHARED = {"pergola.errors", "pergola.frameworks", "pergola.people"}
FILES = sorted(PACKAGE.rglob("*.py"))
# Ansible's plugins, each a door to a room; the host's package is not of this house.
DOORS = [
    *ROOT.glob("callback_plugins/*.py"),
    *ROOT.glob("vars_plugins/*.py"),
    *ROOT.glob("plugins/*/*.py"),
    *ROOT.glob("roles/*/*_plugins/*.py"),
]


def named(path):
    return str(path.relative_to(ROOT))


def imports(file):
    """The modules that a file imports, by their whole names."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: import by the whole name"
            inside = node.module in (
                "pergola_control",
                *(f"pergola_control.{room}" for room in ROOMS),
            )
            yield from (f"{node.module}.{name.name}" for name in node.names if inside)
            yield from () if inside else (node.module,)


@pytest.mark.parametrize("file", FILES, ids=named)
def test_a_room_knows_what_is_below_it_only(file):
    mine = file.relative_to(PACKAGE).with_suffix("").parts[0]
    for module in imports(file):
        top, _, rest = module.partition(".")
        if top != "pergola_control":
            if module in SHARED:
                continue
            assert top in sys.stdlib_module_names or top in PINNED, f"{module} is not pinned"
        elif mine not in ("__init__", rest.partition(".")[0]):
            assert ROOMS.index(rest.partition(".")[0]) < ROOMS.index(mine), f"imports {module}"


def test_every_module_has_its_place():
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert found - {"__init__", "__pycache__"} == set(ROOMS)


@pytest.mark.parametrize("room", [path for path in PACKAGE.iterdir() if path.is_dir()], ids=named)
def test_imports_do_not_go_round_within_a_room(room):
    wants = {
        file.stem: {
            module.rpartition(".")[2]
            for module in imports(file)
            if module.startswith(f"pergola_control.{room.name}.")
        }
        for file in room.glob("*.py")
    }
    while wants:
        free = [name for name, wanted in wants.items() if not wanted & wants.keys()]
        assert free, f"these import each other: {wants}"
        for name in free:
            del wants[name]


@pytest.mark.parametrize("file", FILES, ids=named)
def test_nothing_needs_scrolling_and_no_value_is_of_any_type(file):
    text = file.read_text()
    assert len(text.splitlines()) <= 250
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 50, node.name
        if isinstance(node, ast.ImportFrom) and node.module == "typing":
            assert "Any" not in [name.name for name in node.names]


def test_every_plugin_finds_the_house_in_the_same_way():
    way = r'sys\.path\.append\(str\(Path\(__file__\)\.resolve\(\)\.parents\[(\d)\] / "control"\)\)'
    doors = [path for path in DOORS if "pergola_control" in path.read_text()]
    assert len(doors) > 5
    for path in doors:
        (up,) = re.findall(way, path.read_text())
        assert path.parents[int(up)] == ROOT, path
        assert len(re.findall(r"sys\.path", path.read_text())) == 1, path
