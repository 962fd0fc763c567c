"""What `make try` guesses of applications of many shapes: the whole file of settings."""

import re
import shutil
import subprocess
from dataclasses import dataclass

import pytest
import yaml
from desk import Desk, answers, git
from pergola_control.guess import trial
from pergola_control.guess.repository import opened
from pergola_control.guess.seen import Seen
from pergola_control.guess.start import Start
from pergola_control.guess.whole import guess
from pergola_control.guess.written import report, settings_file
from pergola_control.here import ROOT
from pergola_control.refusal import RefusalError

HASHED = f" \\\n    --hash=sha256:{'0' * 64}\n"


@dataclass(frozen=True)
class Shape:
    """`expected`: the settings between those of the source and those of the server."""

    name: str
    files: dict
    expected: str
    has_database: bool = False
    says: tuple = ()
    # Needed, and said nowhere: a run is refused until they are filled in.
    to_fill_in: tuple = ()
    # Whether a lock of this form can be written by hand.
    is_locked: bool = True
    first: str = ""


UV = {"uv.lock": "version = 1\nrequires-python = '>=3.12'\n"}
FASTAPI = Shape(
    "FastAPI with Alembic and pydantic-settings, a package in src",
    {
        **UV,
        "pyproject.toml": '[project]\nname = "Book_Shop"\nversion = "1"\ndependencies = [\n'
        '  "fastapi",\n  "sqlalchemy[asyncio]",\n  "asyncpg",\n  "alembic",\n]\n'
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n',
        "alembic.ini": "[alembic]\nscript_location = migrations\n",
        "migrations/env.py": "import os\nURL = os.environ['NOT_THE_APPLICATIONS']\n",
        "src/book_shop/__init__.py": "",
        "src/book_shop/main.py": "from pathlib import Path\n\nfrom fastapi import FastAPI\n"
        "from fastapi.staticfiles import StaticFiles\n\nfrom book_shop.api import health\n\n"
        "HERE = Path(__file__).resolve().parent\n\n\ndef create_app():\n"
        '    app = FastAPI()\n    app.include_router(health.router, prefix="/api")\n'
        '    app.mount("/static", StaticFiles(directory=HERE / "static"))\n    return app\n\n\n'
        "app = create_app()\n",
        "src/book_shop/static/site.css": "",
        "src/book_shop/api/__init__.py": "",
        "src/book_shop/api/health.py": "from fastapi import APIRouter\n\n"
        'router = APIRouter(prefix="/v1")\n\n\n@router.get("/healthz")\ndef healthz():\n'
        '    return "ok"\n\n\n@router.get("/items/{item}")\ndef item(item):\n    return item\n',
        "src/book_shop/config.py": "from pydantic import Field, SecretStr\n"
        "from pydantic_settings import BaseSettings, SettingsConfigDict\n\n\n"
        'class Base(BaseSettings):\n    model_config = SettingsConfigDict(env_prefix="SHOP_")\n\n\n'
        "class Settings(Base):\n"
        "    # All that it is told.\n\n"
        '    database_url: str = "postgresql+asyncpg://localhost/shop"\n    page_size: int\n'
        "    from_address: str\n    session_key: SecretStr\n    debug: bool = False\n"
        '    sentry: str = Field(validation_alias="SENTRY_DSN")\n',
        ".env.example": "SHOP_FROM_ADDRESS='shop@example.org' # who it says it is\n"
        "SENTRY_DSN=<yours>\n",
        "tests/test_it.py": "import os\nfrom fastapi import FastAPI\n"
        "os.environ['ONLY_IN_TESTS']\napp = FastAPI()\n",
    },
    """\
# FastAPI: src/book_shop/main.py:18
app_asgi: book_shop.main:app

# a path named for it: src/book_shop/api/health.py:6
app_health_path: /api/v1/healthz

# its migrations: alembic.ini
app_migrate_command: "alembic upgrade head"

# static files of the application: src/book_shop/main.py:14
app_static_url: /static

# where they are: src/book_shop/main.py:14
app_static_dir: src/book_shop/static

app_environment:
  # the database: src/book_shop/config.py:12
  SHOP_DATABASE_URL: "postgresql+asyncpg:///{{ app_database.name }}?host={{ app_database.host }}"
  # needed: src/book_shop/config.py:13
  SHOP_PAGE_SIZE: "CHANGE-ME"
  # a value of .env.example:1: src/book_shop/config.py:14
  SHOP_FROM_ADDRESS: "shop@example.org"
  # needed: src/book_shop/config.py:17
  SENTRY_DSN: "CHANGE-ME"

# Their values belong into vault.yml beside this file.
app_secrets:
  # a secret: src/book_shop/config.py:15
  SHOP_SESSION_KEY: "{{ vault_shop_session_key }}"
""",
    has_database=True,
    to_fill_in=("SHOP_PAGE_SIZE", "SENTRY_DSN"),
    says=("not set, as it does without: SHOP_DEBUG",),
    first="# the project: pyproject.toml:2\napp_name: book-shop\n",
)
FLAT = Shape(
    "a list with hashes, and main.py",
    {
        "requirements.in": "fastapi\n",
        "requirements.txt": f"fastapi==1.0{HASHED}uvicorn==1.0{HASHED}",
        "main.py": "import os\n\nimport fastapi\n\napp = fastapi.FastAPI()\n"
        'KEY = os.environ["SECRET_KEY"]\nLEVEL = os.getenv("LOG_LEVEL", "info")\n',
    },
    """\
# FastAPI: main.py:5
app_asgi: main:app

# no path is named for it: main.py:5
app_health_path: /openapi.json

# Their values belong into vault.yml beside this file.
app_secrets:
  # a secret: main.py:6
  SECRET_KEY: "{{ vault_secret_key }}"
""",
    says=("app_health_path is /openapi.json, which says only that it runs",),
)
DJANGO = Shape(
    "Django with psycopg, its static files in a directory of its own",
    {
        **UV,
        "pyproject.toml": '[project]\nname = "shop"\n'
        'dependencies = ["django", "psycopg[binary]"]\n',
        "manage.py": "import os\n\n"
        "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site1.settings')\n",
        "site1/__init__.py": "",
        "site1/settings.py": "from pathlib import Path\n\nfrom environs import Env\n\nenv = Env()\n"
        "env.read_env()\nBASE_DIR = Path(__file__).resolve().parent.parent\n"
        'SECRET_KEY = env("SECRET_KEY")\nDEBUG = env.bool("DEBUG", False)\n'
        'ALLOWED_HOSTS = env.list("ALLOWED_HOSTS")\n'
        'DATABASES = {"default": env.dj_db_url("DATABASE_URL")}\n'
        'STATIC_URL = "static/"\nSTATIC_ROOT = BASE_DIR / "collected"\n',
        "site1/asgi.py": "from django.core.asgi import get_asgi_application\n\n"
        "application = get_asgi_application()\n",
        "site1/wsgi.py": "from django.core.wsgi import get_wsgi_application\n\n"
        "application = get_wsgi_application()\n",
        "site1/urls.py": "from django.urls import include, path\n\n"
        'urlpatterns = [path("", None), path("shop/", include("items.urls"))]\n',
        "items/__init__.py": "",
        "items/urls.py": "from django.urls import path\n\n"
        'urlpatterns = [path("<int:item>/", None), path("status/", None)]\n',
    },
    """\
# Django: site1/asgi.py:3
app_asgi: site1.asgi:application

# a path named for it: items/urls.py:3
app_health_path: /shop/status/

# its migrations: manage.py
app_migrate_command: "python manage.py migrate --no-input"

# the schema's revision: manage.py
app_schema_query: "select max(id)::text from django_migrations"

# Django's static files: site1/settings.py:13
app_static_url: /static

# they are collected: site1/settings.py:13
app_static_command: "SECRET_KEY=- python manage.py collectstatic --no-input && \
cp -R collected/. \\"$PERGOLA_ASSETS\\""

app_environment:
  # the site's name: site1/settings.py:10
  ALLOWED_HOSTS: "{{ app_domain }}"
  # the database: site1/settings.py:11
  DATABASE_URL: "{{ app_database.url }}"

# Their values belong into vault.yml beside this file.
app_secrets:
  # a secret: site1/settings.py:8
  SECRET_KEY: "{{ vault_secret_key }}"
""",
    has_database=True,
    first="# the project: pyproject.toml:2\napp_name: shop\n",
)
LITESTAR = Shape(
    "Litestar, a function that makes it",
    {
        **UV,
        "pyproject.toml": '[project]\nname = "notes"\ndependencies = ["litestar"]\n',
        "notes.py": "from litestar import Litestar, get\n"
        "from litestar.static_files import create_static_files_router\n\n\n"
        '@get()\nasync def index() -> str:\n    return "here"\n\n\n'
        "def create() -> Litestar:\n"
        '    files = create_static_files_router(path="/assets", directories=["assets"])\n'
        "    return Litestar([index, files])\n",
        "assets/site.css": "",
    },
    """\
# Litestar: notes.py:10
app_asgi: notes:create()

# no path is named for it: notes.py:5
app_health_path: /

# static files of the application: notes.py:11
app_static_url: /assets

# where they are: notes.py:11
app_static_dir: assets
""",
    says=("app_health_path is the front page (notes.py:5)",),
    first="# the project: pyproject.toml:2\napp_name: notes\n",
)
MONOREPO = Shape(
    "a repository with a back end and a front end, started by a Dockerfile",
    {
        **{f"backend/{name}": text for name, text in UV.items()},
        "backend/pyproject.toml": '[project]\nname = "app"\ndependencies = ["fastapi"]\n',
        "backend/Dockerfile": "FROM python\nRUN pip install uv\n"
        'CMD ["uv", "run", "uvicorn", "core.web:api", "--host", "0.0.0.0", "--root-path=/api"]\n',
        "backend/main.py": "from fastapi import FastAPI\n\napp = FastAPI()\n",
        "backend/core/__init__.py": "",
        "backend/core/web.py": "from fastapi import FastAPI\n\napi = FastAPI()\n\n\n"
        '@api.get("/ping")\n@api.get("/health")\ndef health():\n    return "ok"\n',
        "frontend/package.json": '{"scripts": {"build": "vite build"}, "devDependencies": '
        '{"vite": "7"}}\n',
        "frontend/package-lock.json": "{}",
        "README.md": "",
    },
    """\
# the directory of its lock: backend
app_subdirectory: backend

# FastAPI: backend/core/web.py:3
app_asgi: core.web:api

# options of the start command: backend/Dockerfile:3
app_uvicorn_options: [--root-path=/api]

# a path named for it: backend/core/web.py:7
app_health_path: /health
""",
    says=(
        "frontend/package.json:1 builds a front end, which is not served: app_build_command: "
        "cd ../frontend && npm ci && npm run build",
        "other applications that it could be: main:app",
    ),
)
FLASK = Shape(
    "Flask, served by Gunicorn as a Procfile says",
    {
        "requirements.txt": f"flask==1.0{HASHED}gunicorn==1.0{HASHED}psycopg2-binary==1{HASHED}",
        "Procfile": "web: gunicorn wsgi:server -b 0.0.0.0:$PORT --workers 4 --threads 2\n"
        "release: flask --app wsgi db upgrade\n"
        "mail_worker: python -m worker\n",
        "wsgi.py": "from shop import create_app\n\nserver = create_app()\n",
        "worker.py": "",
        "shop/__init__.py": "import os\n\nfrom flask import Flask\n\n\ndef create_app():\n"
        "    app = Flask(__name__)\n"
        '    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]\n'
        '    app.add_url_rule("/", view_func=lambda: "here")\n    return app\n',
    },
    """\
# Flask: wsgi.py:3
app_asgi: wsgi:server

# the start command: Procfile:1
app_server: command

# the start command: Procfile:1
app_server_command: "gunicorn wsgi:server --threads 2"

# no path is named for it: shop/__init__.py:9
app_health_path: /

# run at each release: Procfile:2
app_migrate_command: "flask --app wsgi db upgrade"

# what runs beside the server: Procfile:3
app_processes: [{name: mail-worker, command: python -m worker}]

app_environment:
  # the database: shop/__init__.py:8
  DATABASE_URL: "{{ app_database.url }}"
""",
    has_database=True,
)
POETRY = Shape(
    "Poetry, and Granian",
    {
        "pyproject.toml": '[tool.poetry]\nname = "feeds"\n[tool.poetry.dependencies]\n'
        'python = "^3.12"\nstarlette = "*"\ngranian = "*"\n[tool.poetry.group.prod.dependencies]\n',
        "poetry.lock": "",
        "feeds/__init__.py": "",
        "feeds/app.py": "from starlette.applications import Starlette\n"
        "from starlette.config import Config\nfrom starlette.routing import Route\n\n"
        'config = Config()\nTITLE = config("FEEDS_TITLE")\nDEBUG = config("DEBUG", cast=bool, '
        'default=False)\napp = Starlette(routes=[Route("/ready", None)])\n',
        ".env.sample": "FEEDS_TITLE=News\n",
    },
    """\
# groups for servers: pyproject.toml:7
app_groups: [prod]

# Starlette: feeds/app.py:8
app_asgi: feeds.app:app

# the only server of the project: pyproject.toml:6
app_server: granian

# a path named for it: feeds/app.py:8
app_health_path: /ready

app_environment:
  # a value of .env.sample:1: feeds/app.py:6
  FEEDS_TITLE: "News"
""",
    is_locked=False,
    first="# the project: pyproject.toml:2\napp_name: feeds\n",
)
SQLITE = Shape(
    "a list of packages above the code, and SQLite",
    {
        "requirements.txt": f"quart==1.0{HASHED}aiosqlite==1{HASHED}",
        "service/manage.py": "",
        "service/serve.py": "import os\n\nfrom quart import Quart\n\n"
        'URL = os.environ.get("DATABASE_URL", "sqlite+aiosqlite:///./data.db")\n'
        'app = Quart(__name__)\n\n\n@app.route("/up")\nasync def up():\n    return "ok"\n',
    },
    """\
# Quart: service/serve.py:6
app_asgi: serve:app

# where the module is: service/serve.py:6
app_uvicorn_options: [--app-dir=service]

# a path named for it: service/serve.py:9
app_health_path: /up

app_environment:
  # the database: service/serve.py:5
  DATABASE_URL: "sqlite+aiosqlite:////var/lib/{{ app_name }}/database.sqlite3"
""",
)
SHAPES = (FASTAPI, FLAT, DJANGO, LITESTAR, MONOREPO, FLASK, POETRY, SQLITE)
NAMED_BY_ITS_DIRECTORY = "# the directory: tryout\napp_name: tryout\n"
BEFORE = """\
---
# Guessed from {folder}. Each line says where it was seen: correct what is wrong.

{first}
# The site's public name, whose A/AAAA record points to the server.
app_domain: CHANGE-ME # for example: www.example.org

app_source: {folder}
app_version: working-tree

"""
AFTER = """
# Of the server. Where the certificate authority writes when a certificate can't be renewed.
caddy_email: CHANGE-ME # for example: you@example.org

# The people who operate the servers, with their public SSH keys.
base_operators: [] # for example: [{name: ada, keys: ["ssh-ed25519 AAAA… ada@laptop"]}]
"""


def made(folder, files):
    """A repository of these files, none of which is committed."""
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", folder], check=True)
    return folder


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_the_whole_file_of_settings_with_where_each_was_seen(shape, tmp_path):
    folder = made(tmp_path / "tryout", shape.files)
    with opened(str(folder)) as repository:
        found = guess(repository)
        written, said = settings_file(found, repository), "\n".join(report(found, repository))
    first = shape.first or NAMED_BY_ITS_DIRECTORY
    assert written == BEFORE.format(folder=folder, first=first) + shape.expected + AFTER
    assert found.has_database == shape.has_database
    for text in shape.says:
        assert text in said
    assert re.findall(r"TO FILL IN: (\w+)", said) == list(shape.to_fill_in)


# -- the inventory of a try ------------------------------------------------------------------------

GUESS = "python control guess {} --into .try"
SITE = "ansible-playbook site.yml -i .try/inventory"
FILE = ".try/inventory/group_vars/servers/settings.yml"


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return Desk(tmp_path_factory.mktemp("desk"))


@pytest.fixture
def tried(desk, tmp_path):
    """A desk where an application of a shape is in ~/tryout, and its inventory in .try."""
    for path in (desk.home / "tryout", desk.clone / ".try"):
        shutil.rmtree(path, ignore_errors=True)
    desk.make(ssh=answers("Connection timed out"))

    def start(shape, options=""):
        made(desk.home / "tryout", shape.files)
        code, said = desk.type(f"{GUESS.format('~/tryout')} {options}")
        assert code == 0, said
        return said

    return start


@pytest.mark.parametrize(
    "shape", [one for one in SHAPES if one.is_locked], ids=lambda shape: shape.name
)
def test_site_yml_takes_the_inventory_as_far_as_the_server(desk, tried, shape):
    tried(shape)
    if shape.to_fill_in:
        code, said = desk.type(SITE)
        assert code != 0
        assert "app_environment still holds the placeholder CHANGE-ME" in said
        assert f"set in:  {FILE}:" in said
        assert not desk.contacted()
        file = desk.clone / FILE
        before = file.read_text()
        file.write_text(re.sub(r'^(  \w+:) "CHANGE-ME"', r"\1 x", before, flags=re.MULTILINE))
    code, said = desk.type(SITE)
    assert "No answer from" in said, said
    assert code == 4
    assert desk.contacted()
    hosts = (desk.clone / ".try/inventory/hosts.yml").read_text()
    assert ("db:" in hosts) == shape.has_database


# -- what else a try is told -----------------------------------------------------------------------


def variables(desk):
    return yaml.safe_load((desk.clone / ".try" / trial.TRY).read_text())


def test_what_is_tried_again_keeps_its_settings_and_its_secrets(desk, tried):
    said = tried(FLAT)
    assert "SECRET_KEY" in said
    file, secret = desk.clone / FILE, variables(desk)["vault_secret_key"]
    assert len(secret) > 40
    file.write_text(file.read_text().replace("/openapi.json", "/docs"))
    code, said = desk.type(GUESS.format("~/tryout"))
    assert code == 0
    assert f"{FILE} is kept as it is" in said
    assert "app_health_path: /docs" in file.read_text()
    assert variables(desk)["vault_secret_key"] == secret
    assert (desk.clone / ".try" / trial.TRY).stat().st_mode & 0o077 == 0


def test_another_application_does_not_take_its_place(desk, tried):
    tried(FLAT)
    made(desk.home / "another", FLAT.files)
    code, said = desk.type(GUESS.format("~/another"))
    assert code == 1
    assert f"{desk.home}/tryout is tried here already, and nothing was changed." in said
    assert "Next: make try-down removes it" in said


def test_another_directory_of_the_same_clone_does_not_take_its_place(desk, tried):
    tried(MONOREPO)
    for name in ("one", "two"):
        shutil.copytree(desk.home / "tryout/backend", desk.home / "tryout" / name)
    code, said = desk.type(GUESS.format("~/tryout/one"))
    assert code == 1
    assert f"{desk.home}/tryout is tried here already, and nothing was changed." in said
    shutil.rmtree(desk.clone / ".try")
    assert desk.type(GUESS.format("~/tryout/one"))[0] == 0
    assert desk.type(GUESS.format("~/tryout/one"))[0] == 0
    code, said = desk.type(GUESS.format("~/tryout/two"))
    assert code == 1
    assert f"{desk.home}/tryout/one is tried here already, and nothing was changed." in said


OWN = """\
app_name: own
app_domain: own.example.org
app_asgi: main:app
app_environment_file: .env.production
app_notify_urls: [https://chat.example.org/hook]
app_environment: # of the servers
  LEVEL: info
app_secrets: {KEY: "{{ vault_key }}"}
caddy_email: you@example.org
backup_s3: {bucket: of-the-servers}
"""


@pytest.mark.parametrize("named", ["hosts.yml", "", "group_vars/servers/settings.yml"])
def test_settings_of_ones_own_are_taken_but_none_of_the_servers(desk, tried, tmp_path, named):
    folder = tmp_path / "own/group_vars/servers"
    folder.mkdir(parents=True)
    (folder / "settings.yml").write_text(OWN)
    (folder / "vault.yml").write_text(desk.encrypted)
    (tmp_path / "own/hosts.yml").write_text("servers: {}\n")
    (tmp_path / "own/.env.production").write_text("TITLE=Notes\n")
    tried(FLAT, f"--settings {tmp_path}/own/{named}")
    taken = yaml.safe_load((desk.clone / FILE).read_text())
    assert taken == {
        key: value for key, value in yaml.safe_load(OWN).items() if key.startswith("app_")
    }
    assert variables(desk)["app_domain"] == "own.localhost"
    assert len(variables(desk)["vault_key"]) > 40
    assert (desk.clone / ".try/inventory/.env.production").read_text() == "TITLE=Notes\n"
    code, said = desk.type(SITE)
    assert code == 4, said
    assert desk.contacted()


def of_ones_own(desk, tried, path, more):
    file = path / "settings.yml"
    file.write_text("app_name: own\napp_asgi: main:app\n" + more)
    tried(FLAT, f"--settings {file}")
    text = (desk.clone / FILE).read_text()
    return yaml.safe_load(text), variables(desk), (desk.clone / ".try/inventory/hosts.yml")


def test_a_try_never_reaches_the_database_of_the_servers(desk, tried, tmp_path):
    url = 'app_database_url: "postgresql://own:{{ vault_password }}@db.example.org/own"\n'
    _, of_try, hosts = of_ones_own(desk, tried, tmp_path, url)
    assert of_try["app_database_url"] == ""
    assert of_try["app_database_tcp"] is True, "its URL has the form of another server's"
    assert "db:" in hosts.read_text()
    code, said = desk.type(SITE)
    assert code == 4, said


def test_a_value_that_is_encrypted_in_its_place_gets_another_one(desk, tried, tmp_path):
    more = """\
app_secrets:
  API_KEY: !vault |
    $ANSIBLE_VAULT;1.1;AES256
    6162
    6364
  TITLE: plain
"""
    taken, of_try, _ = of_ones_own(desk, tried, tmp_path, more)
    assert taken["app_secrets"] == {"API_KEY": "{{ vault_api_key }}", "TITLE": "plain"}
    assert len(of_try["vault_api_key"]) > 40
    before = of_try["vault_api_key"]
    assert of_ones_own(desk, tried, tmp_path, more)[1]["vault_api_key"] == before
    code, said = desk.type(SITE)
    assert code == 4, said


def test_what_is_encrypted_in_another_form_is_refused(desk, tmp_path):
    (tmp_path / "own.yml").write_text('app_name: own\napp_secrets: {KEY: !vault "$ANSIBLE_V"}\n')
    shutil.rmtree(desk.clone / ".try", ignore_errors=True)
    made(desk.home / "another", FLAT.files)
    command = GUESS.format("~/another")
    code, said = desk.type(f"{command} --settings {tmp_path}/own.yml")
    assert code == 1
    assert f"{tmp_path}/own.yml:2 has a value that is encrypted in a form" in said
    assert "Next: " in said


@pytest.mark.parametrize(
    ("address", "written"),
    [
        (
            "https://you:hush@git.example.org/you/whole.git",
            "https://git.example.org/you/whole.git",
        ),
        ("ssh://git@git.example.org/whole.git", "ssh://git@git.example.org/whole.git"),
        ("git@git.example.org:whole.git", "git@git.example.org:whole.git"),
    ],
)
def test_the_settings_of_a_clone_say_where_that_comes_from(tmp_path, address, written):
    folder = made(tmp_path / "whole/inside", FLAT.files)
    shutil.move(folder / ".git", folder.parent / ".git")
    git(folder, "remote", "add", "origin", address)
    with opened(str(folder)) as repository:
        text = settings_file(guess(repository), repository)
    found = yaml.safe_load(text)
    assert found["app_source"] == written
    assert (found["app_version"], found["app_subdirectory"]) == ("main", "inside")
    assert repository.source == str(tmp_path / "whole")


def test_an_address_is_fetched_and_none_of_its_code_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("pergola_control.guess.repository.CACHE", tmp_path / "cache")
    ran = tmp_path / "ran"
    evil = {**FLAT.files, "main.py": f"open({str(ran)!r}, 'w')\n" + FLAT.files["main.py"]}
    folder = made(tmp_path / "fetched", evil)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "First")
    with opened(f"file://{folder}") as repository:
        found = guess(repository)
        assert repository.version == "HEAD"
    assert found.settings["app_name"] == "fetched"
    assert found.settings["app_asgi"] == "main:app"
    assert not ran.exists()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("", "It is not said what to try.\n  Next: make try APP=../my-app"),
        ("~/nowhere", "There is no directory"),
        ("~/empty", "no application that could be recognized"),
    ],
)
def test_what_is_no_application_is_told_in_a_word(desk, tried, source, says):
    (desk.home / "empty").mkdir(exist_ok=True)
    code, said = desk.type(GUESS.format(source or "''"))
    assert code == 1
    assert says in said
    assert "Next: " in said
    assert "Traceback" not in said


# -- single signs ----------------------------------------------------------------------------------


BARE = "async def app(scope, receive, send): ...\n"


def settings_of(tmp_path, **files):
    names = {name.replace("__", "/").replace("_dot_", "."): text for name, text in files.items()}
    folder = made(tmp_path / "tryout", {"requirements.txt": f"x==1{HASHED}", **names})
    with opened(str(folder)) as repository:
        return guess(repository)


@pytest.mark.parametrize(
    ("text", "framework", "name"),
    [
        ("from blacksheep import Application\napp = Application()\n", "BlackSheep", "main:app"),
        ("import quart\napi: object = quart.Quart(__name__)\n", "Quart", "main:api"),
        ("from aiohttp import web\napp = web.Application()\n", "aiohttp", "main:app"),
        ("async def app(scope, receive, send): ...\n", "ASGI", "main:app"),
        ("class Own(FastAPI): ...\napp = Own()\n", "FastAPI", "main:app"),
    ],
)
def test_applications_are_known_by_their_text(tmp_path, text, framework, name):
    found = settings_of(tmp_path, main_dot_py=text)
    assert found.framework == framework
    assert found.settings["app_asgi"] == name


def test_of_several_the_one_that_is_started_elsewhere_is_meant(tmp_path):
    other = "from fastapi import FastAPI\ncore = FastAPI()\n"
    compose = "services:\n  web:\n    command: python -m uvicorn lib.other:core --port 80\n"
    files = {"main_dot_py": other, "lib__other_dot_py": other, "compose_dot_yaml": compose}
    assert settings_of(tmp_path, **files).settings["app_asgi"] == "lib.other:core"


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ('os.environ["DB_HOST"]', "DB_HOST", "{{ app_database.host }}"),
        ('os.environ["POSTGRES_SERVER"]', "POSTGRES_SERVER", "{{ app_database.host }}"),
        ('os.environ["POSTGRES_DB"]', "POSTGRES_DB", "{{ app_database.name }}"),
        ('os.environ["DB_USER"]', "DB_USER", "{{ app_database.user }}"),
        ('os.environ["DB_PASSWORD"]', "DB_PASSWORD", "-"),
        ('os.getenv("ASYNC_DATABASE_URL")', "ASYNC_DATABASE_URL", "{{ app_database.url }}"),
        ('os.environ["POSTGRES_DSN"]', "POSTGRES_DSN", "{{ app_database.url }}"),
        ('os.environ["MAIL_FROM"]', "MAIL_FROM", "CHANGE-ME"),
    ],
)
def test_a_database_is_told_by_the_variables_that_are_read(tmp_path, line, name, value):
    text = (
        f"import os\nfrom starlette.applications import Starlette\nX = {line}\napp = Starlette()\n"
    )
    listed = f"psycopg2-binary==1{HASHED}"
    found = settings_of(tmp_path, main_dot_py=text, requirements_dot_txt=listed)
    assert found.has_database
    assert found.settings["app_environment"] == {name: value}


@pytest.mark.parametrize(
    "line",
    [
        'os.environ["PORT"]',
        'os.environ.get("LEVEL")',
        'os.environ.setdefault("LEVEL", "x")',
        'os.getenv("TEST_DATABASE_URL")',
        'config("LEVEL", default="info")',
        'config("LEVEL", "info")',
    ],
)
def test_what_is_given_or_done_without_is_not_set(tmp_path, line):
    text = f"import os\nfrom decouple import config\nX = {line}\n{BARE}"
    assert "app_environment" not in settings_of(tmp_path, main_dot_py=text).settings


def test_a_front_end_that_the_application_serves_is_built(tmp_path):
    text = (
        "from fastapi import FastAPI\nfrom fastapi.staticfiles import StaticFiles\n"
        'app = FastAPI()\napp.mount("/assets", StaticFiles(directory="web/out/assets"))\n'
    )
    found = settings_of(
        tmp_path,
        main_dot_py=text,
        web__package_dot_json='{"scripts": {"build": "vite build"}}',
        web__yarn_dot_lock="",
        web__vite_dot_config_dot_ts='export default { build: { outDir: "out" } }\n',
    ).settings
    command = "cd web && yarn install --frozen-lockfile && yarn run build"
    assert found["app_build_command"] == command
    assert (found["app_static_url"], found["app_static_dir"]) == ("/assets", "web/out/assets")


def test_a_name_that_is_taken_on_servers_is_another(tmp_path):
    project = '[project]\nname = "Postgres"\n'
    found = settings_of(tmp_path, main_dot_py=BARE, pyproject_dot_toml=project)
    assert found.settings["app_name"] == "postgres-app"


def test_linkboard_is_guessed_as_its_demo_has_it():
    demo = yaml.safe_load((ROOT / "inventory/demo/group_vars/servers/settings.yml").read_text())
    with opened(str(ROOT / "sample_app")) as repository:
        found = guess(repository).settings
    for name in ("app_name", "app_asgi", "app_health_path", "app_subdirectory"):
        assert found[name] == demo[name]
    assert found["app_environment"].keys() == demo["app_environment"].keys()


# -- what the repositories of others do ------------------------------------------------------------

FASTAPI_APP = "from fastapi import FastAPI\napp = FastAPI()\n"


def test_a_function_with_arguments_makes_an_application_where_it_is_called(tmp_path):
    files = {
        "app/__init__.py": "",
        "app/setup.py": "from fastapi import FastAPI\n\n\ndef make(router, *, title):\n"
        "    it = FastAPI()\n    return it\n",
        "app/main.py": "from .setup import make\n\napp = make(1, title='x')\n",
    }
    folder = made(tmp_path / "tryout", files)
    with opened(str(folder)) as repository:
        found = guess(repository)
    assert found.framework == "FastAPI"
    assert found.settings["app_asgi"] == "app.main:app"


def test_a_package_is_imported_from_where_its_outermost_directory_is(tmp_path):
    files = {"src/py/shop/__init__.py": "", "src/py/shop/web/__init__.py": FASTAPI_APP}
    build = '[project]\nname = "x"\n[build-system]\nrequires = []\n'
    folder = made(tmp_path / "tryout", {**UV, **files, "pyproject.toml": build})
    with opened(str(folder)) as repository:
        assert guess(repository).settings["app_asgi"] == "shop.web:app"


@pytest.mark.parametrize(
    ("location", "at", "command"),
    [
        ("moves", "db/moves/env.py", "cd db && alembic upgrade head"),
        ("db/moves", "db/moves/env.py", "alembic -c db/alembic.ini upgrade head"),
        ("%(here)s/moves", "db/moves/env.py", "alembic -c db/alembic.ini upgrade head"),
        ("nowhere", "db/moves/env.py", None),
    ],
)
def test_alembic_runs_where_its_paths_count_from(tmp_path, location, at, command):
    files = {
        "requirements.txt": f"alembic==1{HASHED}psycopg==3{HASHED}",
        "db/alembic.ini": f"[alembic]\nscript_location = {location}\n",
        at: "",
        "main.py": FASTAPI_APP,
    }
    folder = made(tmp_path / "tryout", files)
    with opened(str(folder)) as repository:
        found = guess(repository)
    assert found.settings.get("app_migrate_command") == command
    assert any("script_location was not found" in note for note in found.notes) != bool(command)


def test_an_application_inside_another_answers_below_its_path(tmp_path):
    text = (
        "from fastapi import FastAPI\napi = FastAPI()\napp = FastAPI()\n"
        '@api.get("/healthz")\ndef healthz(): ...\napp.mount("/v2", app=api)\n'
    )
    assert settings_of(tmp_path, main_dot_py=text).settings["app_health_path"] == "/v2/healthz"


def test_the_path_of_a_controller_is_before_those_of_its_routes(tmp_path):
    text = (
        "from litestar import Controller, Litestar, get\nPLACE = '/here'\n"
        "class Items(Controller):\n    path = '/items'\n    @get()\n    async def all(self): ...\n"
        "class Health(Controller):\n    path = PLACE\n    @get('/health')\n"
        "    async def is_well(self): ...\napp = Litestar([Items, Health])\n"
    )
    assert settings_of(tmp_path, main_dot_py=text).settings["app_health_path"] == "/here/health"


def test_a_route_of_a_router_itself_has_no_slash_behind_it(tmp_path):
    text = (
        "from fastapi import APIRouter, FastAPI\napp = FastAPI()\n"
        "router = APIRouter(prefix='/health')\n@router.get('')\ndef health(): ...\n"
        "app.include_router(router)\n"
    )
    assert settings_of(tmp_path, main_dot_py=text).settings["app_health_path"] == "/health"


def test_a_command_behind_others_is_the_start(tmp_path):
    files = {
        "Procfile": "web: flask db upgrade; exec gunicorn shop:app --workers 4\n",
        "requirements.txt": f"flask==3{HASHED}gunicorn==23{HASHED}",
        "shop.py": "from app import create_app\napp = create_app()\n",
        "app/__init__.py": "from flask import Flask\ndef create_app(config=None):\n"
        "    app = Flask(__name__)\n    return app\n",
        "app/static/site.css": "",
    }
    folder = made(tmp_path / "tryout", files)
    with opened(str(folder)) as repository:
        found = guess(repository).settings
    assert found["app_server_command"] == "gunicorn shop:app"
    assert (found["app_static_url"], found["app_static_dir"]) == ("/static", "app/static")


def test_a_command_is_taken_out_of_its_runner_whole(tmp_path):
    found = settings_of(
        tmp_path,
        main_dot_py=FASTAPI_APP,
        Procfile="Web: exec uv run --extra x python -m uvicorn main:app --root-path /a # PaaS\n"
        "worker: uv run --env-file .env -m jobs.worker\nother: uv run --with rq rq worker\n",
    ).settings
    assert found["app_uvicorn_options"] == ["--root-path", "/a"]
    assert [one["command"] for one in found["app_processes"]] == [
        "python -m jobs.worker",
        "uv run --with rq rq worker",  # fails by its name, and not as another command
    ]


def test_what_is_made_already_is_preferred_to_what_makes_it(tmp_path):
    making = "from fastapi import FastAPI\ndef create():\n    return FastAPI()\n"
    files = {"main_dot_py": making, "shop_dot_py": "from main import create\napp = create()\n"}
    assert settings_of(tmp_path, **files).settings["app_asgi"] == "shop:app"


@pytest.mark.parametrize(
    ("command", "target"),
    [
        ("gunicorn main:app -k uvicorn.workers.UvicornWorker", "main:app"),
        ("gunicorn -k uvicorn_worker.UvicornWorker main:app", "main:app"),
        ("gunicorn --worker-class gthread shop.wsgi", "shop.wsgi:application"),
        ("uvicorn --host 0.0.0.0 --port $PORT shop.main:make --factory", "shop.main:make()"),
        ("hypercorn shop:app --bind 0.0.0.0:80 --workers=2", "shop:app"),
        ("daphne -b 0.0.0.0 shop.asgi:application", "shop.asgi:application"),
        ("node server.js", ""),
    ],
)
def test_a_start_command_names_the_application(command, target):
    assert Start("Procfile:1", "web", command).target == target


def test_only_what_the_application_uses_is_asked_for_variables(tmp_path):
    found = settings_of(
        tmp_path,
        main_dot_py=f"import config\n{FASTAPI_APP}",
        config_dot_py='import os\nX = os.environ["NEEDED"]\ntry:\n    os.environ["OR_NOT"]\n'
        "except KeyError:\n    pass\nif 'CDN' in os.environ:\n    X = os.environ['CDN']\n",
        tools__release_dot_py='import os\nX = os.environ["OF_A_TOOL"]\n',
    )
    assert found.settings["app_environment"] == {"NEEDED": "CHANGE-ME"}


def test_what_signs_sessions_is_never_left_to_a_default(tmp_path):
    text = 'import os\nX = os.getenv("SECRET_KEY", "dev")\nY = os.getenv("AWS_SECRET_KEY")\n'
    found = settings_of(tmp_path, main_dot_py=text + FASTAPI_APP)
    assert found.settings["app_secrets"] == {"SECRET_KEY": "{{ vault_secret_key }}"}


def test_a_long_name_is_cut_between_words(tmp_path):
    project = '[project]\nname = "a-very-long-name-of-an-application"\n'
    found = settings_of(tmp_path, main_dot_py=FASTAPI_APP, pyproject_dot_toml=project)
    assert found.settings["app_name"] == "a-very-long-name-of-an"


@pytest.mark.parametrize(
    "files",
    [
        {"main.py": "import os\nX = os.environ['TITLE']\n", ".env.example": "TITLE=EVIL\n"},
        {"main.py": "import os\nX = os.environ['A_TOKEN']\n", ".env.example": "A_TOKEN='EVIL'\n"},
        {"Procfile": "web: gunicorn main:app -k x 'EVIL'\n"},
        {"Procfile": "worker: EVIL\n"},
        {"EVIL/requirements.txt": "", "EVIL/main.py": FASTAPI_APP},
    ],
)
def test_nothing_of_a_repository_is_a_template_for_ansible(tmp_path, files):
    evil = "{{ lookup(1) }}"
    whole = {path.replace("EVIL", evil): text.replace("EVIL", evil) for path, text in files.items()}
    whole.setdefault("requirements.txt", "")
    if not any(path.endswith("/main.py") for path in whole):
        whole["main.py"] = whole.get("main.py", "") + FASTAPI_APP
    else:
        del whole["requirements.txt"]
    folder = made(tmp_path / "tryout", whole)
    with opened(str(folder)) as repository:
        found = guess(repository)
        with pytest.raises(RefusalError, match="which Ansible would evaluate"):
            settings_file(found, repository)


INJECTED = "x: 1\\napp_build_command: evil\\nY"


@pytest.mark.parametrize(
    "line",
    [
        f'page: str = Field(alias="{INJECTED}")',
        f'page: str = Field(validation_alias=AliasChoices("{INJECTED}"))',
        'page: str = Field(alias="x: \\\\U0000007b{ 1 }}\\ny")',
        'page: str = Field(alias="with-a-dash")',
        "größe: int",
    ],
)
@pytest.mark.parametrize("prefix", ["", INJECTED])
def test_only_what_a_shell_could_set_is_the_name_of_a_variable(tmp_path, line, prefix):
    text = (
        "from pydantic import AliasChoices, Field\nfrom pydantic_settings import BaseSettings\n"
        f'class Settings(BaseSettings):\n    model_config = dict(env_prefix="{prefix}")\n'
        f"    {line}\n    no: int\n"
    )
    folder = made(tmp_path / "tryout", {"requirements.txt": "", "main.py": text + FASTAPI_APP})
    with opened(str(folder)) as repository:
        found = guess(repository)
        written = yaml.safe_load(settings_file(found, repository))
    assert written.get("app_environment", {}) == ({} if prefix else {"NO": "CHANGE-ME"})
    assert "app_build_command" not in written


def test_what_would_be_other_settings_once_written_is_refused(tmp_path):
    folder = made(tmp_path / "tryout", {"requirements.txt": "", "main.py": FASTAPI_APP})
    with opened(str(folder)) as repository:
        found = guess(repository)
        found.seen.append(Seen("app_workers", 2, "main.py:1\napp_build_command: evil", "it says"))
        with pytest.raises(RefusalError, match="cannot be written as a file"):
            settings_file(found, repository)


@pytest.mark.parametrize(
    "value",
    [
        "amqp://worker:hush@mq.example.org/shop",
        "https://hush@errors.example.org/1",
        "redis://:hush@cache.example.org:6379/0",
        "Server=db.example.org;Password=hush",
        "postgresql://db.example.org/shop?user=shop&password=hush",
    ],
)
def test_a_value_with_a_password_is_a_secret_and_is_not_shown(tmp_path, value):
    files = {
        "requirements.txt": "",
        "main.py": f'import os\nX = os.environ["BROKER"]\n{FASTAPI_APP}',
        ".env.example": f"BROKER={value}\n",
    }
    folder = made(tmp_path / "tryout", files)
    with opened(str(folder)) as repository:
        found = guess(repository)
        written, said = settings_file(found, repository), "\n".join(report(found, repository))
    assert found.settings["app_secrets"] == {"BROKER": "{{ vault_broker }}"}
    assert found.environment.vault == {"vault_broker": value}
    assert "hush" not in written + said


def test_a_terminal_is_shown_letters_and_no_passwords(tmp_path):
    files = {
        "requirements.txt": "",
        "main.py": f'import os\nX = os.environ["TITLE"]\n{FASTAPI_APP}',
        ".env.example": "TITLE='News \x1b[2J'\n",
        "Procfile": "worker: work amqp://worker:hush-hush-hush-hush@mq\n",
    }
    folder = made(tmp_path / "tryout", files)
    with opened(str(folder)) as repository:
        said = "\n".join(report(guess(repository), repository))
    assert "work amqp://mq" in said
    assert "News [2J" in said
    assert "hush" not in said


def test_no_name_of_a_file_ends_a_comment(tmp_path):
    folder = made(tmp_path / "tryout", {"x\napp_build_command: evil\n/main.py": FASTAPI_APP})
    with opened(str(folder)) as repository, pytest.raises(RefusalError, match="no application"):
        guess(repository)
