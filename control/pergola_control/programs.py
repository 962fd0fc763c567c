"""Running programs, and what they say in words for people."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from pergola_control.refusal import LimitExceededError

LISTED = 5  # names given in a message before "and N more"
CREDENTIALS = re.compile(r"(://)[^/@\s]+@")


def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: dict[str, str],
    limit: float,
    stdout: IO[bytes] | int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    stdin: bytes | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program without a terminal for at most `limit` seconds; LimitExceededError after that.

    It gets its own process group, so that what it started (ssh, npm) ends with it.
    """
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(stdin, timeout=limit)
    except subprocess.TimeoutExpired:
        raise LimitExceededError(f"no end after {limit:.0f} s") from None
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return subprocess.CompletedProcess(argv, process.returncode, out or b"", err or b"")


def text(raw: bytes) -> str:
    """A program's message for a person: without credentials in addresses."""
    return without_credentials(raw.decode(errors="replace").strip())


def without_credentials(shown: str) -> str:
    """A text whose addresses have lost their names and passwords."""
    return CREDENTIALS.sub(r"\1", shown)


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def unread(command: str) -> str:
    """Why no shell can read a command, without running it; "" if one can."""
    shell = shutil.which("bash") or "sh"  # the larger language of the two
    done = subprocess.run([shell, "-n", "-c", command], capture_output=True, text=True, check=False)
    if not done.returncode:
        return ""
    first = (done.stderr.splitlines() or ["?"])[0]
    return re.sub(r"^.*?: (line )?\d+: ", "", first)
