"""Whether an application wants PostgreSQL, and by which variables it finds it."""

import ast
import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pergola_control.guess.modules import Module
from pergola_control.guess.packages import Packages, toml_of
from pergola_control.guess.repository import Repository, relative
from pergola_control.guess.variables import COMPUTED, Variable, constant
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


def database_url(scheme: str) -> str:
    if scheme == "postgresql":
        return "{{ app_database.url }}"
    return f"{scheme}:///{{{{ app_database.name }}}}?host={{{{ app_database.host }}}}"


def connection(
    packages: Packages, wanted: Mapping[str, Variable], known: Mapping[str, tuple[str, str]]
) -> Iterator[tuple[Variable, str]]:
    """The variables that say where the database is, each with what it must be."""
    driver = driver_of(packages)
    in_parts = any(PART.fullmatch(name) and name.endswith(PARTS["host"]) for name in wanted)
    for name, one in wanted.items():
        example = known.get(name, ("", ""))[0]
        if URL.fullmatch(name):
            is_made = one.default == COMPUTED or (in_parts and not one.is_needed and not example)
            if driver and not is_made:
                yield one, database_url(scheme_of(packages, (example, one.default)))
            elif found := re.match(r"(sqlite[+\w]*):", example or one.default):
                yield one, f"{found[1]}:////var/lib/{{{{ app_name }}}}/database.sqlite3"
        elif driver and (matched := PART.fullmatch(name)):
            part = next((key for key, ends in PARTS.items() if matched[3] in ends), "")
            if part and (in_parts or one.is_needed):
                yield one, f"{{{{ app_database.{part} }}}}"
            elif matched[3] in PASSWORDS and one.is_needed:
                yield one, NO_PASSWORD


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
    """What to say of Django's SQLite in the project's own directory."""
    for module in modules:
        for node in ast.walk(module.tree):
            if constant(node) == "django.db.backends.sqlite3":
                where = f"{module.path}:{node.lineno}" if isinstance(node, ast.expr) else ""
                yield (
                    f"{where}: SQLite's file is beside the code, which is read-only on servers: "
                    'put it below os.environ["STATE_DIRECTORY"], or use PostgreSQL'
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
