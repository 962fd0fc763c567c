"""Small helpers: commands, files, and what is said to whom."""

import contextlib
import os
import pwd
import shlex
import subprocess
import syslog
from collections.abc import Mapping
from pathlib import Path

LINES_SHOWN = 25


class UpgradeError(Exception):
    """What went wrong; `detail` holds evidence, `hint` what to do next."""

    def __init__(self, reason: str, detail: str = "", hint: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail, self.hint = reason, detail, hint

    def __str__(self) -> str:
        return "\n".join(filter(None, [self.reason, self.detail, self.hint]))


def say(text: str) -> None:
    """Tell whoever called, who may be gone, and the journal (`journalctl -t pergola-upgrade`)."""
    syslog.openlog("pergola-upgrade")
    for line in text.splitlines():
        syslog.syslog(line)
    with contextlib.suppress(OSError):
        print(text, flush=True)


def run(
    *command: object,
    account: str = "",
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a command as root or as an account; return what it said, or raise UpgradeError."""
    done = attempt(*command, account=account, stdin=stdin, environment=environment)
    if done.returncode:
        said = last_lines(done.stdout + done.stderr)
        raise UpgradeError(f"`{shlex.join(map(str, command))}` ended with {done.returncode}", said)
    return done.stdout


def attempt(
    *command: object,
    account: str = "",
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """The same for a command that may fail."""
    become = ["runuser", "-u", account, "--"] if account else []
    return subprocess.run(
        [*become, *map(str, command)],
        cwd="/",
        env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


def systemctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return attempt("systemctl", "--quiet", *arguments)


def show(unit: str, name: str) -> str:
    """One property of a unit."""
    return systemctl("show", f"--property={name}", "--value", unit).stdout.strip()


def journal(unit: str) -> str:
    """The last lines that a unit wrote."""
    lines = f"--lines={LINES_SHOWN}"
    return attempt("journalctl", "--no-pager", "--output=cat", lines, f"--unit={unit}").stdout


def start(unit: str) -> None:
    """Start a unit, or say why it does not."""
    systemctl("reset-failed", unit)
    if systemctl("start", unit).returncode:
        raise UpgradeError(f"{unit} does not start", journal(unit))


def last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-LINES_SHOWN:])


def write(path: Path, text: str, mode: int = 0o644, owner: str = "root", group: str = "") -> None:
    """Write a file that is never there half, and outlives a power loss."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    account = pwd.getpwnam(owner)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        gid = pwd.getpwnam(group).pw_gid if group else account.pw_gid
        os.fchown(descriptor, account.pw_uid, gid)
        os.fchmod(descriptor, mode)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    fresh.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(directory)
    os.close(directory)
