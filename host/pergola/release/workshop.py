"""Where a release is built: its directories, and commands run there as the build account."""

import contextlib
import os
import re
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from pergola.errors import PergolaError
from pergola.people import last_lines
from pergola.release.releases import Releases
from pergola.release.sandbox import KILLED, SETUP_FAILED, Sandbox

HOST_ENVIRONMENT = Path("/etc/environment")
# What a build takes over from it: proxies, private CAs, package index settings.
PREFIXES = ("UV_", "SSL_CERT", "HTTP_", "HTTPS_", "NO_", "NPM_CONFIG_")
# What uv or a build says, and what its reader can do about it.
HINTS = (
    (
        r"\b40[13] (Unauthorized|Forbidden)|authentication credentials|could not read Username"
        r"|Authentication failed|Invalid username or (password|token)|Missing credentials",
        "a package index or a repository refused the server: give it access by app_build_secrets "
        "(uv's UV_INDEX_<NAME>_USERNAME and _PASSWORD) or app_build_netrc, from vault.yml, and "
        "deploy again",
    ),
    (
        r"\b(node|npm|npx|pnpm|yarn): (command )?not found",
        'the server has no Node of its own: app_node: "24" brings it for app_static_command',
    ),
    (
        r"not found in the cache|network (was|is) disabled",
        "what builds the project is not in its list of packages: add what [build-system] requires "
        "there, or set app_project_install_options: [], and deploy again",
    ),
    (
        r"Git executable not found|`git` was not found|git: not found",
        "the lock has a package from git, and the server has no git: deploy.yml installs it",
    ),
    (
        r"lockfile .* needs to be updated|Failed to parse `uv\.lock`|Missing version field",
        "the lock is out of date: run `uv lock`, commit, deploy again",
    ),
    (
        r"[Hh]ash mismatch|hashes do not match",
        "the index has another file than the lock was made with: make the lock again, commit, and "
        "deploy again",
    ),
    (
        r"dns error|error sending request|Failed to fetch|Connection refused|operation timed out",
        "the server did not reach the package index: see base_http_proxy, base_python_index_url "
        "and base_ca_certificates in settings.yml, then deploy again",
    ),
    (
        r"does not satisfy Python|incompatible with the project's Python requirement"
        r"|requires-python|Requires-Python",
        "a package of the lock is for other versions of Python than this release's: set app_python "
        "to one that it allows, and deploy again",
    ),
    (
        r"pg_config executable not found|mysql_config|pkg-config|Python\.h: No such file"
        r"|(\b(gcc|cc)\b|[cg]\+\+)\W*(command )?(failed: )?(not found|No such file)"
        r"|No such file or directory: '[\w.-]*\b(gcc|cc|[cg]\+\+)'|need a C compiler",
        "a package of the lock has no wheel, and the server lacks what compiles it: set "
        "app_system_packages, such as [gcc, python3-dev, libpq-dev] for psycopg2, or lock a "
        "package that has wheels (psycopg2-binary), and deploy again",
    ),
    (r"No space left on device", "make room on the server (df -h), then deploy again"),
)


class Workshop:
    """The directories of a release that is being built, and what runs in them.

    They are seen as one mount, so that a command may move files from one to the other.
    """

    def __init__(self, releases: Releases, target: Path, interpreter: str = "") -> None:
        self.settings, self.interpreter = releases.settings, interpreter
        self.code, self.venv = target / "code", target / "venv"
        self.assets, self.work = target / "assets", target / "work"
        self.directories = (self.code, self.venv, self.assets, self.work)
        self.sandbox = Sandbox(releases, [target], host_environment())
        self.hidden: list[str] = []  # what no message may show

    @property
    def python(self) -> str:
        """The interpreter by its versioned name.

        After the next release of the system `python3` is another one, while this one stays until
        it is removed: a link to `python3` would break the live release at its next start.
        """
        return str(Path(self.interpreter or self.settings.python).resolve())

    def run(
        self,
        command: Sequence[object],
        what: str,
        *,
        directory: Path = Path("/"),
        environment: Mapping[str, str] | None = None,
        text: str = "",
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        shown: Sequence[object] = (),
        more: Sequence[Path] = (),
    ) -> None:
        """Run a command as the build account, in the sandbox; PergolaError "could not `what`".

        `more` it may write beside; `shown` is what a failure calls it, `text` its standard input.
        Neither root nor the app's own account runs foreign build code, and the app cannot
        write what it runs.
        """
        variables = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.work),
            "LANG": "C.UTF-8",
            "UV_PYTHON": self.python,
            "UV_PYTHON_DOWNLOADS": "never",
            # A project's own preference would have uv make the environment again, in place of ours.
            "UV_PYTHON_PREFERENCE": "system",
            "UV_NO_PROGRESS": "1",
            **self.sandbox.host,
            "UV_CACHE_DIR": str(self.work / "cache"),
            **(environment or {}),
        }
        began = time.monotonic()
        with contextlib.ExitStack() as stack:
            if text:
                stdin = stack.enter_context(os.fdopen(os.memfd_create("stdin"), "w+b"))
                stdin.write(text.encode())
                stdin.seek(0)
            code, output = self.sandbox.run(command, directory, variables, more=more, stdin=stdin)
        for secret in self.hidden:
            output = output.replace(secret, "****")
        if code:
            took = time.monotonic() - began
            how = outcome(code, took >= self.settings.prepare_timeout_seconds)
            raise PergolaError(
                f"could not {what}: `{shlex.join(map(str, shown or command))}` {how}",
                last_lines(output),
                hint=hint(output),
            )


def hint(output: str) -> str:
    """What to do about a failed build, by what it printed; "" if that is not known."""
    text = " ".join(output.split())
    return next((says for form, says in HINTS if re.search(form, text)), "")


def outcome(code: int, too_long: bool) -> str:
    """How a command in the sandbox ended, for a person."""
    if too_long:
        return "did not end within its time limit"
    if code in SETUP_FAILED:
        return f"ended with {code}; journalctl --lines 50 says what systemd could not set up"
    if code == KILLED:
        more = "app_build_sandbox_overrides: {MemoryMax: …} allows more"
        return f"ended with {code}, or was killed; if it took too much memory: {more}"
    return f"ended with {code}"


def host_environment(path: Path = HOST_ENVIRONMENT) -> dict[str, str]:
    """What the host's own settings say to programs that fetch something."""
    found = {}
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text().splitlines():
            name, equals, value = line.strip().removeprefix("export ").partition("=")
            if equals and name.upper().startswith(PREFIXES):
                found[name] = value.strip("\"'")
    return found
