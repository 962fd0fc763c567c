"""The variables that an application reads from its environment."""

import ast
import io
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dotenv import dotenv_values

from pergola_control.guess.modules import Module, packages_imported
from pergola_control.guess.repository import Repository

EXAMPLES = (
    *(".env.example", ".env.sample", ".env.template", ".env.dist", "env.example", "example.env"),
    ".env",  # in the repository it is an example too
)
NAME = re.compile(r"[A-Z][A-Z0-9_]*")
SECRET = re.compile(
    r"SECRET|PASSW(OR)?D|TOKEN|CREDENTIAL|PRIVATE|SALT|(^|_)(API_?)?KEYS?$|_PASS$", re.IGNORECASE
)
NONE = ast.Constant(...)
COMPUTED = "…"  # a default that is made from other variables
# What stands in an example in place of a value.
BLANK = re.compile(
    r"\s*(<.*>|\.\.\.|x{3,}|change[-_ ]?(me|this|it).*|your[-_ ].*)?\s*", re.IGNORECASE
)
# What an example leaves to a shell or to Compose: ${NAME}, ${NAME:-default}.
LEFT = re.compile(r"\$\{\w+(?:(:?-)([^{}]*))?[^{}]*\}")
# What systemd, libpq, the shell and Pergola give.
GIVEN = re.compile(
    r"PERGOLA_\w+|PG[A-Z]+|PORT|WEB_CONCURRENCY|HOME|PATH|USER|LOGNAME|SHELL|TMPDIR|HOSTNAME|LANG|TZ"
    r"|PWD|STATE_DIRECTORY|CREDENTIALS_DIRECTORY|SENTRY_RELEASE|OTEL_\w+|DJANGO_SETTINGS_MODULE"
    r"|LISTEN_FDS|PYTHON\w+|VIRTUAL_ENV"
)
# Packages whose readers take a variable's name first; and what these are mostly called.
READERS = {"environs", "environ", "decouple", "starlette"}
READER = re.compile(r"(env|config|environ)", re.IGNORECASE)


@dataclass(frozen=True)
class Variable:
    """`is_needed`: without it the application does not start. `default`: a text, or ""."""

    name: str
    where: str
    is_needed: bool
    is_secret: bool
    default: str = ""
    annotation: str = ""


def variables(modules: Sequence[Module]) -> dict[str, Variable]:
    """All variables by their names, as the first place that needs each has it.

    What no shell could set is left out: a name of pydantic's can be any text.
    """
    found: dict[str, Variable] = {}
    prefixes = settings_classes(modules)
    for module in modules:
        for one in (*fields(module, prefixes), *looked_up(module)):
            before = found.get(one.name)
            is_known = before and (before.is_needed or not one.is_needed)
            if NAME.fullmatch(one.name) and not GIVEN.fullmatch(one.name) and not is_known:
                found[one.name] = one
    return found


def examples(repository: Repository, home: str) -> dict[str, tuple[str, str]]:
    """The values of a file such as .env.example, with file and line, by name."""
    found: dict[str, tuple[str, str]] = {}
    for path in (posixpath.join(directory, name) for directory in (home, "") for name in EXAMPLES):
        text = repository.read(path) or ""
        for name, value in dotenv_values(stream=io.StringIO(text), interpolate=False).items():
            where = repository.where(path, rf"^\s*(export\s+)?{re.escape(name)}\s*=")
            found.setdefault(name, (value or "", where))
    return found


# -- pydantic-settings -----------------------------------------------------------------------------


def named(node: ast.AST | None) -> str:
    """The last part of a dotted name; of a call and a subscript that of what it is about."""
    if isinstance(node, ast.Call):
        return named(node.func)
    if isinstance(node, ast.Subscript):
        return named(node.value)
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def classes(module: Module) -> Iterator[ast.ClassDef]:
    yield from (one for one in ast.walk(module.tree) if isinstance(one, ast.ClassDef))


def settings_classes(modules: Sequence[Module]) -> dict[str, str]:
    """The classes that read their fields from the environment, each with its prefix."""
    found = {"BaseSettings": ""}
    every = [one for module in modules for one in classes(module)]
    while more := [one for one in every if one.name not in found and parent(one, found)]:
        for one in more:
            own = prefix_of(one)
            found[one.name] = found[parent(one, found)] if own is None else own
    return found


def parent(one: ast.ClassDef, known: Mapping[str, str]) -> str:
    """The first class of some that a class is made from; "" if it is from none of them."""
    return next((name for name in map(named, one.bases) if name in known), "")


def fields(module: Module, prefixes: Mapping[str, str]) -> Iterator[Variable]:
    """The fields of settings classes, by the names of their variables."""
    for one in classes(module):
        if not parent(one, prefixes):
            continue
        prefix = prefixes[one.name]
        for line in one.body:
            if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name):
                continue
            if line.target.id != "model_config" and named(line.annotation) != "ClassVar":
                yield field(module, line, line.target.id, prefix)


def field(module: Module, line: ast.AnnAssign, name: str, prefix: str) -> Variable:
    """A field's variable: an alias has no prefix."""
    value, is_needed, alias = line.value, line.value is None, ""
    if isinstance(value, ast.Call) and named(value) == "Field":
        given = {one.arg: one.value for one in value.keywords}
        first = value.args[0] if value.args else given.get("default")
        is_needed = "default_factory" not in given and ast.unparse(first or NONE) == "..."
        known = (given.get(key) for key in ("validation_alias", "alias", "env"))
        alias = next((text for one in known if (text := first_text(one))), "")
        value = first
    annotation = ast.unparse(line.annotation)
    secret = bool(SECRET.search(name)) or "Secret" in annotation
    where, name = f"{module.path}:{line.lineno}", (alias or prefix + name).upper()
    default = COMPUTED if isinstance(value, ast.JoinedStr | ast.BinOp) else plain(value)
    return Variable(name, where, is_needed, secret, default, annotation)


def prefix_of(one: ast.ClassDef) -> str | None:
    """env_prefix: in a call, a dictionary, or a class inside; None: that of the class above."""
    for node in ast.walk(one):
        if isinstance(node, ast.keyword) and node.arg == "env_prefix":
            return constant(node.value)
        if isinstance(node, ast.Assign) and named(node.targets[0]) == "env_prefix":
            return constant(node.value)
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if constant(key) == "env_prefix":
                    return constant(value)
    return None


def constant(node: ast.AST | None) -> str:
    """A text that stands there as such; "" for anything else."""
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return str(node.value) if is_text and isinstance(node, ast.Constant) else ""


def plain(node: ast.AST | None) -> str:
    """The same, and what switches something on."""
    value = node.value if isinstance(node, ast.Constant) else ""
    return str(value) if value in (True, 1) else constant(node)


def first_text(node: ast.AST | None) -> str:
    """The first text in an expression, as in AliasChoices("A", "B")."""
    return next(filter(None, map(constant, ast.walk(node))), "") if node else ""


# -- os.environ and what is like it ----------------------------------------------------------------


def looked_up(module: Module) -> Iterator[Variable]:
    """What is read by name: os.environ["X"], os.getenv("X"), env("X"), config("X", default=…)."""
    set_here = {constant(one.slice) for one in stored(module.tree)}
    has_reader = bool(READERS & packages_imported(module.tree))
    attempted = set(tried(module.tree))
    for node in ast.walk(module.tree):
        name, is_needed, default = "", False, ""
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            name = constant(node.slice) if named(node.value) == "environ" else ""
            is_needed = node not in attempted
        elif isinstance(node, ast.Call):
            name, is_needed, default = called(node, has_reader)
        if isinstance(node, ast.expr) and NAME.fullmatch(name) and name not in set_here:
            secret = bool(SECRET.search(name))
            yield Variable(name, f"{module.path}:{node.lineno}", is_needed, secret, default)


def called(node: ast.Call, has_reader: bool) -> tuple[str, bool, str]:
    """The variable that a call reads, whether it must be there, and its default; "" for none."""
    given = {one.arg: one.value for one in node.keywords}
    kind = reader(node, has_reader)
    if kind == "url":  # dj_database_url.config()
        return constant(given.get("env")) or "DATABASE_URL", False, constant(given.get("default"))
    if not kind or not node.args:
        return "", False, ""
    casts = [one for one in node.args[1:] if isinstance(one, ast.Name)]  # config("X", bool)
    has_default = "default" in given or len(casts) < len(node.args) - 1
    values = [*node.args[1:], *filter(None, [given.get("default")])]
    default = next(filter(None, map(plain, values)), "")
    return constant(node.args[0]), kind != "get" and not has_default, default


def tried(tree: ast.Module) -> Iterator[ast.AST]:
    """What stands where an error is caught, or behind a look at the environment."""
    for node in ast.walk(tree):
        is_caught = isinstance(node, ast.Try) and bool(node.handlers)
        if is_caught or (isinstance(node, ast.If) and "environ" in ast.unparse(node.test)):
            for line in getattr(node, "body", []):
                yield from ast.walk(line)


def stored(tree: ast.Module) -> Iterator[ast.Subscript]:
    """What the code sets itself, as in os.environ["X"] = 1."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            yield node


def reader(call: ast.Call, has_reader: bool) -> str:
    """What a call reads a variable with: get (which needs none), env, config; "" for others."""
    function = call.func
    if named(function) == "getenv":
        return "get"
    if isinstance(function, ast.Attribute):
        owner = named(function.value)
        if owner == "dj_database_url" and function.attr == "config":
            return "url"
        if owner == "environ" and function.attr == "get":
            return "get"
        if has_reader and READER.fullmatch(owner) and function.attr not in ("get", "read_env"):
            return "env"
    if has_reader and isinstance(function, ast.Name) and READER.fullmatch(function.id):
        return "config" if function.id.lower() == "config" else "env"
    return ""


def value_of(name: str, known: Mapping[str, tuple[str, str]]) -> str:
    """A value that an example gives and that is one, not a place to fill in."""
    value = known.get(name, ("", ""))[0]
    if any(not found[1] for found in LEFT.finditer(value)):
        return ""
    value = LEFT.sub(r"\2", value)
    return "" if BLANK.fullmatch(value) else value
