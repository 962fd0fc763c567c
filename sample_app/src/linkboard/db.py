"""The engine and the session of one request."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from linkboard.config import Settings


def make_engine(settings: Settings) -> AsyncEngine:
    """Open no connection yet. The pool of one process never holds more than `pool_size` of them."""
    return create_async_engine(
        settings.database_url,
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,  # a restarted PostgreSQL costs a ping, not a failed request
        connect_args={
            "timeout": 5,
            "command_timeout": 15,
            "server_settings": {"application_name": "linkboard"},
        },
    )


def open_session(engine: AsyncEngine) -> AsyncSession:
    """Open a session whose objects stay readable after a commit."""
    return AsyncSession(engine, expire_on_commit=False)


async def get_db(request: Request) -> AsyncIterator[AsyncSession]:
    """Give a route its session."""
    async with open_session(request.app.state.engine) as session:
        yield session


# With the default scope the session would close after the background tasks: one pooled connection
# would be held for each title that is being fetched.
Db = Annotated[AsyncSession, Depends(get_db, scope="function")]
