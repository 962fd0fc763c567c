"""Whether an application wants PostgreSQL, and by which variables it finds it."""

import ast
import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pergola_control.guess.modules import Module
from pergola_control.guess.packages import Packages, toml_of
from pergola_control.guess.repository import Repository, relative
from pergola_control.guess.seen import Seen
from pergola_control.guess.variables import COMPUTED, Variable, constant, named
from pergola_control.source.projects import table

# Drivers, with what SQLAlchemy calls each.
DRIVERS = {
    "asyncpg": "postgresql+asyncpg",
    "psycopg": "postgresql+psycopg",
    "psycopg-binary": "postgresql+psycopg",
    "psycopg2": "postgresql",
    "psycopg2-binary": "postgresql",
    "pg8000": "postgresql+pg8000",
    "aiopg": "postgresql",
}
KINDS = "DB|DATABASE|POSTGRES|POSTGRESQL|PG|SQL|SQLALCHEMY"
URL = re.compile(rf"(?!TEST)(\w+_)?({KINDS})_(\w+_)?(URL|URI|DSN)")
PART = re.compile(rf"(?!TEST)(\w+_)?({KINDS})_(\w+)")
PARTS = {
    "host": ("HOST", "SERVER", "HOSTNAME"),
    "port": ("PORT",),
    "name": ("NAME", "DB", "DATABASE", "DATABASE_NAME"),
    "user": ("USER", "USERNAME"),
}
PASSWORDS = ("PASSWORD", "PASS", "PASSWD")
NO_PASSWORD = "-"  # the socket asks for none  # noqa: S105
# A URL whose host may be a part: "postgresql://" + …, f"{scheme}://{user}:{password}@{host}".
MADE = re.compile(r"postgres\w*(\+\w+)?://[^@\s]*(@?[{%]|$)|\{\}://\{\}:\{\}@\{\}")
# A path of SQLite's that counts from where the application runs.
BESIDE = re.compile(r"django\.db\.backends\.sqlite3|sqlite[+\w]*:///(?!/|:memory:)\S+")
DJANGO_QUERY = "select max(id)::text from django_migrations"
AERICH_QUERY = "select version from aerich order by id desc limit 1"


@dataclass(frozen=True)
class Migration:
    """The command, where it was seen, and the query of the schema's revision if not Alembic's."""

    command: str
    where: str
    query: str = ""


def driver_of(packages: Packages) -> str:
    """The driver of PostgreSQL that an application names, or its lock has; "" without one."""
    ranked = sorted(DRIVERS, key=lambda one: not packages.is_direct(one))
    return next((one for one in ranked if packages.has(one)), "")


def scheme_of(packages: Packages, texts: tuple[str, ...]) -> str:
    """The scheme that a URL's reader wants: as an example writes it, or as the driver is called."""
    for text in texts:
        if found := re.match(r"(postgres(?:ql)?(?:\+\w+)?)://", text):
            return found[1]
    uses_sqlalchemy = packages.has("sqlalchemy", "sqlmodel", "databases")
    return DRIVERS[driver_of(packages)] if uses_sqlalchemy else "postgresql"


def database_url(scheme: str, tcp: bool) -> str:
    if scheme == "postgresql":
        return "{{ app_database.url }}"
    if tcp:
        return f"{{{{ app_database.url | with_scheme('{scheme}') }}}}"
    return f"{scheme}:///{{{{ app_database.name }}}}?host={{{{ app_database.host }}}}"


def is_in_parts(wanted: Mapping[str, Variable]) -> bool:
    return any(PART.fullmatch(name) and name.endswith(PARTS["host"]) for name in wanted)


def needs_host(
    packages: Packages, wanted: Mapping[str, Variable], modules: Sequence[Module]
) -> str:
    """Where the application wants a host and a password in the database's URL; "" if nowhere.

    pydantic's types do, and so does a URL that the code makes from parts: a socket is no host.
    """
    if not driver_of(packages):
        return ""
    for name, one in wanted.items():
        if "Dsn" in one.annotation and URL.fullmatch(name):
            return one.where
    for module in modules if is_in_parts(wanted) else ():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.expr) and makes_url(node):
                return f"{module.path}:{node.lineno}"
    return ""


def makes_url(node: ast.expr) -> bool:
    """Whether an expression makes a URL of PostgreSQL from parts."""
    text = ""
    if isinstance(node, ast.JoinedStr):
        text = "".join(constant(one) or "{}" for one in node.values)
    elif isinstance(node, ast.BinOp):
        text = constant(node.left)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        owner = node.func.value
        if node.func.attr == "build" and named(owner).endswith(("Dsn", "Url")):
            return True
        text = constant(owner) if node.func.attr == "format" else ""
    return bool(MADE.match(text))


def connection(
    packages: Packages,
    wanted: Mapping[str, Variable],
    known: Mapping[str, tuple[str, str]],
    tcp: bool,
    data: str,
) -> Iterator[tuple[Variable, str]]:
    """The variables that say where the database is, each with what it must be.

    `data`: the directory that stays, for SQLite.
    """
    driver = driver_of(packages)
    in_parts = is_in_parts(wanted)
    for name, one in wanted.items():
        example = known.get(name, ("", ""))[0]
        if URL.fullmatch(name):
            is_made = one.default == COMPUTED or (in_parts and not one.is_needed and not example)
            if driver and not is_made:
                yield one, database_url(scheme_of(packages, (example, one.default)), tcp)
            elif not driver and (found := re.match(r"(sqlite[+\w]*):", example or one.default)):
                place = f"/srv/{{{{ app_name }}}}/shared/{data}/database.sqlite3"
                yield one, f"{found[1]}:///{place}"
        elif driver and (matched := PART.fullmatch(name)):
            part = next((key for key, ends in PARTS.items() if matched[3] in ends), "")
            if part and (in_parts or one.is_needed):
                yield one, f"{{{{ app_database.{part} }}}}"
            elif matched[3] in PASSWORDS and (one.is_needed or tcp):
                yield one, "{{ app_database.password }}" if tcp else NO_PASSWORD


@dataclass(frozen=True)
class Connection:
    """How an application finds its database.

    `values`: what its variables must be. `tcp` and `sqlite`: where it says that it wants a host,
    and a file of SQLite's, which is in `directory`.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    tcp: str = ""
    sqlite: str = ""
    directory: str = ""

    def settings(self) -> Iterator[Seen]:
        if self.tcp:
            why = "its URL of the database has a host and a password"
            yield Seen("app_database_tcp", True, self.tcp, why)
        if self.sqlite:
            yield Seen("app_databases", [], self.sqlite, "SQLite, and no database of PostgreSQL's")
            why = "SQLite's file, which a server of the group db backs up"
            yield Seen("app_shared_directories", [self.directory], self.sqlite, why)


def connected(
    packages: Packages,
    wanted: Mapping[str, Variable],
    known: Mapping[str, tuple[str, str]],
    modules: Sequence[Module],
    directory: str,
) -> Connection:
    tcp = needs_host(packages, wanted, modules)
    pairs = list(connection(packages, wanted, known, bool(tcp), directory))
    sqlite = next((one.where for one, value in pairs if value.startswith("sqlite")), "")
    return Connection({one.name: value for one, value in pairs}, tcp, sqlite, directory)


def of_alembic(repository: Repository, home: str, ini: str) -> str:
    """Alembic's command: its paths count from where it runs, unless they say otherwise.

    Empty if they are found from neither place.
    """
    directory = relative(posixpath.dirname(ini), home)
    if not directory:
        return "alembic upgrade head"
    found = re.search(r"^script_location\s*=\s*(\S+)", repository.read(ini) or "", re.MULTILINE)
    location = found[1] if found else ""
    if "%(here)s" in location or any(repository.below(posixpath.join(home, location))):
        return f"alembic -c {relative(ini, home)} upgrade head"
    is_beside = any(repository.below(posixpath.join(home, directory, location)))
    return f"cd {directory} && alembic upgrade head" if is_beside else ""


def beside_code(modules: Sequence[Module]) -> Iterator[str]:
    """What to say of a file of SQLite's in the project's own directory."""
    for module in modules:
        for node in ast.walk(module.tree):
            if BESIDE.fullmatch(constant(node)):
                where = f"{module.path}:{node.lineno}" if isinstance(node, ast.expr) else ""
                yield (
                    f"{where}: SQLite's file is beside the code, which is read-only on servers: "
                    "read its path from a variable, and let it be in a directory of "
                    "app_shared_directories; or use PostgreSQL"
                )


def migration(repository: Repository, home: str, packages: Packages, asgi: str) -> Migration | None:
    """The command that brings the schema to the release's."""

    def place(name: str) -> str:
        return posixpath.join(home, name)

    inis = [path for path in repository.below(home) if posixpath.basename(path) == "alembic.ini"]
    tool = table(toml_of(repository, place("pyproject.toml")), "tool")
    if repository.has(home, "manage.py") and packages.has("django"):
        command = "python manage.py migrate --no-input"
        return Migration(command, place("manage.py"), DJANGO_QUERY)
    if "aerich" in tool:
        where = repository.where(place("pyproject.toml"), r"^\[tool\.aerich")
        return Migration("aerich upgrade", where, AERICH_QUERY)
    if packages.has("flask-migrate") and repository.has(home, "migrations/env.py"):
        command = f"flask --app {shlex.quote(asgi)} db upgrade"
        return Migration(command, place("migrations/env.py"))
    if inis:
        path = min(inis, key=lambda one: one.count("/"))
        return Migration(of_alembic(repository, home, path), path)
    if "alembic" in tool:
        where = repository.where(place("pyproject.toml"), r"^\[tool\.alembic")
        return Migration("alembic upgrade head", where)
    return None
