"""What uv says of an application's lock."""

import os
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from pergola_control.programs import run, text
from pergola_control.refusal import RefusalError

LIMIT = 60  # seconds; it takes 0.1
# As servers install, but of other repositories only: what is in the workspace is the app itself.
EXPORT = (
    *("export", "--frozen", "--offline", "--no-dev", "--no-emit-workspace"),
    *("--format=pylock.toml", "--no-hashes", "--no-header", "--no-cache", "--color=never"),
)


def locked(project: str, lock: str) -> list[tuple[str, str]]:
    """The (package, version) pairs that a server installs; ValueError if uv cannot read the lock.

    `project` and `lock` are the texts of pyproject.toml, which has the groups, and of uv.lock.
    Markers may make several pairs of a package. uv reads these two only: no index, no Python.
    """
    with tempfile.TemporaryDirectory(prefix="pergola-") as directory:
        top = Path(directory)
        (top / "pyproject.toml").write_text(project, encoding="utf-8")
        (top / "uv.lock").write_text(lock, encoding="utf-8")
        # What the user has set for other work of uv's is not meant here.
        env = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
        done = run((program(), *EXPORT), cwd=top, env=env, limit=LIMIT)
    if done.returncode:
        raise ValueError(in_short(text(done.stderr)))
    exported = tomllib.loads(done.stdout.decode())
    packages: Sequence[Mapping[str, object]] = exported.get("packages", [])
    return [(str(package["name"]), version(package)) for package in packages]


def version(package: Mapping[str, object]) -> str:
    """A package's version; one from git may change without another version."""
    known = str(package.get("version", "(no version)"))
    vcs = package.get("vcs")
    return f"{known} at {str(vcs['commit-id'])[:7]}" if isinstance(vcs, Mapping) else known


def program() -> str:
    """The uv of the environment that Ansible runs in, or else of the system."""
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise RefusalError(
            "There is no uv on this machine, which reads the application's lock.",
            "",
            "run `make setup` in Pergola's directory, and the ansible-playbook of its .venv",
        )
    return found


def in_short(said: str) -> str:
    """An error of uv's in one line, without the lines of the file that it shows."""
    lines = [line.strip() for line in said[max(said.find("error:"), 0) :].splitlines()]
    kept = [line for line in lines if line and not re.match(r"\d*\s*\||hint:", line)]
    return "; ".join(kept).removeprefix("error: ")
