"""Applications as people have them: each is a repository, and the settings that deploy it.

Their pages say "hello 1", and "hello 2" after an update. Locks are made while the tests run, of the
packages that there were on one day.
"""

import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DAY = "2026-11-20"
# Commands that make a lock; `uv` is Pergola's own.
COMPILE = "uv pip compile {} --universal --generate-hashes --no-header --quiet -o {}"
REQUIREMENTS = (COMPILE.format("requirements.in", "requirements.txt"),)
UV_LOCK = ("uv lock --quiet",)


@dataclass(frozen=True)
class Shape:
    """An application: its files, the commands that make its lock, and its settings.

    `shows`: what else its pages say, by path; `then`: what of it is another after the update.
    `tags`: those of its first commit. `prepare` changes the directory before the first commit.
    """

    name: str
    files: Mapping[str, str]
    lock: Sequence[str] = REQUIREMENTS
    settings: Mapping[str, Any] = field(default_factory=dict)
    shows: Mapping[str, str] = field(default_factory=dict)
    then: Mapping[str, str] = field(default_factory=dict)
    tags: Sequence[str] = ()
    prepare: Callable[[Path], None] | None = None


FASTAPI = """
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def index():
    return "hello 1"
"""
STARLETTE = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route


def index(request):
    return PlainTextResponse("hello 1")


app = Starlette(routes=[Route("/", index)])
"""
# What needs no package at all.
BARE = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})
        return
    text = globals().get("PAGES", {}).get(scope["path"], lambda: "hello 1")()
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
"""


def project(name: str, *dependencies: str, more: str = "") -> str:
    """A pyproject.toml that is not built: an application, no package."""
    listed = ", ".join(f'"{one}"' for one in dependencies)
    return (
        f'[project]\nname = "{name}"\nversion = "1"\nrequires-python = ">=3.11"\n'
        f"dependencies = [{listed}]\n{more}"
    )


def package(name: str, *dependencies: str, more: str = "") -> str:
    """A pyproject.toml of a package that uv builds itself."""
    build = '[build-system]\nrequires = ["uv_build>=0.9,<1"]\nbuild-backend = "uv_build"\n'
    return project(name, *dependencies, more=build + more)


# What shows that a package of the lock is there.
IDNA = (
    f'from importlib.metadata import version\nPAGES = {{"/idna": lambda: version("idna")}}\n{BARE}'
)
# Locks as these tools write them, which they need their index's own interface for. The digests are
# of what stands above them.
OTHERS = {
    "poetry": {
        "pyproject.toml": '[tool.poetry]\nname = "po"\nversion = "0.1.0"\ndescription = ""\n'
        'readme = "README.md"\nauthors = ["x <x@example.org>"]\n[tool.poetry.dependencies]\n'
        'python = "^3.11"\nidna = "^3.1"\n[tool.poetry.group.web.dependencies]\n',
        "poetry.lock": '[[package]]\nname = "idna"\nversion = "3.10"\ndescription = ""\n'
        'optional = false\npython-versions = ">=3.6"\ngroups = ["main"]\nfiles = [\nFILES]\n'
        '\n[metadata]\nlock-version = "2.1"\npython-versions = "^3.11"\ncontent-hash = '
        '"66d1ecb4884941c3599ef5afa6a662126fd2a999046e40c3ffa8cb11a8e9743f"\n',
    },
    "pdm": {
        "pyproject.toml": '[project]\nname = "pd"\nversion = "0.1.0"\n'
        'requires-python = ">=3.11"\ndependencies = ["idna>=3"]\n'
        '[dependency-groups]\nweb = ["h11"]\n',
        "pdm.lock": '[metadata]\ngroups = ["default", "web"]\nstrategy = ["inherit_metadata"]\n'
        'lock_version = "4.5.0"\ncontent_hash = '
        '"sha256:0d9f5506293c20bb674b175d1f758493049b2d3b8d923f58a9c2ad8867291c8b"\n'
        '[[metadata.targets]]\nrequires_python = ">=3.11"\n[[package]]\nname = "idna"\n'
        'version = "3.10"\nrequires_python = ">=3.6"\nsummary = ""\ngroups = ["default"]\n'
        "files = [\nFILES]\n",
    },
}


def with_hashes(path: Path) -> None:
    """The lock gets the hashes that the index has of its one package."""
    compiled = subprocess.run(
        ["uv", "pip", "compile", "-", "--generate-hashes", "--no-header", "--quiet"],
        input="idna==3.10\n",
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    files = "".join(
        f'  {{file = "idna-3.10-{number}.whl", hash = "{found}"}},\n'
        for number, found in enumerate(re.findall(r"sha256:[0-9a-f]{64}", compiled))
    )
    for lock in path.glob("*.lock"):
        lock.write_text(lock.read_text().replace("FILES", files))


# -- what they are installed from ------------------------------------------------------------------

SOURCES = (
    Shape(
        "requirements",
        {"main.py": FASTAPI, "requirements.in": "fastapi\n"},
        settings={"app_asgi": "main:app"},
    ),
    Shape(
        "src-layout",
        {
            "pyproject.toml": package("shop", "fastapi", "uvicorn", "uvloop"),
            "src/shop/__init__.py": "",
            "src/shop/main.py": FASTAPI,
        },
        UV_LOCK,
        {"app_asgi": "shop.main:app"},
    ),
    Shape(
        "workspace",
        {
            "pyproject.toml": '[tool.uv.workspace]\nmembers = ["apps/*", "libs/*"]\n',
            "apps/api/pyproject.toml": package(
                "api", "starlette", "words", more="[tool.uv.sources]\nwords = {workspace = true}\n"
            ),
            "apps/api/src/api/__init__.py": "",
            "apps/api/src/api/main.py": STARLETTE.replace('"hello 1"', "words.HELLO").replace(
                "from", "import words\nfrom", 1
            ),
            "apps/jobs/pyproject.toml": package("jobs"),
            "apps/jobs/src/jobs/__init__.py": "",
            "libs/words/pyproject.toml": package("words"),
            "libs/words/src/words/__init__.py": 'HELLO = "hello 1"\n',
        },
        UV_LOCK,
        {"app_asgi": "api.main:app"},
    ),
    Shape(
        "workspace-member",
        {
            "pyproject.toml": '[tool.uv.workspace]\nmembers = ["one", "two"]\n',
            "one/pyproject.toml": project("one", "starlette"),
            "one/main.py": STARLETTE.replace("hello", "one"),
            "two/pyproject.toml": project("two", "starlette"),
            "two/main.py": STARLETTE,
        },
        UV_LOCK,
        {"app_asgi": "main:app", "app_package": "two"},
    ),
    Shape(
        "beside",
        {
            "services/web/pyproject.toml": project(
                "web", "words", more='[tool.uv.sources]\nwords = {path = "../../libs/words"}\n'
            ),
            "services/web/web.py": f'import words\nPAGES = {{"/": lambda: words.HELLO}}\n{BARE}',
            "libs/words/pyproject.toml": package("words"),
            "libs/words/src/words/__init__.py": 'HELLO = "hello 1"\n',
        },
        ("uv lock --quiet --directory services/web",),
        {"app_asgi": "web:app", "app_subdirectory": "services/web"},
    ),
    Shape(
        "extras-groups",
        {
            "pyproject.toml": project(
                "web",
                more='[project.optional-dependencies]\nfast = ["idna"]\n'
                '[dependency-groups]\nprod = ["iniconfig"]\ndev = ["packaging"]\n',
            ),
            "web.py": "from importlib.util import find_spec\n"
            'NAMES = ("idna", "iniconfig", "packaging")\n'
            'PAGES = {"/has": lambda: " ".join(n for n in NAMES if find_spec(n))}\n' + BARE,
        },
        UV_LOCK,
        {"app_asgi": "web:app", "app_extras": ["fast"], "app_groups": ["prod"]},
        {"/has": "idna iniconfig"},
    ),
    Shape(
        "nested-lists",
        {
            "pyproject.toml": "[tool.ruff]\nline-length = 100\n",
            "requirements.txt": "-r requirements/prod.txt\n-c requirements/limits.txt\n",
            "requirements/prod.in": "starlette\n",
            "requirements/limits.txt": "anyio<9\n",
            "main.py": STARLETTE.replace("\n", "\r\n"),
        },
        (COMPILE.format("requirements/prod.in", "requirements/prod.txt"),),
        {"app_asgi": "main:app"},
    ),
    Shape(
        "chosen-list",
        {
            "one.in": "iniconfig\n",
            "two.in": "starlette\n",
            "main.py": STARLETTE,
        },
        (COMPILE.format("one.in", "one.txt"), COMPILE.format("two.in", "two.txt")),
        {"app_asgi": "main:app", "app_requirements": "two.txt"},
    ),
    Shape(
        "poetry",
        {**OTHERS["poetry"], "web.py": IDNA},
        (),
        {"app_asgi": "web:app"},
        {"/idna": "3.10"},
        prepare=with_hashes,
    ),
    Shape(
        "pdm",
        {**OTHERS["pdm"], "web.py": IDNA},
        (),
        {"app_asgi": "web:app"},
        {"/idna": "3.10"},
        prepare=with_hashes,
    ),
    Shape(
        "pipenv",
        {"main.py": STARLETTE},
        # Without the Python that it finds here.
        (
            "pipenv install --quiet starlette",
            "sed -i '/^.requires./,$d' Pipfile",
            "pipenv lock",
        ),
        {"app_asgi": "main:app"},
    ),
    Shape(
        "hatch-vcs",
        {
            "pyproject.toml": '[project]\nname = "shop"\ndynamic = ["version"]\n'
            'requires-python = ">=3.11"\ndependencies = []\n'
            '[build-system]\nrequires = ["hatchling", "hatch-vcs"]\n'
            'build-backend = "hatchling.build"\n[tool.hatch.version]\nsource = "vcs"\n',
            "shop/__init__.py": "",
            "shop/main.py": "from importlib.metadata import version\n"
            'PAGES = {"/version": lambda: version("shop")}\n' + BARE,
        },
        UV_LOCK,
        {"app_asgi": "shop.main:app"},
        {"/version": "1.2.3"},
        {"/version": "1.2.4.dev1"},
        ("v1.2.3",),
    ),
    Shape(
        "setuptools-scm",
        {
            "pyproject.toml": '[project]\nname = "shop"\ndynamic = ["version"]\n'
            'requires-python = ">=3.11"\ndependencies = []\n'
            '[build-system]\nrequires = ["setuptools>=80", "setuptools-scm>=8"]\n'
            'build-backend = "setuptools.build_meta"\n[tool.setuptools_scm]\n'
            '[tool.setuptools]\npackages = ["shop"]\n',
            "shop/__init__.py": "",
            "shop/main.py": "from importlib.metadata import version\n"
            'PAGES = {"/version": lambda: version("shop")}\n' + BARE,
        },
        UV_LOCK,
        {"app_asgi": "shop.main:app"},
        {"/version": "2.0"},
        {"/version": "2.1.dev1"},
        ("2.0",),
    ),
)
