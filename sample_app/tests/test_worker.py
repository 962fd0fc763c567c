"""The worker as a process of its own, on a real database and a real page server."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
import pytest_asyncio
from linkboard.db import open_session
from linkboard.models import Link, now


async def wait_for(process: asyncio.subprocess.Process, message: str) -> dict:
    """Read its log, which is nothing but JSON lines, up to this message."""
    async with asyncio.timeout(60):
        async for line in process.stderr:
            entry = json.loads(line)
            assert "exception" not in entry
            if entry["message"] == message:
                return entry
    pytest.fail(f"the worker ended without saying: {message}")


@pytest_asyncio.fixture
async def start(environment: dict) -> AsyncIterator[Callable]:
    """Give a function that starts a worker and waits until it works; none outlives the test."""
    started = []

    async def start(every: float = 0.1, **settings: str) -> asyncio.subprocess.Process:
        settings = {f"LINKBOARD_{key.upper()}": value for key, value in settings.items()}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from linkboard.cli import main; main()"),
            *("worker", "--every", str(every)),
            stderr=asyncio.subprocess.PIPE,
            env=environment | {"LINKBOARD_FETCH_ALLOW_NETWORKS": "127.0.0.0/8"} | settings,
        )
        started.append(process)
        await wait_for(process, "worker started")
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest_asyncio.fixture
async def add(add_user: Callable, db) -> Callable:
    """Give a function that adds a pending link of this age; returns its id."""
    user = await add_user("ada")

    async def add(url: str, age: float = 60) -> int:
        link = Link(user_id=user.id, url=url, created_at=now() - timedelta(seconds=age))
        db.add(link)
        await db.commit()
        return link.id

    return add


@pytest.fixture
def title(app) -> Callable:
    """Give a function that reads the state and the title of a link."""

    async def title(link_id: int) -> tuple[str, str | None]:
        async with open_session(app.state.engine) as session:
            link = await session.get(Link, link_id)
            return link.state, link.title

    return title


async def test_overdue_titles_are_fetched_and_fresh_ones_left_alone(
    start, add, title, pages
) -> None:
    overdue = await add(pages.add("/overdue", "<title>Overdue</title>"), age=21)
    fresh = await add(pages.add("/fresh", "<title>Fresh</title>"), age=5)
    worker = await start()
    assert (await wait_for(worker, "fetched"))["links"] == 1
    await asyncio.sleep(0.5)  # some more looks
    assert await title(overdue) == ("done", "Overdue")
    assert await title(fresh) == ("pending", None)
    assert [path for path, _ in pages.seen] == ["/overdue"]


async def test_links_that_come_later_are_found(start, add, title, pages) -> None:
    worker = await start()
    link = await add(pages.add("/later", "<title>Later</title>"))
    await wait_for(worker, "fetched")
    assert await title(link) == ("done", "Later")
    missing = await add(pages.url("/missing"))
    await wait_for(worker, "fetched")
    assert await title(missing) == ("failed", None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_worker_ends_at_once(start, number: int) -> None:
    worker = await start(every=60)
    await asyncio.sleep(0.3)  # it has looked, and waits for the next minute
    worker.send_signal(number)
    async with asyncio.timeout(20):
        await wait_for(worker, "worker stopped")
        assert await worker.wait() == 0


async def test_a_stop_lets_the_fetch_under_way_finish_and_begins_no_other(
    start, add, title, pages
) -> None:
    slow = await add(pages.add("/slow", "<title>Slow</title>", delay=1))
    other = await add(pages.add("/other", "<title>Other</title>"))
    worker = await start(fetch_concurrency="1")
    await asyncio.to_thread(pages.wait_for_request)
    worker.terminate()
    async with asyncio.timeout(20):
        assert await worker.wait() == 0
    assert await title(slow) == ("done", "Slow")
    assert await title(other) == ("pending", None)


async def test_a_stop_waits_no_longer_than_a_fetch_may_take(start, add, title, pages) -> None:
    endless = await add(pages.add("/endless", "<title>x</title>", delay=9))
    worker = await start(fetch_timeout="1")
    await asyncio.to_thread(pages.wait_for_request)
    worker.terminate()
    async with asyncio.timeout(8):
        assert await worker.wait() == 0
    assert await title(endless) == ("failed", None)


async def test_the_worker_outlives_a_restart_of_the_database(
    start, add, title, pages, databases
) -> None:
    page = pages.add("/", "<title>Back</title>", delay=1)
    link = await add(page)
    worker = await start()
    await asyncio.to_thread(pages.wait_for_request)
    await asyncio.to_thread(databases.pg_ctl, "-m", "fast", "stop")
    try:  # the title is there, the database is not; then there is nothing to be read from either
        for _ in range(3):
            assert (await wait_for(worker, "database away"))["level"] == "error"
    finally:
        await asyncio.to_thread(databases.pg_ctl, "start")
    await wait_for(worker, "fetched")
    assert await title(link) == ("done", "Back")
    worker.terminate()
    assert await worker.wait() == 0


async def test_the_worker_waits_for_its_tables(start, databases) -> None:
    worker = await start(database_url=await asyncio.to_thread(databases.create))
    for _ in range(2):
        assert "does not exist" in (await wait_for(worker, "database away"))["error"]
    worker.terminate()
    assert await worker.wait() == 0


async def test_two_workers_at_once_do_no_harm(start, add, title, pages) -> None:
    workers = [await start(), await start()]
    link = await add(pages.add("/", "<title>Same</title>", delay=1))
    for worker in workers:
        await wait_for(worker, "fetched")
        worker.terminate()
        assert await worker.wait() == 0
    assert len(pages.seen) == 2
    assert await title(link) == ("done", "Same")
