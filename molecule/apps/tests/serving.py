"""More applications: what serves them, what they are told, and where they keep what they know."""

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml
from shapes import BARE, FASTAPI, STARLETTE, UV_LOCK, Shape, project

DOCS = Path(__file__).parents[3] / "docs"


def documented(page: str) -> dict[str, Any]:
    """The settings that a page of the documentation shows, but for whose application it is."""
    shown = yaml.safe_load((DOCS / page).read_text().partition("```yaml\n")[2].partition("```")[0])
    return {name: shown[name] for name in shown.keys() - {"app_name", "app_domain", "app_source"}}


SERVERS = (
    Shape(
        "factory",
        {
            "pyproject.toml": project("web", "starlette"),
            "web/__init__.py": STARLETTE.replace(
                'app = Starlette(routes=[Route("/", index)])',
                'def create():\n    return Starlette(routes=[Route("/", index)])',
            ),
        },
        UV_LOCK,
        {"app_asgi": "web:create()"},
    ),
    Shape(
        "litestar",
        {
            "pyproject.toml": project("web", "litestar"),
            "web.py": "from litestar import Litestar, get\n\n\n"
            '@get("/", media_type="text/plain")\nasync def index() -> str:\n'
            '    return "hello 1"\n\n\napp = Litestar([index])\n',
        },
        UV_LOCK,
        documented("starlette-and-litestar.md"),
    ),
    Shape(
        "granian",
        {"pyproject.toml": project("web", "fastapi", "granian"), "web.py": FASTAPI},
        UV_LOCK,
        {"app_asgi": "web:app", "app_server": "granian"},
    ),
    Shape(
        "hypercorn",
        {"pyproject.toml": project("web", "starlette", "hypercorn"), "web.py": STARLETTE},
        UV_LOCK,
        {"app_asgi": "web:app", "app_server": "hypercorn"},
    ),
    Shape(
        "gunicorn",
        {
            "pyproject.toml": project("web", "starlette", "gunicorn", "uvicorn-worker"),
            "web.py": STARLETTE,
        },
        UV_LOCK,
        {
            "app_asgi": "web:app",
            "app_server": "command",
            "app_server_command": "gunicorn -k uvicorn_worker.UvicornWorker web:app",
        },
    ),
    Shape(
        "flask",
        {
            "pyproject.toml": project("web", "flask", "gunicorn"),
            "web.py": 'from flask import Flask\n\napp = Flask(__name__)\n\n\n@app.get("/")\n'
            'def index():\n    return "hello 1"\n',
        },
        UV_LOCK,
        {
            "app_asgi": "web:app",
            "app_server": "command",
            "app_server_command": "gunicorn web:app",
        },
    ),
    Shape(
        "port",
        {
            "pyproject.toml": project("web", "aiohttp"),
            "web.py": "import os\n\nfrom aiohttp import web\n\n\nasync def index(request):\n"
            '    return web.Response(text="hello 1")\n\n\napp = web.Application()\n'
            'app.router.add_get("/", index)\n'
            'web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]))\n',
        },
        UV_LOCK,
        {
            "app_asgi": "web:app",
            "app_server": "command",
            "app_server_command": "PORT=$PORT python web.py",
        },
    ),
    Shape(
        "no-page-at-its-root",
        {
            "pyproject.toml": project("web"),
            "web.py": BARE.replace('"status": 200', '"status": 403'),
        },
        UV_LOCK,
        {"app_asgi": "web:app", "app_health_status": ["403"]},
    ),
)


def odd(path: Path) -> None:
    """Names and files as other systems make them."""
    (path / "page of words.txt").write_bytes(b"caf\xc3\xa9\r\n")
    (path / "words").mkdir()
    (path / "words/\u00fcber.txt").write_text("over")
    (path / "linked").symlink_to("words")
    (path / "run.sh").write_text("#!/bin/sh\necho run\n")
    (path / "run.sh").chmod(0o755)


ODD = """
import pathlib
import subprocess

HERE = pathlib.Path(__file__).parent
PAGES = {
    "/words": lambda: (HERE / "page of words.txt").read_bytes().decode(),
    "/linked": lambda: (HERE / "linked/\u00fcber.txt").read_text(),
    "/run": lambda: subprocess.run([HERE / "run.sh"], capture_output=True, text=True).stdout,
}
"""


def submodule(path: Path) -> None:
    """A library of another repository, which a submodule brings."""
    other = path.parent / f"{path.name}-words"
    other.mkdir()
    (other / "words.py").write_text('HELLO = "from a submodule"\n')
    git = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org"]
    local = ["-c", "protocol.file.allow=always"]
    for where, command in (
        (other, ["init", "--quiet"]),
        (other, ["add", "--all"]),
        (other, ["commit", "--quiet", "--message=First"]),
        (path, [*local, "submodule", "--quiet", "add", str(other), "words"]),
    ):
        subprocess.run([*git, *command], cwd=where, check=True, env=os.environ)


APPLICATIONS = Path(__file__).parents[1] / "applications"
DATABASE = {"app_database_connections": 5}


def application(name: str, *dependencies: str) -> dict[str, str]:
    """The files of an application that is kept beside the tests."""
    top = APPLICATIONS / name
    files = [path for path in top.rglob("*.*") if path.is_file() and path.suffix != ".pyc"]
    found = {str(path.relative_to(top)): path.read_text() for path in files}
    return {"pyproject.toml": project(name, *dependencies), **found}


VALUES = (
    Shape(
        "odd-names",
        {"pyproject.toml": project("web"), "web.py": ODD + BARE},
        UV_LOCK,
        {"app_asgi": "web:app"},
        {"/words": "caf\u00e9\r\n", "/linked": "over", "/run": "run\n"},
        prepare=odd,
    ),
    Shape(
        "submodule",
        {
            "pyproject.toml": project("web"),
            "web.py": 'from words.words import HELLO\n\nPAGES = {"/words": lambda: HELLO}\n' + BARE,
        },
        UV_LOCK,
        {"app_asgi": "web:app"},
        {"/words": "from a submodule"},
        prepare=submodule,
    ),
    Shape(
        "pydantic-settings",
        application("settings", "fastapi", "pydantic-settings"),
        UV_LOCK,
        {
            "app_asgi": "web:app",
            "app_environment": {
                "SHOP_PAGE_SIZE": 20,
                "SHOP_DEBUG": False,
                "SHOP_ORIGINS": ["https://example.org"],
                "SHOP_BANNER": "two\nlines, a 'quote' and $HOME",
            },
            "app_secrets": {"SHOP_SECRET": 'a"b\\c %d'},
        },
        {
            "/settings": '{"page_size":20,"debug":false,"origins":["https://example.org"],'
            '"secret":"a\\"b\\\\c %d","banner":"two\\nlines, a \'quote\' and $HOME"}'
        },
    ),
    Shape(
        "sqlalchemy-alembic",
        application("alembic", "alembic", "asyncpg", "fastapi", "sqlalchemy[asyncio]"),
        UV_LOCK,
        {"app_asgi": "web:app", "app_migrate_command": "alembic upgrade head", **DATABASE},
        {"/word": "kept"},
    ),
    Shape(
        "django",
        application("django", "django", "psycopg[binary]"),
        UV_LOCK,
        {
            **documented("django.md"),
            "vault_secret_key": "not a secret",
        },
        {
            "/healthz": "0 users, over https: True",
            "/static/admin/css/base.css": "DJANGO Admin styles",
            "/": " /static/admin/css/base.",
        },
    ),
)
