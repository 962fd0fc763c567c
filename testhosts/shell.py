"""Starting programs, locks and messages: what every other module needs."""

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

# The Debian/Ubuntu package of each program that is called.
PACKAGES = {
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "systemd-nspawn": "systemd-container",
}


class HostsError(Exception):
    """Something that the user can act on; its text is the whole message."""


def say(text: str) -> None:
    """Print progress on stderr; stdout belongs to the results."""
    print(f"testhosts: {text}", file=sys.stderr, flush=True)


def run(*argv: str | Path, stdin: str | None = None) -> str:
    """Run a program and return its stdout; raise HostsError with its stderr if it fails."""
    result = _run(argv, stdin)
    if result.returncode:
        command = " ".join(str(word) for word in argv)
        raise HostsError(f"`{command}` failed ({result.returncode}):\n{result.stderr.strip()}")
    return result.stdout


def succeeds(*argv: str | Path) -> bool:
    """Run a program whose failure is an ordinary answer; return whether it succeeded."""
    return _run(argv, None).returncode == 0


def _run(argv: Iterable[str | Path], stdin: str | None) -> subprocess.CompletedProcess[str]:
    # Without input the child gets an empty stdin: no program may wait for the caller's terminal.
    return subprocess.run(
        [str(word) for word in argv], input=stdin or "", capture_output=True, text=True, check=False
    )


def require_programs() -> None:
    """Raise HostsError naming the packages to install if a program is missing."""
    missing = [program for program in PACKAGES if shutil.which(program) is None]
    if missing:
        packages = sorted({PACKAGES[program] for program in missing})
        raise HostsError(
            f"missing: {', '.join(missing)}. Install with: apt-get install {' '.join(packages)}"
        )


@contextmanager
def lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive lock on `path`; with wait=False raise BlockingIOError if it is taken.

    The kernel lets go of it when the process ends, however it ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def remove_in_background(path: Path) -> None:
    """Delete a directory tree without making the caller wait for it."""
    subprocess.Popen(
        ["rm", "-rf", "--one-file-system", str(path)],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
