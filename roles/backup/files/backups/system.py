"""Small helpers around processes and files."""

import datetime
import json
import os
import subprocess
from pathlib import Path
from typing import Any

STATE = Path("/var/lib/pergola")
LINES = 20


class BackupError(Exception):
    """What went wrong; `detail` holds evidence, as a program's last lines, `hint` what to do."""

    def __init__(self, reason: str, detail: str = "", hint: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail, self.hint = reason, detail, hint

    def report(self) -> str:
        return "\n".join(filter(None, [self.reason, self.detail, self.hint]))


def as_postgres(*command: str, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program as PostgreSQL's account, with nothing of root's left."""
    account = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--reset-env"]
    return subprocess.run(
        [*account, *command],
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def checked(done: subprocess.CompletedProcess[str], what: str, hint: str = "") -> str:
    """What a program printed; BackupError with its last lines when it failed."""
    if done.returncode:
        raise BackupError(
            f"{what} ended with {done.returncode}", last_lines(done.stdout + done.stderr), hint
        )
    return done.stdout


def last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-LINES:])


def systemctl(*arguments: str) -> str:
    """What systemctl printed, whatever came of it."""
    done = subprocess.run(
        ["systemctl", "--no-ask-password", *arguments], capture_output=True, text=True, check=False
    )
    return done.stdout


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def stamp(moment: datetime.datetime | float) -> str:
    """A moment, or seconds since 1970, as people and PostgreSQL read it: UTC, to the second."""
    if not isinstance(moment, datetime.datetime):
        moment = datetime.datetime.fromtimestamp(moment, datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S+00")


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file that never exists half."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def add_line(path: Path, entry: dict[str, Any]) -> None:
    """Add a line of JSON to a file."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(entry) + "\n")
        file.flush()
        os.fsync(file.fileno())


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The entries of a file of JSON lines, the oldest first."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
