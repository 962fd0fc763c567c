"""The Python modules of a repository, and the applications in them."""

import ast
import posixpath
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pergola_control.guess.repository import Repository, relative
from pergola_control.here import ROOT
from pergola_control.source.places import above
from pergola_control.source.projects import LOCKS, project_of

sys.path.append(str(ROOT / "host"))
import pergola.frameworks as frameworks

MOST_FILES, MOST_BYTES = 3000, 300_000
PASSED_OVER = re.compile(
    r"(^|/)(node_modules|site-packages|tests?|testing|migrations|revisions|alembic|docs?|examples?|benchmarks?|scripts"
    r"|management/commands"
    r"|\.[^/]*)/|(^|/)(test_[^/]*|[^/]*_test|conftest|noxfile)\.py$|^setup\.py$"
)
# What is no ASGI application is served by its own program.
WSGI = {"Flask": "Flask", "Bottle": "Bottle", "get_wsgi_application": "Django's WSGI"}
FROM_ELSEWHERE = {("Application", "aiohttp"): "aiohttp"}
MARKS = ("pyproject.toml", "setup.py", "Pipfile", "manage.py", "requirements.txt")
LISTS = re.compile(r"(requirements/[^/]+|[^/]*requirements[^/]*)\.(txt|in)")
USUAL = ("main", "app", "asgi", "wsgi", "server", "web", "api")


@dataclass(frozen=True)
class Module:
    """`name`: as it is imported from its `home`, the directory of its project."""

    path: str
    home: str
    name: str
    tree: ast.Module


@dataclass(frozen=True)
class Found:
    """An application: the module and the name in it, with () for a function that makes it."""

    module: Module
    name: str
    line: int
    framework: str

    @property
    def asgi(self) -> str:
        return f"{self.module.name}:{self.name}"

    @property
    def where(self) -> str:
        return f"{self.module.path}:{self.line}"

    @property
    def is_asgi(self) -> bool:
        return self.framework not in {*WSGI.values(), *FROM_ELSEWHERE.values()}


def home_of(repository: Repository, path: str) -> str:
    """The directory of the project that a file belongs to; a package is none."""
    for directory in above(path):
        if repository.has(directory, "__init__.py"):
            continue
        if any(repository.has(directory, mark) for mark in (*MARKS, *LOCKS)):
            return directory
    return ""


def lock_home(repository: Repository, home: str) -> str:
    """The directory whose lock a project is installed from: its own, or one above it."""
    for directory in (home, *above(home)):
        inside = [relative(name, directory) for name in repository.below(directory)]
        if any(name in LOCKS or LISTS.fullmatch(name) for name in inside):
            return directory
    return home


def import_name(repository: Repository, path: str, home: str, text: str) -> str:
    """How a module is imported: below `src` without that, unless it is a package's name."""
    package = posixpath.dirname(path)
    if repository.has(package, "__init__.py"):  # from the outermost package
        while repository.has(posixpath.dirname(package), "__init__.py") and package != home:
            package = posixpath.dirname(package)
        home = posixpath.dirname(package)
    inside = relative(path, home).removesuffix(".py").removesuffix("/__init__")
    if not re.search(r"^\s*(from|import) src\b", text, re.MULTILINE):
        inside = inside.removeprefix("src/")
    return inside.replace("/", ".")


def modules_of(repository: Repository) -> list[Module]:
    """The modules that are no tests and no migrations, as far as they can be read."""
    found: list[Module] = []
    for path in repository.names:
        if not path.endswith(".py") or PASSED_OVER.search(path) or len(found) == MOST_FILES:
            continue
        text = repository.read(path) or ""
        if len(text) <= MOST_BYTES and (tree := frameworks.parsed(text)):
            home = home_of(repository, path)
            found.append(Module(path, home, import_name(repository, path, home, text), tree))
    return found


def applications(modules: Sequence[Module]) -> list[Found]:
    """All applications, the likeliest first."""
    kinds = {**frameworks.ASGI, **WSGI}
    kinds = {**subclasses(modules, kinds), **kinds}
    makers = {
        line.name: framework
        for module in modules  # functions that make one, which other modules call
        for line in module.tree.body
        if isinstance(line, ast.FunctionDef)
        if (framework := frameworks.made_in(line, known_in(module, kinds)))
    }
    found = [
        Found(module, one.name, one.line, one.framework)
        for module in modules
        for one in frameworks.applications(module.tree, known_in(module, {**makers, **kinds}))
    ]
    return sorted(found, key=likelihood)


def subclasses(modules: Sequence[Module], kinds: Mapping[str, str]) -> dict[str, str]:
    """The application's own classes of applications."""
    found: dict[str, str] = {}
    for module in modules:
        for line in module.tree.body:
            bases = line.bases if isinstance(line, ast.ClassDef) else []
            named = [getattr(base, "attr", getattr(base, "id", "")) for base in bases]
            if isinstance(line, ast.ClassDef) and (base := [one for one in named if one in kinds]):
                found[line.name] = kinds[base[0]]
    return found


def known_in(module: Module, kinds: Mapping[str, str]) -> dict[str, str]:
    """What makes applications in a module: some names count with the right import only."""
    tops = packages_imported(module.tree)
    return {**kinds, **{name: kind for (name, of), kind in FROM_ELSEWHERE.items() if of in tops}}


def packages_imported(tree: ast.Module) -> set[str]:
    """The packages that a module imports at its top."""
    found: set[str] = set()
    for line in tree.body:
        if isinstance(line, ast.Import):
            found |= {one.name for one in line.names}
        elif isinstance(line, ast.ImportFrom) and line.module:
            found.add(line.module)
    return {name.partition(".")[0] for name in found}


def likelihood(found: Found) -> tuple[object, ...]:
    """What to sort applications by."""
    last = found.module.name.rpartition(".")[2]
    return (
        not found.is_asgi,
        found.framework == "ASGI",  # a plain function may be a part of something
        found.name.endswith("()"),
        USUAL.index(last) if last in USUAL else len(USUAL),
        found.name.removesuffix("()") not in ("app", "application"),
        found.module.path.count("/"),
        found.module.path,
    )


def is_built(repository: Repository, home: str) -> bool:
    """Whether a project is installed as a package."""
    return "build-system" in project_of(repository.read, home) or repository.has(home, "setup.py")


def is_member(repository: Repository, home: str, lock: str) -> bool:
    """Whether a project is a member of the workspace whose lock is above it."""
    return (
        home != lock and repository.has(lock, "uv.lock") and repository.has(home, "pyproject.toml")
    )


def inside_home(module: Module) -> str:
    """Where Python must look for a module, from its project's directory."""
    path = posixpath.splitext(relative(module.path, module.home))[0].removesuffix("/__init__")
    return path.removesuffix(module.name.replace(".", "/")).rstrip("/")
