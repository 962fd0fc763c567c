"""Static files as Starlette serves them, in the slot's place: same Uvicorn, workers and sandbox."""

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

app = Starlette(routes=[Mount("/static", StaticFiles(directory="/srv/linkboard/assets"))])
