"""The application: `uvicorn linkboard.main:app`."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from linkboard import assets, log
from linkboard.config import Settings, get_settings
from linkboard.db import make_engine
from linkboard.fetcher import Fetcher
from linkboard.migrate import revisions
from linkboard.routes import render, router
from linkboard.security import Guard, Passwords, SignInNeeded, Throttle

logger = logging.getLogger(__name__)


class Linkboard(FastAPI):
    """FastAPI with our two layers around all of it.

    Layers added the usual way lie inside the one that answers 500, which would lack their headers.
    """

    def build_middleware_stack(self) -> ASGIApp:
        """Build the layers, from the outside in."""
        return log.RequestLog(Guard(super().build_middleware_stack(), self.state.settings.release))


@asynccontextmanager
async def lifespan(app: Linkboard) -> AsyncIterator[None]:
    """Hold the pool while the application runs. It starts without a database: /readyz tells."""
    settings: Settings = app.state.settings
    app.state.engine = make_engine(settings)
    app.state.fetcher = Fetcher(settings, app.state.engine)
    app.state.passwords = Passwords(settings)
    app.state.throttle = Throttle()
    revisions()  # reads the migrations' files now, not while a probe waits
    yield
    await app.state.engine.dispose()


async def sign_in_needed(request: Request, _: Exception) -> Response:
    """Lead to the sign-in page, also from a piece of a page."""
    if "HX-Request" in request.headers:
        return Response(status_code=401, headers={"HX-Redirect": "/login"})
    return RedirectResponse("/login", HTTPStatus.SEE_OTHER)


async def failed(request: Request, error: Exception) -> Response:
    """Show an error as a page."""
    status = error.status_code if isinstance(error, HTTPException) else 400
    headers = error.headers if isinstance(error, HTTPException) else None
    response = render(
        request, "error.html", status, status=status, phrase=HTTPStatus(status).phrase
    )
    response.headers.update(headers or {})
    return response


async def database_away(request: Request, error: Exception) -> Response:
    """Answer 503 while the database restarts or moves: browsers and proxies may try again."""
    logger.error("database away", extra={"fields": {"error": repr(error)}})
    return await failed(request, HTTPException(503, headers={"Retry-After": "5"}))


def create_app(settings: Settings | None = None) -> Linkboard:
    """Build the application."""
    settings = settings or get_settings()
    log.configure(settings.log_level, settings.release)
    assets.load()  # a release without its assets must not start
    app = Linkboard(
        title="linkboard",
        lifespan=lifespan,
        max_body_size=64 * 1024,
        # The documentation pages would load their scripts from other hosts.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.state.settings = settings
    app.include_router(router)
    app.add_exception_handler(SignInNeeded, sign_in_needed)
    app.add_exception_handler(HTTPException, failed)
    app.add_exception_handler(RequestValidationError, failed)
    for kind in (OperationalError, InterfaceError, PoolTimeoutError, OSError):
        app.add_exception_handler(kind, database_away)
    return app


app = create_app()
