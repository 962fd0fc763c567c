"""Alembic, set up in code: the migrations are part of the package, and there is no ini file."""

from functools import lru_cache
from typing import NamedTuple

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from linkboard.config import Settings


def make_config(settings: Settings) -> Config:
    """Point Alembic at our migrations and our database."""
    config = Config()
    config.set_main_option("script_location", "linkboard:migrations")
    config.attributes["settings"] = settings
    return config


def upgrade(settings: Settings, revision: str = "head") -> None:
    """Bring the schema to a revision. Runs its own event loop, so not inside another one."""
    command.upgrade(make_config(settings), revision)


@lru_cache
def revisions() -> tuple[str, ...]:
    """List every revision that this release knows, newest first."""
    script = ScriptDirectory.from_config(make_config(Settings.model_construct()))
    return tuple(revision.revision for revision in script.walk_revisions())


class Schema(NamedTuple):
    """What the database has, and whether this release can work with it."""

    revision: str | None
    state: str  # head, behind, newer

    @property
    def is_usable(self) -> bool:
        """Whether this release can serve on this schema.

        A newer one will do, because migrations are backward compatible: the release that is being
        replaced has to serve on it until the switch, and so has one that is rolled back to.
        """
        return self.state != "behind"


async def read_schema(engine: AsyncEngine) -> Schema:
    """Compare the revision in the database with this release's head."""

    async def read(connection: AsyncConnection) -> str | None:
        if not await connection.run_sync(lambda sync: inspect(sync).has_table("alembic_version")):
            return None
        return await connection.scalar(text("select version_num from alembic_version"))

    async with engine.connect() as connection:
        revision = await read(connection)
    if revision == revisions()[0]:
        return Schema(revision, "head")
    return Schema(revision, "behind" if revision is None or revision in revisions() else "newer")
