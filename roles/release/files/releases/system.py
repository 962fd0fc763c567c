"""Small helpers around systemd, files and processes."""

import os
import shlex
import subprocess
from pathlib import Path

JOURNAL_LINES = 30
UNITS = Path("/etc/systemd/system")
# What a deploy does gives way to the release that serves.
NICE = 10


class ReleaseError(Exception):
    """What went wrong in which phase; `detail` holds evidence such as the journal's last lines."""

    def __init__(self, phase: str, reason: str, detail: str = "", hint: str = "") -> None:
        super().__init__(reason)
        self.phase, self.reason, self.detail, self.hint = phase, reason, detail, hint


def systemctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemctl", "--quiet", *arguments], capture_output=True, text=True, check=False
    )


def reread_units(*units: str) -> None:
    """Have systemd reread its unit files when one of these changed since it last did."""
    if "yes" in systemctl("show", "--property=NeedDaemonReload", *units).stdout:
        systemctl("daemon-reload")


def show(unit: str, name: str) -> str:
    """One property of a unit."""
    return systemctl("show", "--property", name, "--value", unit).stdout.strip()


def left(*units: str) -> list[str]:
    """Those of some units that run, or would at the next boot."""
    found = []
    for unit in units:
        shown = systemctl("show", "--property=ActiveState,UnitFileState", "--value", unit).stdout
        if {"active", "activating", "enabled"} & set(shown.split()):
            found.append(unit)
    return found


def journal(unit: str) -> str:
    """The first and the last lines that the unit's latest invocation wrote."""
    invocation = show(unit, "InvocationID")
    wanted = [f"_SYSTEMD_INVOCATION_ID={invocation}"] if invocation else [f"--unit={unit}"]
    subprocess.run(["journalctl", "--sync"], check=False, capture_output=True)
    done = subprocess.run(
        ["journalctl", "--no-pager", "--output=cat", "--lines=1000", *wanted],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    if len(lines) > JOURNAL_LINES:  # the probes' own lines must not hide those of the start
        half = JOURNAL_LINES // 2
        lines = [*lines[:half], f"(… {len(lines) - 2 * half} lines …)", *lines[-half:]]
    return "\n".join(lines) or "(no line in the journal)"


def limited(seconds: int) -> list[str]:
    """What ends a command, and all that it started, after some seconds."""
    return ["timeout", "--kill-after=5", str(seconds)]


def ended(code: int) -> str:
    """How a limited command ended."""
    return "did not end within its time limit" if code in (124, 137) else f"ended with {code}"


def as_account(account: str) -> list[str]:
    """What runs a command as an account of the system, with nothing of root's left."""
    return ["setpriv", f"--reuid={account}", f"--regid={account}", "--init-groups"]


def last_lines(text: str) -> str:
    return "\n".join(text.splitlines()[-JOURNAL_LINES:])


def quoted(value: object) -> str:
    """A value as systemd's EnvironmentFile= reads it back: double quotes, no expansion."""
    text = str(value)
    for character in '\\"`$':
        text = text.replace(character, "\\" + character)
    return f'"{text}"'


def unit_words(command: list[str]) -> str:
    """A command as systemd's ExecStart= reads it back, word for word."""
    text = " ".join(
        '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
        for word in command
    )
    return text.replace("%", "%%").replace("$", "$$")


def words(command: str, setting: str) -> list[str]:
    """A command's words; an error that names the setting when quotes do not match."""
    try:
        return shlex.split(command)
    except ValueError as error:
        raise ReleaseError("prepare", f"{setting}: `{command}`: {error}") from None


def write(path: Path, text: str, mode: int = 0o644, group: int = 0) -> None:
    """Write a file that never exists with wider rights than it ends with, or half.

    Its name is on disk after `persist` of its directory.
    """
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        os.fchown(descriptor, 0, group)
        os.fchmod(descriptor, mode)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    fresh.replace(path)


def persist(*directories: Path) -> None:
    """Have the names in some directories outlive a power loss, without waiting for all the disk."""
    for directory in directories:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
