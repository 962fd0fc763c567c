"""Applications that cannot run as they are, and what is said of each before anything changes."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shapes import BARE, OTHERS, STARLETTE, UV_LOCK, project, with_hashes


@dataclass(frozen=True)
class Refusal:
    """An application that is refused: its files, how its lock was made, and what must be said."""

    name: str
    files: Mapping[str, str]
    says: Sequence[str]
    lock: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[[Path], None] | None = None


PLAIN = {"pyproject.toml": project("web"), "main.py": BARE}
LISTED = {"main.py": STARLETTE, "requirements.txt": "starlette==1.0\n"}


def without_its_submodule(path: Path) -> None:
    """A submodule that was never fetched into this clone."""
    (path / ".gitmodules").write_text('[submodule "words"]\n\tpath = words\n\turl = ../none\n')
    (path / "words").mkdir()
    entry = ["--cacheinfo", "160000,0123456789012345678901234567890123456789,words"]
    subprocess.run(["git", "update-index", "--add", *entry], cwd=path, check=True)


def given(**settings: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"lock": UV_LOCK, "settings": settings}


REFUSALS = (
    Refusal("a list without hashes", LISTED, ["uv pip compile requirements.in", "git mv"]),
    Refusal("no lock", PLAIN, ["run `uv lock`"]),
    Refusal(
        "a lock that is older than the project",
        {**PLAIN, "later/pyproject.toml": project("web", "starlette")},
        ["starlette is not in the lock", "run `uv lock`"],
        (*UV_LOCK, "mv later/pyproject.toml ."),
    ),
    Refusal(
        "a lock of Poetry that is older than the project",
        {
            **OTHERS["poetry"],
            "pyproject.toml": OTHERS["poetry"]["pyproject.toml"].replace("^3.1", "^3.2"),
            "main.py": BARE,
        },
        ["run `poetry lock"],
        prepare=with_hashes,
    ),
    Refusal("setup.py alone", {"setup.py": "", "main.py": BARE}, ["uv pip compile setup.py"]),
    Refusal(
        "a list of a list that is not there",
        {**LISTED, "requirements.txt": "-r prod.txt\n"},
        ["requirements.txt:1", "no such file"],
    ),
    Refusal(
        "an editable package in a list",
        {**LISTED, "requirements.txt": "-e .\n"},
        ["requirements.txt:1"],
    ),
    Refusal("an extra that is not there", PLAIN, ["no extra 'fast'"], **given(app_extras=["fast"])),
    Refusal(
        "no such directory",
        PLAIN,
        ["app_subdirectory", "backend"],
        **given(app_subdirectory="backend"),
    ),
    Refusal("a server that the lock lacks", PLAIN, ["granian"], **given(app_server="granian")),
    Refusal(
        "a module with slashes",
        PLAIN,
        ["app_asgi", "your_app.main:app"],
        **given(app_asgi="web/main.py:app"),
    ),
    Refusal(
        "a wildcard name",
        PLAIN,
        ["*.shop.test", "DNS challenge"],
        **given(app_domain="*.shop.test"),
    ),
    Refusal(
        "a name that another application has",
        PLAIN,
        ["probe.test", "probe"],
        **given(app_domain="probe.test"),
    ),
    Refusal(
        "a merge that was not finished",
        {**PLAIN, "uv.lock": "<<<<<<< HEAD\nversion = 1\n"},
        ["uv.lock cannot be read"],
    ),
    Refusal(
        "a pointer of LFS",
        {
            **PLAIN,
            ".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
            "model.bin": "version https://git-lfs.github.com/spec/v1\n"
            f"oid sha256:{64 * '0'}\nsize 12345\n",
        },
        ["model.bin", "LFS"],
        UV_LOCK,
    ),
    Refusal(
        "a submodule that was not fetched",
        PLAIN,
        ["words", "submodule update --init --recursive"],
        UV_LOCK,
        prepare=without_its_submodule,
    ),
    Refusal(
        "a schedule that never is",
        PLAIN,
        ["0 25 * * *"],
        **given(app_schedules=[{"name": "tidy", "command": "true", "on_calendar": "0 25 * * *"}]),
    ),
    Refusal(
        "static files that are not there",
        PLAIN,
        ["app_static_dir", "dist"],
        **given(app_static_dir="dist", app_static_url="/static"),
    ),
    Refusal(
        "a path outside of the repository",
        {
            "pyproject.toml": project(
                "web", "idna", more='[tool.uv.sources]\nidna = {path = "../../outside"}\n'
            ),
            "main.py": BARE,
            "uv.lock": 'version = 1\nrevision = 3\nrequires-python = ">=3.11"\n[[package]]\n'
            'name = "idna"\nversion = "1"\nsource = { directory = "../../outside" }\n',
        },
        ["../../outside"],
    ),
)
