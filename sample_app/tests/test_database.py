"""Schema, migrations and the probe that watches them."""

import asyncio
import subprocess
import sys

import pytest
from alembic import command
from linkboard import migrate
from linkboard.config import Settings
from linkboard.db import make_engine
from sqlalchemy import text


async def revision(dsn: str) -> str | None:
    engine = make_engine(Settings(database_url=dsn))
    try:
        return (await migrate.read_schema(engine)).revision
    finally:
        await engine.dispose()


def test_migrations_match_the_models(dsn: str) -> None:
    command.check(migrate.make_config(Settings(database_url=dsn)))


def test_down_and_up_again(empty_database: str) -> None:
    settings = Settings(database_url=empty_database)
    migrate.upgrade(settings)
    command.downgrade(migrate.make_config(settings), "base")
    migrate.upgrade(settings)
    command.check(migrate.make_config(settings))


def test_upgrades_at_the_same_time(empty_database: str, environment: dict) -> None:
    environment = environment | {"LINKBOARD_DATABASE_URL": empty_database}
    code = "from linkboard.cli import main; main()"
    started = [
        subprocess.Popen([sys.executable, "-c", code, "db", "upgrade"], env=environment)
        for _ in range(2)
    ]
    assert [process.wait(30) for process in started] == [0, 0]
    assert asyncio.run(revision(empty_database)) == "0002"


def test_upgrade_does_not_wait_for_a_busy_table(empty_database: str) -> None:
    settings = Settings(database_url=empty_database, migration_lock_timeout=0.2)
    migrate.upgrade(settings, "0001")

    async def upgrade_while_a_table_is_locked() -> None:
        engine = make_engine(settings)
        async with engine.connect() as connection:
            await connection.execute(text("lock table links in access exclusive mode"))
            with pytest.raises(Exception, match="lock timeout"):
                async with asyncio.timeout(10):
                    await asyncio.to_thread(migrate.upgrade, settings)
        await engine.dispose()

    asyncio.run(upgrade_while_a_table_is_locked())
    assert asyncio.run(revision(empty_database)) == "0001"


async def test_healthz_needs_no_database(visitor, use_database, tmp_path) -> None:
    use_database(database_url=f"postgresql+asyncpg:///x?host={tmp_path}")
    for method in ("GET", "HEAD"):
        answer = await visitor.request(method, "/healthz")
        assert answer.status_code == 200
    assert (await visitor.get("/healthz")).json() == {"status": "ok", "release": "dev"}


async def test_ready(visitor) -> None:
    answer = await visitor.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "release": "dev",
        "head": "0002",
        "database": "ok",
        "revision": "0002",
        "schema": "head",
    }
    assert (await visitor.head("/readyz")).status_code == 200


@pytest.mark.parametrize(
    ("found", "status", "state"),
    [("0001", 503, "behind"), (None, 503, "behind"), ("0003", 200, "newer")],
)
async def test_ready_follows_the_schema(visitor, app, found, status: int, state: str) -> None:
    """A newer schema is no reason to stop: the old release serves on it until the switch."""
    async with app.state.engine.begin() as connection:
        await connection.execute(text("delete from alembic_version"))
        if found:
            await connection.execute(text(f"insert into alembic_version values ('{found}')"))
    try:
        answer = await visitor.get("/readyz")
        assert answer.status_code == status
        assert (answer.json()["schema"], answer.json()["revision"]) == (state, found)
    finally:
        async with app.state.engine.begin() as connection:
            await connection.execute(text("delete from alembic_version"))
            await connection.execute(text("insert into alembic_version values ('0002')"))


async def test_not_ready_on_an_empty_database(visitor, databases, use_database) -> None:
    use_database(database_url=await asyncio.to_thread(databases.create))
    answer = await visitor.get("/readyz")
    assert (answer.status_code, answer.json()["schema"]) == (503, "behind")


async def test_not_ready_without_a_database(visitor, use_database, tmp_path) -> None:
    use_database(database_url=f"postgresql+asyncpg:///x?host={tmp_path}")
    answer = await visitor.get("/readyz")
    assert (answer.status_code, answer.json()["database"]) == (503, "no answer")


async def test_not_ready_when_the_database_hangs(visitor, use_database, tmp_path) -> None:
    connections = []

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)

    server = await asyncio.start_unix_server(say_nothing, tmp_path / ".s.PGSQL.5432")
    use_database(database_url=f"postgresql+asyncpg://x@/x?host={tmp_path}")
    clock = asyncio.get_running_loop().time
    started = clock()
    answer = await visitor.get("/readyz")
    assert (answer.status_code, answer.json()["database"]) == (503, "no answer")
    assert 1.9 < clock() - started < 4
    assert connections
    for writer in connections:
        writer.close()
    server.close()
    await server.wait_closed()
