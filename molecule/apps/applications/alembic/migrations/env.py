import asyncio

from alembic import context
from sqlalchemy.ext.asyncio import create_async_engine


def migrate(connection):
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()


async def main():
    engine = create_async_engine("postgresql+asyncpg://")
    async with engine.begin() as connection:
        await connection.run_sync(migrate)


asyncio.run(main())
