"""What uv says of an application's lock."""

import json
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

# All that it knows, for whichever server.
PYTHONS = (
    *("python", "list", "--only-downloads", "--all-versions", "--all-arches", "--all-platforms"),
    *("--output-format=json", "--offline", "--no-config", "--no-cache", "--color=never"),
)


def locked(
    projects: Mapping[str, str], lock: str, content: str, directory: str, options: Sequence[str]
) -> list[tuple[str, str]]:
    """The (package, version) pairs that a server installs; ValueError if uv cannot read the lock.

    `projects`: each pyproject.toml by its path. `lock`: the path of uv.lock, with its content.
    `directory`: the application's. `options` choose extras and groups. Markers may make several
    pairs of a package. uv reads these files only: no index, no Python.
    """
    with tempfile.TemporaryDirectory(prefix="pergola-") as temporary:
        top = Path(temporary)
        for name, text_of in {**projects, lock: content}.items():
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text_of, encoding="utf-8")
        (top / directory).mkdir(parents=True, exist_ok=True)
        # What the user has set for other work of uv's is not meant here.
        env = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
        done = run((program(), *EXPORT, *options), cwd=top / directory, env=env, limit=LIMIT)
    if done.returncode:
        raise ValueError(in_short(text(done.stderr)))
    exported = tomllib.loads(done.stdout.decode())
    packages: Sequence[Mapping[str, object]] = exported.get("packages", [])
    return [(str(package["name"]), version(package)) for package in packages]


def pythons(mirror: str, own: Path | None) -> list[Mapping[str, object]]:
    """The builds of CPython for Linux that uv can bring, as it lists them; ValueError if it cannot.

    `mirror`: where from; "": where uv has them. `own`: a list that replaces its own. No network.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    env |= {"UV_PYTHON_INSTALL_MIRROR": mirror} if mirror else {}
    env |= {"UV_PYTHON_DOWNLOADS_JSON_URL": str(own)} if own else {}
    done = run((program(), *PYTHONS), cwd=Path("/"), env=env, limit=LIMIT)
    if done.returncode:
        raise ValueError(in_short(text(done.stderr)))
    known = {"os": "linux", "implementation": "cpython", "variant": "default"}
    return [
        one
        for one in json.loads(done.stdout)
        if all(one[name] == value for name, value in known.items()) and one["libc"] != "musl"
    ]


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
