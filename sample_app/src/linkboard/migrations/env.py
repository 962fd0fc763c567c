"""What Alembic runs: one upgrade at a time, and none that makes live traffic wait for long."""

import asyncio

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlmodel import SQLModel

import linkboard.models  # noqa: F401 - fills the metadata

ADVISORY_LOCK = 5_465_425_163  # any number, the same in every release


def run(connection: Connection) -> None:
    """Run the migrations on an open connection."""
    context.configure(connection=connection, target_metadata=SQLModel.metadata, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


async def online() -> None:
    """Wait for our turn, then migrate."""
    settings = context.config.attributes["settings"]
    engine = create_async_engine(settings.database_url, poolclass=NullPool)
    async with engine.connect() as connection:
        # Another deploy may be migrating: wait a minute for it. Then wait for no table for long,
        # because everyone who wants that table after us waits in line behind us.
        await connection.execute(text("set lock_timeout = '60s'"))
        await connection.execute(text("select pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
        milliseconds = int(settings.migration_lock_timeout * 1000)
        await connection.execute(text(f"set lock_timeout = {milliseconds}"))
        await (
            connection.commit()
        )  # else the migrations below would be part of a transaction nobody ends
        await connection.run_sync(run)
        await connection.commit()
    await engine.dispose()


if context.is_offline_mode():
    context.configure(
        dialect_name="postgresql", target_metadata=SQLModel.metadata, literal_binds=True
    )
    with context.begin_transaction():
        context.run_migrations()
else:
    asyncio.run(online())
