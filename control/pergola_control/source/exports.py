"""Locks of Poetry, PDM and Pipenv as lists of requirements with hashes, by these tools themselves.

Each is installed once, from a list of ours with hashes, and is given copies of two files: no code
of the application runs. What it made of a lock is kept by the lock's digest.
"""

import contextlib
import hashlib
import os
import posixpath
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pergola_control import uv
from pergola_control.programs import run, some, text
from pergola_control.refusal import LimitExceededError, RefusalError
from pergola_control.source.commits import Commit
from pergola_control.source.directories import Tree
from pergola_control.source.lists import Flat, logical
from pergola_control.source.projects import extras_of, groups_of, refuse_unknown, table, toml
from pergola_control.source.settings import Settings

TOOLS = Path(__file__).with_name("tools")
INSTALL_LIMIT = 300  # seconds
EXPORT_LIMIT = 60


@dataclass(frozen=True)
class Tool:
    """`check` and `export`: arguments; `extra` and `group`: the options that choose more."""

    name: str
    lock: str
    project: str
    remedy: str
    export: Sequence[str]
    check: Sequence[str] = ()
    extra: str = ""
    group: str = ""


KNOWN = (
    # It looks by itself whether the lock is that of the project.
    Tool(
        *("poetry", "poetry.lock", "pyproject.toml", "poetry lock"),
        export=("export", "--no-interaction", "--format=requirements.txt"),
        extra="--extras={}",
        group="--with={}",
    ),
    Tool(
        *("pdm", "pdm.lock", "pyproject.toml", "pdm lock --update-reuse"),
        export=("export", "--format=requirements", "--no-default", "--group=default"),
        check=("lock", "--check"),
        extra="--group={}",
        group="--group={}",
    ),
    Tool(
        *("pipenv", "Pipfile.lock", "Pipfile", "pipenv lock"),
        export=("requirements", "--hash"),
        check=("verify",),
    ),
)


def exported(release: Commit | Tree, settings: Settings) -> tuple[str, str] | None:
    """A list made of the application's lock, and the lock's name; None without such a lock."""
    for tool in KNOWN:
        lock = release.read(posixpath.join(release.directory, tool.lock))
        project = release.read(posixpath.join(release.directory, tool.project))
        if lock is None or project is None:
            continue
        refuse_markers(tool.lock, lock)
        found = toml(release.read, posixpath.join(release.directory, tool.project), "correct it")
        refuse_unknown("app_extras", "extra", settings.extras, extras_of(found), tool.project)
        refuse_unknown("app_groups", "group", settings.groups, groups_of(found), tool.project)
        return refuse_loose(tool, kept(tool, settings, project, lock)), tool.lock
    return None


def refuse_markers(name: str, lock: str) -> None:
    """Refuse a lock that a merge has left in two versions."""
    if found := re.search(r"^(<<<<<<<|>>>>>>>) ", lock, re.MULTILINE):
        line = lock.count("\n", 0, found.start()) + 1
        raise RefusalError(
            f"{name}:{line} has the marks of a merge that was not finished.",
            "app_version",
            "resolve it, make the lock again, and commit it",
        )


def kept(tool: Tool, settings: Settings, project: str, lock: str) -> str:
    """What the tool makes of a lock, from the cache if it was made before."""
    pins = (TOOLS / f"{tool.name}.txt").read_text()
    chosen = options(tool, settings)
    digest = hashlib.sha256("\0".join((pins, *chosen, project, lock)).encode()).hexdigest()
    path = settings.room / f"exported-{digest[:16]}.txt"
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    content = export(tool, installed(tool, settings.cache), chosen, {
        tool.project: project, tool.lock: lock
    })  # fmt: skip
    for other in settings.room.glob("exported-*.txt"):
        other.unlink()
    partial = path.with_name(path.name + ".partial")
    partial.write_text(content)
    partial.rename(path)  # whole or not at all
    return content


def options(tool: Tool, settings: Settings) -> list[str]:
    """The options for the extras and groups that the settings ask for."""
    if settings.groups and not tool.group:  # Pipenv has one option for all, and calls them so
        return ["--categories=" + " ".join(("packages", *settings.groups))]
    return [tool.extra.format(name) for name in settings.extras] + [
        tool.group.format(name) for name in settings.groups
    ]


def installed(tool: Tool, cache: Path) -> Path:
    """The Python of an environment that has the tool, made if it is not there."""
    pins = TOOLS / f"{tool.name}.txt"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(pins.read_bytes() + version.encode()).hexdigest()[:12]
    directory = cache / ".tools" / f"{tool.name}-{digest}"
    python = directory / "bin" / "python"
    if python.exists():
        return python
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".new-") as fresh:
        venv = Path(fresh) / "venv"
        make = (uv.program(), "venv", "--quiet", "--python", sys.executable, str(venv))
        sync = (uv.program(), "pip", "sync", "--quiet", "--require-hashes", "--no-build")
        for command in (make, (*sync, "--python", str(venv / "bin" / "python"), str(pins))):
            done = run(command, cwd=venv.parent, env=dict(os.environ), limit=INSTALL_LIMIT)
            if done.returncode:
                raise RefusalError(
                    f"{tool.name}, which reads {tool.lock}, could not be installed on this "
                    f"machine: {uv.in_short(text(done.stderr))}",
                    "",
                    "let it reach the package index (UV_DEFAULT_INDEX, HTTPS_PROXY), or commit a "
                    "list that needs no such tool: requirements.txt with hashes",
                )
        if not python.exists():  # what a cleaner of caches left of it
            shutil.rmtree(directory, ignore_errors=True)
        with contextlib.suppress(OSError):  # another run was quicker
            venv.rename(directory)
    for other in directory.parent.glob(f"{tool.name}-*"):
        if other != directory:
            shutil.rmtree(other, ignore_errors=True)
    return python


def export(tool: Tool, python: Path, chosen: Sequence[str], files: dict[str, str]) -> str:
    """Let the tool check a lock and write it as a list; a refusal in its words."""
    with tempfile.TemporaryDirectory(prefix="pergola-") as directory:
        top = Path(directory).resolve() / "app"
        top.mkdir()
        for name, content in files.items():
            (top / name).write_text(content)
        env = environment(top.parent)
        for arguments in filter(None, (tool.check, (*tool.export, *chosen))):
            argv = (str(python), "-m", tool.name, *arguments)
            try:
                done = run(argv, cwd=top, env=env, limit=EXPORT_LIMIT)
            except LimitExceededError as error:
                raise RefusalError(
                    f"{tool.name} {arguments[0]} did not finish: {error}.",
                    "app_version",
                    "run it in a clean checkout, and see what it waits for",
                ) from None
            if done.returncode:
                raise refusal(tool, arguments, text(done.stdout + b"\n" + done.stderr))
    listed = done.stdout.decode()
    if not list(logical(tool.lock, listed)) and has_dependencies(files[tool.project]):
        what = f"{tool.name} finds no package in {tool.lock}, but {tool.project} has dependencies"
        raise RefusalError(
            f"{what}.", "app_version", f"run `{tool.remedy}`, and commit {tool.lock}"
        )
    return listed


def has_dependencies(project: str) -> bool:
    """Whether a pyproject.toml or a Pipfile names packages that are installed in any case."""
    found = tomllib.loads(project)
    named = {**table(found, "tool", "poetry", "dependencies"), **table(found, "packages")}
    always = [
        name
        for name, how in named.items()
        if name != "python" and not (isinstance(how, Mapping) and how.get("optional"))
    ]
    return bool(table(found, "project").get("dependencies") or always)


def environment(home: Path) -> dict[str, str]:
    """The tools' environment: a home of their own, and no network."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "PDM_CHECK_UPDATE": "0",
        "PDM_IGNORE_SAVED_PYTHON": "1",
        "PDM_USE_VENV": "0",
        "PIPENV_IGNORE_VIRTUALENVS": "1",
        "PIPENV_NOSPIN": "1",
        "PIPENV_QUIET": "1",
        "POETRY_VIRTUALENVS_CREATE": "false",
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9"),
    }


def refusal(tool: Tool, arguments: Sequence[str], said: str) -> RefusalError:
    """What the tool says of a lock that it does not take."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    shown = "\n".join(f"  | {line}" for line in lines[-8:])
    if "No Python that satisfies" in said:
        return RefusalError(
            f"{tool.name} reads {tool.lock} with a Python that the application could run on, and "
            f"this machine has none:\n{shown}",
            "",
            "install one here (`uv python install`), or lower requires-python",
        )
    return RefusalError(
        f"{tool.name} {' '.join(arguments)} does not take {tool.lock}:\n{shown}",
        "app_version",
        f"run `{tool.remedy}`, and commit {tool.lock}",
    )


def refuse_loose(tool: Tool, content: str) -> str:
    """The list as one that servers take; a refusal of what has no hash."""
    found = Flat([tool.lock], list(logical(tool.lock, content)))
    if found.loose:
        raise RefusalError(
            f"{tool.lock} has packages that no hash pins (of a path, or from git): "
            f"{some([line.shown for line in found.loose])}.",
            "app_version",
            "publish them to an index, or make the project one of uv's, which takes them "
            "(`uvx migrate-to-uv`), and commit uv.lock",
        )
    return found.text
