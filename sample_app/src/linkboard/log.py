"""JSON lines on standard error, each with the id of its request; uvicorn's own lines too."""

import json
import logging
import re
import secrets
import sys
import time
from contextvars import ContextVar
from datetime import UTC, datetime

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
logger = logging.getLogger("linkboard.request")

ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")  # what we take over from a proxy, and may log
PROBES = {"/healthz", "/readyz"}


class JsonFormatter(logging.Formatter):
    """One line for each record: nothing in a message can break out of it."""

    def __init__(self, release: str) -> None:
        super().__init__()
        self.release = release

    def format(self, record: logging.LogRecord) -> str:
        """Build the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "release": self.release,
        }
        if current := request_id.get():
            line["request_id"] = current
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(level: str, release: str) -> None:
    """Send every logger of this process through one handler. Safe to call again.

    Uvicorn sets up its loggers before it imports the app, so this call comes after it and wins.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(release))
    root = logging.getLogger()
    root.handlers = [h for h in root.handlers if not isinstance(h.formatter, JsonFormatter)]
    root.addHandler(handler)
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = name != "uvicorn.access"  # RequestLog writes that line
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log every address it fetches


class RequestLog:
    """The outermost layer: gives every request an id and writes one line about it.

    Pure ASGI, because BaseHTTPMiddleware would copy every body and lose context variables.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        current = given if ACCEPTED_ID.fullmatch(given) else secrets.token_hex(8)
        token = request_id.set(current)
        status, started = 0, time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = current
                self.write_line(scope, status, time.perf_counter() - started)
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            # With an answer on its way there is nothing left to tell the server, which would only
            # write the same traceback again, without the request's id.
            logger.exception("unhandled error", extra={"fields": {"path": scope["path"]}})
            if not status:
                raise
        finally:
            request_id.reset(token)

    @staticmethod
    def write_line(scope: Scope, status: int, seconds: float) -> None:
        """Write who asked for what. No query string: what people search for is theirs."""
        quiet = scope["path"] in PROBES and status == 200
        fields = {
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "ms": round(seconds * 1000, 1),
            "client": (scope.get("client") or (None,))[0],
        }
        level = logging.DEBUG if quiet else logging.INFO
        logger.log(
            level, "%s %s %s", fields["method"], fields["path"], status, extra={"fields": fields}
        )
