"""Bring the database to this release's schema: `python migrate.py`."""

import asyncio
import os

import asyncpg

SCHEMA = 1
ROWS = """create table if not exists probe_rows (
    number bigint primary key, at timestamptz not null default clock_timestamp())"""


async def main() -> None:
    database = os.environ.get("PROBE_DATABASE")
    if not database:
        return
    connection = await asyncpg.connect(database=database)
    async with connection.transaction():
        await connection.execute("create table if not exists probe_schema (version int not null)")
        await connection.execute(ROWS)
        before = await connection.fetchval("select max(version) from probe_schema")
        if before is None or before < SCHEMA:
            await connection.execute("insert into probe_schema values ($1)", SCHEMA)
    print(f"schema {before} -> {max(before or 0, SCHEMA)}")
    await connection.close()


asyncio.run(main())
