"""Prepare: unpack the archive, build the virtual environment, collect the static files."""

import contextlib
import json
import os
import pwd
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

from releases.store import Store
from releases.system import (
    ReleaseError,
    as_account,
    ended,
    last_lines,
    limited,
    persist,
    quoted,
    write,
)

LOCK = "requirements.txt"
# What a build takes over from /etc/environment: proxies, private CAs, package index settings.
BUILD_ENVIRONMENT_PREFIXES = ("UV_", "SSL_CERT", "HTTP_", "HTTPS_", "NO_")
HIDDEN = ("environment", "secrets", "credentials")


def keep_settings(store: Store, settings: dict[str, Any]) -> bool:
    """Store how releases are made on this host; return whether that is new."""
    path, text = store.home / "settings.json", json.dumps(settings, indent=1, sort_keys=True)
    if path.exists() and path.read_text() == text:
        return False
    write(path, text, 0o600)
    store.__dict__.pop("settings", None)  # it was read for the lock, perhaps
    return True


class Build:
    """One release that is being made."""

    def __init__(self, store: Store, release: str, manifest: dict[str, Any]) -> None:
        self.store, self.settings = store, store.settings
        self.target, self.manifest = store.path(release), manifest
        self.code, self.venv = self.target / "code", self.target / "venv"
        self.archive = store.home / "incoming" / f"{release}.tar.gz"

    def make(self) -> None:
        """Make it; what an attempt before has left is thrown away."""
        self.check_disk()
        if self.target.exists():
            shutil.rmtree(self.target)
        self.unpack()
        self.install()
        self.collect_static()
        (self.venv / ".lock").unlink(missing_ok=True)  # uv leaves it writable by all
        os.sync()  # a power loss must not leave a mark on files that are not there
        write(self.target / "ready", "")
        persist(self.target)

    @property
    def python(self) -> str:
        """The interpreter by its versioned name.

        After the next release of the system `python3` is another one, while this one stays until
        it is removed: a link to `python3` would break the live release at its next start.
        """
        return str(Path(self.settings["python"]).resolve())

    def check_disk(self) -> None:
        """Refuse before anything is unpacked when the release could fill the disk."""
        with self.archive.open("rb") as packed:
            packed.seek(-4, os.SEEK_END)
            unpacked = int.from_bytes(packed.read(4), "little")
        needed = 2 * unpacked + self.settings["disk_free_mb"] * 2**20
        free = shutil.disk_usage(self.store.home).free
        if free < needed:
            raise ReleaseError(
                "prepare",
                f"{self.store.home} has {free // 2**20} MB free, "
                f"this release needs {needed // 2**20} MB",
                hint="free some space (journalctl --vacuum-size=200M, apt-get clean, old files) "
                "or lower release_disk_free_mb; nothing was unpacked",
            )

    def unpack(self) -> None:
        builder = pwd.getpwnam(self.settings["build_user"])
        runtime = pwd.getpwnam(self.settings["user"])
        self.target.mkdir(mode=0o755)
        for path in (self.code, self.venv, self.target / "assets"):
            path.mkdir(mode=0o755)
            os.chown(path, builder.pw_uid, builder.pw_gid)
        manifest = self.manifest
        environment = {
            **manifest["environment"],
            **manifest["secrets"],
            "PERGOLA_RELEASE": manifest["id"],
            "PERGOLA_COMMIT": manifest["commit"],
            "PERGOLA_ASGI": manifest["asgi"],
            "PERGOLA_DOMAIN": manifest["domain"],
            "PERGOLA_HEALTH_PATH": manifest["health_path"],
            "PERGOLA_UVICORN_OPTIONS": " ".join(manifest["uvicorn_options"]),
            "WEB_CONCURRENCY": str(manifest["workers"]),
        }
        lines = "".join(f"{name}={quoted(value)}\n" for name, value in sorted(environment.items()))
        write(self.target / "environment", lines, 0o640, runtime.pw_gid)
        (self.target / "credentials").mkdir(mode=0o700)
        for name, content in manifest["credentials"].items():
            write(self.target / "credentials" / name, content, 0o600)
        public = {key: value for key, value in manifest.items() if key not in HIDDEN}
        public["environment_names"] = sorted({**manifest["environment"], **manifest["secrets"]})
        write(self.target / "release.json", json.dumps(public, indent=1), 0o644)
        with self.archive.open("rb") as packed:
            self.run(
                ["tar", "--extract", "--gzip", "--no-same-owner", "--directory", self.code],
                "unpack the archive",
                stdin=packed,
            )

    def install(self) -> None:
        """Install exactly what the lock says; see uv's manual for the exit codes."""
        uv, python = self.settings["uv"], self.python
        self.run(
            [uv, "venv", "--quiet", "--allow-existing", "--python", python, self.venv],
            "make a venv",
        )
        if self.manifest["installer"] == "uv-lock":
            # Not editable and in a directory of its own: uv would take stale code otherwise.
            self.run(
                [uv, "sync", "--locked", "--no-dev", "--no-editable", "--compile-bytecode"],
                "install what uv.lock says",
                cwd=self.code,
                UV_PROJECT_ENVIRONMENT=str(self.venv),
                hint="if the lock is out of date: run `uv lock`, commit, deploy again",
            )
            return
        sync = [uv, "pip", "sync", "--python", self.venv, "--require-hashes", "--compile-bytecode"]
        self.run([*sync, LOCK], f"install what {LOCK} says", cwd=self.code)
        if (self.code / "pyproject.toml").exists():
            options = ["--no-deps", "--compile-bytecode", *self.manifest["project_install_options"]]
            self.run(
                [uv, "pip", "install", "--python", self.venv, *options, "."],
                "install the project itself",
                cwd=self.code,
            )

    def collect_static(self) -> None:
        """Bring the release's static files together; they are published when it goes live."""
        assets, manifest = self.target / "assets", self.manifest
        if manifest["static_dir"]:
            source = self.code / manifest["static_dir"]
            if not source.is_dir():
                raise ReleaseError(
                    "prepare",
                    f"app_static_dir '{manifest['static_dir']}' is no directory of this release",
                )
            self.run(["cp", "--recursive", "--no-target-directory", source, assets], "copy")
        if manifest["static_command"]:
            self.run(
                ["sh", "-euc", manifest["static_command"]],
                "run app_static_command",
                cwd=self.code,
                PATH=f"{self.venv / 'bin'}:/usr/bin:/bin",
                PERGOLA_RELEASE=manifest["id"],
                PERGOLA_ASSETS=str(assets),
                **{name: str(value) for name, value in manifest["environment"].items()},
            )

    def run(
        self,
        command: list[Any],
        what: str,
        cwd: Path = Path("/"),
        stdin: Any = subprocess.DEVNULL,  # noqa: ANN401 - what subprocess takes
        hint: str = "",
        **environment: str,
    ) -> None:
        """Run a command as the build account, which owns code and venv and nothing else.

        Neither root nor the app's own account runs foreign build code, and the app cannot
        write what it runs.
        """
        user = self.settings["build_user"]
        cache = f"/var/cache/{user}"
        env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": cache,
            "LANG": "C.UTF-8",
            "UV_CACHE_DIR": f"{cache}/uv",
            "UV_PYTHON": self.python,
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_PROGRESS": "1",
            **host_environment(),
            **environment,
        }
        limit = limited(self.settings["prepare_timeout_seconds"])
        done = subprocess.run(
            [*limit, *as_account(user), *map(str, command)],
            cwd=cwd,
            env=env,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ReleaseError(
                "prepare",
                f"could not {what}: `{shlex.join(map(str, command))}` {ended(done.returncode)}",
                last_lines(done.stdout),
                hint,
            )


def host_environment(path: Path = Path("/etc/environment")) -> dict[str, str]:
    """What the host's own settings say to programs that fetch something."""
    found = {}
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text().splitlines():
            name, equals, value = line.strip().removeprefix("export ").partition("=")
            if equals and name.upper().startswith(BUILD_ENVIRONMENT_PREFIXES):
                found[name] = value.strip("\"'")
    return found
