"""Commands for systemd and its programs: how they are written, limited, and how they end."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from pergola.errors import PergolaError

# What a deploy does gives way to the release that serves.
NICE = 10
TIMED_OUT = (124, 137)  # by coreutils' timeout, or by its SIGKILL


def limited(seconds: int) -> list[str]:
    """What ends a command, and all that it started, after some seconds."""
    return ["timeout", "--kill-after=5", str(seconds)]


def ended(code: int) -> str:
    """How a limited command ended."""
    return "did not end within its time limit" if code in TIMED_OUT else f"ended with {code}"


def words(command: str, setting: str) -> list[str]:
    """A command's words; an error that names the setting when quotes do not match."""
    try:
        return shlex.split(command)
    except ValueError as error:
        raise PergolaError(f"{setting}: `{command}`: {error}") from None


def unit_words(command: Sequence[str]) -> str:
    """A command as systemd's ExecStart= reads it back, word for word."""
    text = " ".join(
        '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
        for word in command
    )
    return text.replace("%", "%%").replace("$", "$$")


def unexpanded(command: Sequence[object]) -> list[str]:
    """A command for systemd-run, which would expand what belongs to the command."""
    return [str(word).replace("$", "$$") for word in command]


def quoted(value: object) -> str:
    """A value as systemd's EnvironmentFile= reads it back: double quotes, no expansion."""
    text = str(value)
    for character in '\\"`$':
        text = text.replace(character, "\\" + character)
    return f'"{text}"'


def environment_text(variables: Mapping[str, str]) -> str:
    """Variables as a file for EnvironmentFile=."""
    return "".join(f"{name}={quoted(value)}\n" for name, value in variables.items())


def credential_text(variables: Mapping[str, str]) -> str:
    """The same of those that have a secret file's path, for a shell: each unit has its own one."""
    return "".join(
        f'{variable}="$CREDENTIALS_DIRECTORY/app_{quoted(name)[1:-1]}"\n'
        for variable, name in variables.items()
    )


def with_credentials(variables: Mapping[str, str]) -> str:
    """What a shell does first, as systemd itself does not put such paths in: empty for none."""
    if not variables:
        return ""
    # In the file of the environment they stand as they are written there.
    return f"{credential_text(variables)}export {' '.join(variables)}\n"


def read_environment(path: Path) -> dict[str, str]:
    """Variables as `environment_text` has written them. A value may have several lines."""
    found = re.findall(r'^(\w+)="((?:[^"\\]|\\.)*)"$', path.read_text(), re.MULTILINE | re.DOTALL)
    return {name: re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL) for name, value in found}


def refused(lines: str) -> str:
    """What to set where the sandbox, which refuses with EPERM, may have been in the way."""
    if "operation not permitted" not in lines.lower():
        return ""
    return (
        ". Operation not permitted: is it the sandbox? app_listen_ports has the ports that it may "
        "open, app_sandbox_overrides changes the rest"
    )
