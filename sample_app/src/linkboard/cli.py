"""The command line.

Imports are made where they are needed: a health check must not load Alembic.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from linkboard.config import Settings, get_settings

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlmodel.ext.asyncio.session import AsyncSession

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # plain tracebacks, which show no local variables
    help="Run and look after linkboard.",
)
db_app = typer.Typer(no_args_is_help=True, help="Look after the schema.")
app.add_typer(db_app, name="db")

SEEDS = [
    ("https://docs.astral.sh/uv/", "uv: an extremely fast Python package and project manager"),
    ("https://www.postgresql.org/docs/current/", "PostgreSQL: Documentation"),
    ("https://alembic.sqlalchemy.org/", "Alembic: database migrations for SQLAlchemy"),
    ("https://sqlmodel.tiangolo.com/", "SQLModel: SQL databases in Python, with simplicity"),
    ("https://caddyserver.com/", "Caddy: the server with automatic HTTPS"),
    ("https://hypermedia.systems/", "Hypermedia Systems: the book"),
    ("https://htmx.org/", "htmx: high power tools for HTML"),
    (
        "https://fastapi.tiangolo.com/",
        "FastAPI: high performance, easy to learn, ready for production",
    ),
]


def run(work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401
    """Run one coroutine; a database that does not answer is one readable line, not a traceback."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return asyncio.run(work)
    except (OSError, SQLAlchemyError) as error:
        first_line = (str(error) or repr(error)).splitlines()[0]
        fail(
            f"database: {first_line} ({get_settings().database_url.partition('?')[2] or 'no host'})"
        )


def fail(message: str) -> NoReturn:
    """Stop with a message and exit status 1."""
    typer.echo(f"linkboard: {message}", err=True)
    raise typer.Exit(1)


@asynccontextmanager
async def connected() -> "AsyncIterator[tuple[Settings, AsyncEngine, AsyncSession]]":
    """Open a session for one command."""
    from linkboard.db import make_engine, open_session

    settings = get_settings()
    engine = make_engine(settings)
    try:
        async with open_session(engine) as session:
            yield settings, engine, session
    finally:
        await engine.dispose()


@db_app.command("upgrade")
def db_upgrade(revision: Annotated[str, typer.Argument(help="Where to stop.")] = "head") -> None:
    """Bring the schema to the newest revision. Safe to run from several hosts at once."""
    from linkboard.migrate import read_schema, upgrade

    async def read() -> str | None:
        async with connected() as (_, engine, _session):
            return (await read_schema(engine)).revision

    async def migrate() -> None:
        await asyncio.to_thread(upgrade, get_settings(), revision)

    before = run(read())
    run(migrate())
    after = run(read())
    typer.echo(
        f"upgraded {before or 'empty'} -> {after}" if before != after else f"unchanged {after}"
    )


@app.command("create-user")
def create_user(
    name: str,
    password: Annotated[
        str, typer.Option(help="Only '-': the password is read from standard input.")
    ],
) -> None:
    """Create a user, or give them a new password. Says created, updated or unchanged."""
    from sqlmodel import col, delete, select

    from linkboard.models import LoginSession, User
    from linkboard.security import Passwords

    if password != "-":  # noqa: S105 - the one value that is not a password
        fail("every process here could read it: use --password - and standard input")
    secret = sys.stdin.readline().rstrip("\r\n")
    if not 8 <= len(secret) <= 1000:
        fail("the password needs 8 to 1000 characters")
    if not 1 <= len(name) <= 200 or name != name.strip() or not name.isprintable():
        fail("the name needs 1 to 200 printable characters, and no space around them")

    async def work() -> str:
        async with connected() as (settings, _, db):
            passwords = Passwords(settings)
            user = (await db.exec(select(User).where(User.name == name))).first()
            if user and await passwords.verify(user.password_hash, secret):
                return "unchanged"
            outcome = "updated" if user else "created"
            user = user or User(name=name, password_hash="")
            user.password_hash = await passwords.hash(secret)
            db.add(user)
            # Whoever knew the old password is signed out.
            await db.exec(delete(LoginSession).where(col(LoginSession.user_id) == user.id))
            await db.commit()
            return outcome

    typer.echo(f"{run(work())} {name}")


@app.command()
def seed(
    user: Annotated[
        str | None, typer.Option(help="Whose links; the first user's by default.")
    ] = None,
) -> None:
    """Add a few links to look at, unless there are links already. Fetches nothing."""
    from datetime import timedelta

    from sqlmodel import col, select

    from linkboard.models import Link, User, now

    async def work() -> str:
        async with connected() as (_, _, db):
            query = select(User).order_by(col(User.id))
            owner = (await db.exec(query.where(User.name == user) if user else query)).first()
            if owner is None:
                fail(
                    f"there is no user {user}"
                    if user
                    else "there is no user: run create-user first"
                )
            if (await db.exec(select(Link).limit(1))).first():
                return "unchanged: there are links already"
            for age, (url, title) in zip(range(len(SEEDS), 0, -1), SEEDS, strict=True):
                created = now() - timedelta(minutes=7 * age * age)
                db.add(
                    Link(user_id=owner.id, url=url, title=title, state="done", created_at=created)
                )
            await db.commit()
            return f"seeded {len(SEEDS)} links for {owner.name}"

    typer.echo(run(work()))


@app.command()
def stats() -> None:
    """Print counts as JSON."""
    from sqlmodel import func, select

    from linkboard.models import Link, LoginSession, User

    async def work() -> dict[str, int]:
        async with connected() as (_, _, db):
            counts = {"users": 0, "sessions": 0, "links": 0, "done": 0, "pending": 0, "failed": 0}
            for name, table in (("users", User), ("sessions", LoginSession), ("links", Link)):
                counts[name] = (await db.exec(select(func.count()).select_from(table))).one()
            counts |= dict(
                (await db.exec(select(Link.state, func.count()).group_by(Link.state))).all()
            )
            return counts

    typer.echo(json.dumps(run(work())))


@app.command()
def refetch(
    failed: Annotated[
        bool, typer.Option("--failed", help="Also those that failed before.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many at most, newest first.")] = 500,
) -> None:
    """Fetch the titles that are still missing, once. Prints how many it tried.

    Newest first up to a limit: pages that are gone for good must not make every night longer.
    """
    from sqlmodel import col, select

    from linkboard.fetcher import Fetcher
    from linkboard.models import Link

    async def work() -> int:
        async with connected() as (settings, engine, db):
            states = ["pending", "failed"] if failed else ["pending"]
            missing = select(Link).where(col(Link.state).in_(states))
            links = (await db.exec(missing.order_by(col(Link.id).desc()).limit(limit))).all()
            await db.close()
            fetcher = Fetcher(settings, engine)
            await asyncio.gather(*(fetcher.fill(link.id, link.url) for link in links))
            return len(links)

    typer.echo(f"refetched {run(work())}")


@app.command()
def worker(
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 5,
) -> None:
    """Fetch titles that the web server left pending, until SIGTERM. Runs beside it, for ever."""
    from linkboard import log
    from linkboard.worker import work

    async def forever() -> None:
        async with connected() as (settings, engine, _):
            log.configure(settings.log_level, settings.release)
            await work(settings, engine, every)

    run(forever())


@app.command("assets")
def write_assets(out: Path) -> None:
    """Write the static files, under names with their hash, where a web server serves them."""
    from linkboard.assets import collect

    typer.echo(f"wrote {collect(out)} files")


@app.command()
def healthcheck(
    uds: Annotated[Path | None, typer.Option(help="The unix socket to ask.")] = None,
    url: Annotated[str, typer.Option(help="What to ask.")] = "http://127.0.0.1:8000/readyz",
) -> None:
    """Ask a running server whether it is ready; exit status 0 or 1."""
    import httpx

    transport = httpx.HTTPTransport(uds=str(uds) if uds else None)
    try:
        with httpx.Client(transport=transport, timeout=5, trust_env=False) as client:
            response = client.get(url)
    except httpx.HTTPError as error:
        fail(f"no answer: {error!r}")
    typer.echo(response.text)
    if response.status_code != 200:
        raise typer.Exit(1)


@app.command()
def serve(
    host: str = "127.0.0.1",
    port: int = 8000,
    uds: Annotated[
        Path | None, typer.Option(help="A unix socket instead of host and port.")
    ] = None,
    reload: Annotated[
        bool, typer.Option("--reload", help="Restart when a source file changes.")
    ] = False,
) -> None:
    """Run the server, for development. Production calls uvicorn with a socket of systemd."""
    import uvicorn

    uvicorn.run(
        "linkboard.main:app",
        host=host,
        port=port,
        uds=str(uds) if uds else None,
        reload=reload,
        loop="uvloop",
        http="httptools",
        log_config=None,  # ours is set up when the app is imported
    )


def main() -> None:
    """Entry point of the `linkboard` command."""
    app()
