"""Static files: what is served, where it is, and what makes it."""

import ast
import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pergola_control.guess.modules import Module
from pergola_control.guess.repository import Repository, relative
from pergola_control.guess.variables import constant, named
from pergola_control.source.places import above

# What makes front ends, with the directory that it writes to.
BUNDLERS = {"vite": "dist", "react-scripts": "build", "parcel": "dist", "@angular/cli": "dist"}
INSTALL = {
    "package-lock.json": "npm ci",
    "pnpm-lock.yaml": "pnpm install --frozen-lockfile",
    "yarn.lock": "yarn install --frozen-lockfile",
    "bun.lock": "bun install --frozen-lockfile",
    "bun.lockb": "bun install --frozen-lockfile",
}


@dataclass(frozen=True)
class Mount:
    """Static files that an application serves itself; `directory` in the repository."""

    url: str
    directory: str
    where: str


@dataclass(frozen=True)
class FrontEnd:
    """A package.json that builds something: its directory, where it writes, and the command."""

    directory: str
    output: str
    command: str
    where: str


class Paths:
    """What expressions for paths are, as far as they say it themselves."""

    def __init__(self, modules: Sequence[Module], home: str) -> None:
        self.home = home
        self.assigned: dict[str, tuple[Module, ast.expr]] = {}
        for module in modules:
            for name, value in assigned(module.tree):
                self.assigned.setdefault(name, (module, value))

    def path(self, node: ast.AST | None, module: Module, depth: int = 0) -> str | None:
        """The path in the repository that an expression gives; None if that is not known."""
        if node is None or depth > 20:
            return None
        if text := constant(node):
            return None if text.startswith("/") else posixpath.join(self.home, text)
        if isinstance(node, ast.Name):
            if node.id == "__file__":
                return module.path
            other, value = self.assigned.get(node.id, (module, None))
            return self.path(value, other, depth + 1)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            return self.joined(node.left, [node.right], module, depth)
        if isinstance(node, ast.Attribute):
            inner = self.path(node.value, module, depth + 1)
            return posixpath.dirname(inner) if node.attr == "parent" and inner else None
        if isinstance(node, ast.Subscript) and named(node) == "parents":
            inner = self.path(getattr(node.value, "value", None), module, depth + 1)
            times = getattr(node.slice, "value", None)
            if inner is None or not isinstance(times, int):
                return None
            for _ in range(times + 1):
                inner = posixpath.dirname(inner)
            return inner
        return self.called(node, module, depth) if isinstance(node, ast.Call) else None

    def called(self, node: ast.Call, module: Module, depth: int) -> str | None:
        """The same of a call: Path(x), x.resolve(), os.path.join(x, "y")."""
        name = named(node)
        first = node.args[0] if node.args else None
        if name in ("resolve", "absolute", "as_posix") and isinstance(node.func, ast.Attribute):
            return self.path(node.func.value, module, depth + 1)
        if name == "joinpath" and isinstance(node.func, ast.Attribute):
            return self.joined(node.func.value, node.args, module, depth)
        if name in ("str", "abspath", "realpath", "normpath"):
            return self.path(first, module, depth + 1)
        if name == "dirname":
            inner = self.path(first, module, depth + 1)
            return None if inner is None else posixpath.dirname(inner)
        if name in ("Path", "PurePath", "join") and first is not None:
            return self.joined(first, node.args[1:], module, depth)
        return None

    def joined(
        self, left: ast.expr, rest: Sequence[ast.expr], module: Module, depth: int
    ) -> str | None:
        inner, parts = self.path(left, module, depth + 1), [constant(one) for one in rest]
        return None if inner is None or not all(parts) else posixpath.join(inner, *parts)


def mounts(modules: Sequence[Module], home: str) -> Iterator[Mount]:
    """What Starlette's StaticFiles, and Litestar's and Flask's own, serve."""
    known = Paths(modules, home)
    for module in modules:
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Call):
                continue
            url, value = mounted(node)
            path = known.path(value, module)
            if url and path is not None:
                where = f"{module.path}:{node.lineno}"
                yield Mount(url.rstrip("/"), posixpath.normpath(path), where)


def mounted(node: ast.Call) -> tuple[str, ast.expr | None]:
    """The URL and the directory of a call that serves static files; "" of any other."""
    given = {one.arg: one.value for one in node.keywords}
    name = named(node)
    if name in ("mount", "Mount"):
        inner = [*node.args[1:], *filter(None, [given.get("app")])]
        files = next((one for one in inner if named(one) == "StaticFiles"), None)
        if isinstance(files, ast.Call):
            options = {one.arg: one.value for one in files.keywords}
            directory = files.args[0] if files.args else options.get("directory")
            return constant(node.args[0] if node.args else given.get("path")), directory
    if name in ("create_static_files_router", "StaticFilesConfig"):
        listed = given.get("directories")
        first = listed.elts[0] if isinstance(listed, ast.List) and listed.elts else None
        return constant(given.get("path")), first
    return "", None


def of_flask(modules: Sequence[Module]) -> Iterator[Mount]:
    """The directory beside the module that makes it, which Flask serves unasked."""
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and named(node) == "Flask":
                given = {one.arg: constant(one.value) for one in node.keywords}
                folder = given.get("static_folder") or "static"
                path = posixpath.join(posixpath.dirname(module.path), folder)
                url = given.get("static_url_path") or "/static"
                yield Mount(url.rstrip("/"), path, f"{module.path}:{node.lineno}")


def front_ends(repository: Repository) -> Iterator[FrontEnd]:
    """Directories with a package.json that has a build script."""
    for path in repository.names:
        if posixpath.basename(path) != "package.json" or path.count("/") > 2:
            continue
        directory = posixpath.dirname(path)
        try:
            content = json.loads(repository.read(path) or "")
        except json.JSONDecodeError:
            continue
        output = output_of(repository, directory, content) if isinstance(content, Mapping) else ""
        if output and "build" in content.get("scripts", {}):
            # A workspace has its lock above its members; its tool finds that itself.
            places = (directory, *above(directory))
            locks = [lock for at in places for lock in INSTALL if repository.has(at, lock)]
            install = INSTALL[locks[0]] if locks else "npm install"
            command = f"{install} && {install.split()[0]} run build"
            yield FrontEnd(directory, output, command, repository.where(path, '"build"'))


def output_of(repository: Repository, directory: str, content: Mapping[str, object]) -> str:
    """Where a build writes, in the repository; "" if that is not known."""
    for name in ("vite.config.ts", "vite.config.js", "vite.config.mts", "vite.config.mjs"):
        text = repository.read(posixpath.join(directory, name)) or ""
        if found := re.search(r"""outDir\s*:\s*["']([^"']+)["']""", text):
            return posixpath.normpath(posixpath.join(directory, found[1]))
    kinds = [content.get(kind) for kind in ("dependencies", "devDependencies")]
    names = {name for kind in kinds if isinstance(kind, Mapping) for name in kind}
    usual = next((where for name, where in BUNDLERS.items() if name in names), "")
    return posixpath.join(directory, usual) if usual else ""


def is_inside(path: str, directory: str) -> bool:
    return bool(directory) and f"{path}/".startswith(f"{directory}/")


@dataclass(frozen=True)
class Django:
    """A project's STATIC_URL and STATIC_ROOT; `root`: in the repository, "" if it is Pergola's."""

    url: str
    root: str | None
    where: str


def of_django(modules: Sequence[Module], home: str) -> Django | None:
    """What Django's settings say of static files; None where none say it."""
    known = Paths(modules, home)
    for module in modules:
        lines = dict(assigned(module.tree))
        if "STATIC_URL" not in lines:
            continue
        root = lines.get("STATIC_ROOT")
        texts = [constant(node) for node in ast.walk(lines["STATIC_URL"])]
        url = next((text for text in texts if "/" in text), "static").strip("/")
        where = f"{module.path}:{(root or lines['STATIC_URL']).lineno}"
        if root is None:
            return Django(f"/{url}", None, where)
        own = "PERGOLA_ASSETS" in ast.unparse(root)
        path = "" if own else known.path(root, module)
        return Django(f"/{url}", relative(path, home) if path else path, where)
    return None


def assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """What names a module gives at its top, and to what."""
    for line in tree.body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            yield line.targets[0].id, line.value
        elif isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value:
            yield line.target.id, line.value
