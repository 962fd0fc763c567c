"""The application's build command, run in a fresh checkout on the control node."""

import os
import subprocess
import tempfile
from pathlib import Path

from pergola_control.programs import run, text
from pergola_control.refusal import LimitExceededError, RefusalError

BUILD_LIMIT = 600  # seconds
BUILD_OUTPUT_LINES = 30

# A build sees these of our environment and nothing else: what it needs to reach mirrors and caches.
BUILD_VARIABLES = frozenset(
    {
        "HOME",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "LANG",
        "LC_ALL",
        "NODE_EXTRA_CA_CERTS",
        "NO_PROXY",
        "PATH",
        "REQUESTS_CA_BUNDLE",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "TMPDIR",
        "XDG_CACHE_HOME",
    }
)
SYSTEM_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
BUILD_PREFIXES = ("NPM_CONFIG_", "PIP_", "UV_")


def build(command: str, directory: Path, commit_time: int) -> None:
    """Run the app's build command in a directory; a refusal with its last lines when it fails."""
    env = {name: value for name, value in os.environ.items() if passed_on(name)}
    env |= {"SOURCE_DATE_EPOCH": str(commit_time)}
    if SYSTEM_AUTHORITIES.exists():  # Node alone does not ask the system whom to trust
        env.setdefault("NODE_EXTRA_CA_CERTS", str(SYSTEM_AUTHORITIES))
    with tempfile.TemporaryFile() as output:
        try:
            done = run(
                ("sh", "-c", command),
                cwd=directory,
                env=env,
                limit=BUILD_LIMIT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            problem = f"exit {done.returncode}" if done.returncode else ""
        except LimitExceededError as error:
            problem = str(error)
        if not problem:
            return
        output.seek(0)
        lines = text(output.read()).splitlines()[-BUILD_OUTPUT_LINES:]
    raise RefusalError(
        f"The build failed ({problem}): {command}\n" + "\n".join(f"  | {line}" for line in lines),
        "app_build_command",
        "run it in a fresh clone of the app and fix what it says",
    )


def passed_on(name: str) -> bool:
    """Whether a build sees a variable of our environment (proxies come in either case)."""
    return name.upper() in BUILD_VARIABLES or name.upper().startswith(BUILD_PREFIXES)
