"""Static files as Starlette serves them, in the slot's place: same Uvicorn, workers and sandbox."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles


def ready(_: Request) -> PlainTextResponse:
    """Answer the gate, at linkboard's own path."""
    return PlainTextResponse("ready")


app = Starlette(
    routes=[
        Mount("/static", StaticFiles(directory="/srv/linkboard/assets")),
        Route("/{path:path}", ready),
    ]
)
