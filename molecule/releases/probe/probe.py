"""What the load asks: the least application that has every kind of answer."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse, StreamingResponse

RELEASE = os.environ.get("PERGOLA_RELEASE", "dev")
DATABASE = os.environ.get("PROBE_DATABASE", "")
NAMED = {"X-Release": RELEASE}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold a small pool while the application runs."""
    app.state.pool = None
    if DATABASE:
        app.state.pool = await asyncpg.create_pool(database=DATABASE, min_size=1, max_size=5)
    yield
    if app.state.pool:
        await app.state.pool.close()


app = FastAPI(lifespan=lifespan, openapi_url=None)


@app.middleware("http")
async def name_the_release(request: Request, call_next) -> Response:  # noqa: ANN001
    response = await call_next(request)
    response.headers.update(NAMED)
    return response


@app.get("/")
async def short() -> Response:
    return PlainTextResponse("probe")


@app.get("/db")
async def database(request: Request) -> Response:
    pool = request.app.state.pool
    return PlainTextResponse(str(await pool.fetchval("select 42") if pool else 42))


@app.post("/rows/{number}")
async def row(number: int, request: Request) -> Response:
    """Keep a number; an answer is the promise that it is kept."""
    await request.app.state.pool.execute("insert into probe_rows (number) values ($1)", number)
    return PlainTextResponse("kept")


@app.post("/echo")
async def echo(request: Request) -> Response:
    return Response(await request.body())


@app.get("/stream")
async def stream() -> Response:
    """Three seconds of chunks; the last one says END."""

    async def chunks() -> AsyncIterator[str]:
        for number in range(12):
            yield f"{number}\n"
            await asyncio.sleep(0.25)
        yield "END\n"

    return StreamingResponse(chunks(), media_type="text/plain")


@app.get("/sse")
async def events() -> Response:
    """Events without end."""

    async def messages() -> AsyncIterator[str]:
        while True:
            yield "data: tick\n\n"
            await asyncio.sleep(0.5)

    return StreamingResponse(messages(), media_type="text/event-stream")


@app.websocket("/ws")
async def websocket(socket: WebSocket) -> None:
    await socket.accept(headers=[(b"x-release", RELEASE.encode())])
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        pass


@app.get("/fail")
async def fail(status: int = 500) -> Response:
    return PlainTextResponse("failed as asked", status)


@app.get("/env")
async def setting(name: str) -> Response:
    """The value of one of our own settings."""
    return PlainTextResponse(os.environ.get(f"PROBE_{name}", ""))


@app.get("/readyz")
async def ready() -> dict[str, str]:
    return {"status": "ready", "release": RELEASE}
