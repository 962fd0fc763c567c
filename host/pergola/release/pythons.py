"""Pythons that uv has brought: one place for all applications, each for as long as one needs it.

/opt/pergola/python/
  cpython-3.12.4-linux-x86_64-gnu/   root's, and readable for all; a release's manifest names it
"""

import contextlib
import fcntl
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pergola import apps
from pergola.documents import Json
from pergola.errors import PergolaError
from pergola.people import last_lines
from pergola.records import MANIFEST, Settings
from pergola.release.commands import ended, limited
from pergola.release.workshop import host_environment

PLACE = Path("/opt/pergola/python")
LOCK = Path("/run/pergola/python")
NEEDED = 500 * 2**20  # bytes, of a build and its archive
# What uv leaves beside: links that the next one of a minor version would move, and a lock that
# every account could hold.
LEFT = ("cpython-*", ".lock", ".temp", ".gitignore")


def bring(interpreter: str, settings: Settings, mirror: str, builds: Json) -> None:
    """Have uv bring an interpreter of PLACE that is not there; PergolaError if it cannot."""
    path = Path(interpreter)
    if not path.is_relative_to(PLACE):
        return
    key = path.relative_to(PLACE).parts[0]
    with alone(), tempfile.TemporaryDirectory() as home:
        if path.exists():
            return
        PLACE.mkdir(mode=0o755, parents=True, exist_ok=True)
        refuse_without_room()
        command = [settings.uv, "python", "install", "--no-bin", "--no-config", "--no-cache"]
        done = subprocess.run(
            [*limited(settings.prepare_timeout_seconds), *command, "--install-dir", PLACE, key],
            env=environment(Path(home), mirror, builds),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        tidy()
        if done.returncode or not path.exists():
            # What it has refused, or not made whole, must not be found by the next one.
            shutil.rmtree(PLACE / key, ignore_errors=True)
            raise PergolaError(
                f"uv could not bring {key}: it {ended(done.returncode)}",
                last_lines(done.stdout),
                hint=hint(done.stdout),
            )


def refuse_without_room() -> None:
    free = shutil.disk_usage(PLACE).free
    if free < NEEDED:
        raise PergolaError(
            f"{PLACE} has {free // 2**20} MB free, a Python needs {NEEDED // 2**20} MB",
            hint="free some space (journalctl --vacuum-size=200M, apt-get clean, old files)",
        )


def environment(home: Path, mirror: str, builds: Json) -> dict[str, str]:
    """How uv is told where to fetch from: it knows the checksums of its own builds."""
    found = {"PATH": "/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8", "UV_NO_PROGRESS": "1"}
    found |= host_environment()
    if mirror:
        found["UV_PYTHON_INSTALL_MIRROR"] = mirror
    if builds:
        file = home / "builds.json"
        file.write_text(json.dumps(builds))
        found["UV_PYTHON_DOWNLOADS_JSON_URL"] = str(file)
    return found


def hint(output: str) -> str:
    if "Hash mismatch" in output:
        return "the mirror has another file than uv knows by its checksum: see app_python_mirror"
    return (
        "the server must reach a mirror of uv's builds (app_python_mirror), or let the application "
        "run on the server's own Python (app_python)"
    )


def prune() -> list[str]:
    """Remove those that no release of any application has; their names."""
    if not PLACE.exists():
        return []
    with alone(), contextlib.suppress(PergolaError):  # all stay while a manifest cannot be read
        kept = {path.relative_to(PLACE).parts[0] for path in needed()}
        gone = [one for one in PLACE.glob("cpython-*") if one.name not in kept]
        for path in gone:
            shutil.rmtree(path)
        return [path.name for path in gone]
    return []


def needed() -> Iterator[Path]:
    """The interpreters of PLACE that releases have, those that are being made among them."""
    for app in apps.every():
        for file in app.home.glob("releases/*/release.json"):
            found = MANIFEST.read(file)
            path = Path(found.interpreter if found else "")
            if path.is_relative_to(PLACE) and path != PLACE:
                yield path


def tidy() -> None:
    """Take away what uv leaves beside the builds."""
    for path in (path for form in LEFT for path in PLACE.glob(form)):
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.name == ".temp":
            shutil.rmtree(path)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Wait until no other application's Python is brought or removed."""
    LOCK.parent.mkdir(mode=0o755, exist_ok=True)
    with LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def asked(interpreter: str, code: str) -> str:
    """What a line of code prints with an interpreter that is root's."""
    done = subprocess.run(
        [interpreter, "-I", "-S", "-c", code], capture_output=True, text=True, check=False, cwd="/"
    )
    if done.returncode:
        raise PergolaError(f"{interpreter} does not run", last_lines(done.stderr))
    return done.stdout.strip()
