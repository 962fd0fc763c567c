"""The process beside the web server: fetches the titles that a restart or a crash cut short.

Two of them may run for a moment. They lock no rows, since that would take a connection for as long
as a page takes: both fetch the page, which is harmless, because `Fetcher.fill` never touches a link
that is done.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel import col, select

from linkboard.config import Settings
from linkboard.db import open_session
from linkboard.fetcher import Fetcher
from linkboard.models import Link, now

logger = logging.getLogger(__name__)


async def find_overdue(settings: Settings, engine: AsyncEngine) -> Sequence[Link]:
    """Find the links that have waited too long for a title, oldest first."""
    # Until then the web server's own fetch may be under way.
    grace = timedelta(seconds=2 * settings.fetch_timeout)
    query = select(Link).where(Link.state == "pending", Link.created_at < now() - grace)
    # No more than are fetched at the same time: a stop then waits for one fetch, not for a queue.
    query = query.order_by(col(Link.id)).limit(settings.fetch_concurrency)
    async with open_session(engine) as db:
        return (await db.exec(query)).all()


async def work(settings: Settings, engine: AsyncEngine, every: float) -> None:
    """Look for such links until SIGTERM or SIGINT, which lets the fetches under way finish."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    fetcher = Fetcher(settings, engine)
    logger.info("worker started")
    while not stop.is_set():
        try:
            links = await find_overdue(settings, engine)
            async with asyncio.TaskGroup() as group:
                for link in links:
                    group.create_task(fetcher.fill(link.id, link.url))
            if links:
                logger.info("fetched", extra={"fields": {"links": len(links)}})
        except* (OSError, SQLAlchemyError) as away:
            error = repr(away.exceptions[0])
            logger.error("database away", extra={"fields": {"error": error}})
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), every)
    logger.info("worker stopped")
