"""What a release's lock says, installed in its virtual environment by uv."""

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from pergola.errors import PergolaError
from pergola.records import Manifest
from pergola.release import tree
from pergola.release.accounts import cache_of
from pergola.release.servers import OWN, PLACE, has_uvicorn, own_server
from pergola.release.workshop import Workshop

LOCK = "requirements.txt"
# One unit for all: each costs a tenth of a second.
FETCH = """
"$UV" venv --quiet --allow-existing --python "$UV_PYTHON" "$UV_PROJECT_ENVIRONMENT"
"$@"
test -z "$COPY" || exec cp --recursive --no-target-directory "$UV_CACHE_DIR" "$COPY"
"""
# How uv says that a package has no wheel for this server.
NEEDS_BUILD = re.compile(
    r"Wheels are required for `([\w.-]+)`"
    r"|Distribution `([\w.-]+?)(?:==[^`]*| @[^`]*)?` can't be installed"
)


class Packages:
    """The packages of a release that is being built."""

    def __init__(self, shop: Workshop, manifest: Manifest) -> None:
        self.shop, self.code, self.venv = shop, shop.code, shop.venv
        self.uv, self.own_options = shop.settings.uv, manifest.project_install_options
        self.lock = "uv.lock" if manifest.installer == "uv-lock" else LOCK
        self.server = manifest.server
        self.to_build: list[str] = []  # packages of the lock that have no wheel for this server

    def fetch(self) -> None:
        """Make the virtual environment and install what needs no build, all of it by uv alone.

        Only here is the cache within reach that the next release's build starts from, for nothing
        of the release or of its packages runs here. What runs later gets a copy.
        """
        cache = cache_of(self.shop.settings.build_user)
        while not self.installed(cache):
            pass
        if not {"*", "uvicorn"} & set(self.to_build):
            self.install_server([cache])

    @property
    def has_project(self) -> bool:
        """Whether the release itself is a package, which is installed beside what the lock says."""
        offline = "--offline" in self.own_options
        setup = os.path.lexists(self.code / "setup.py")
        text = tree.read_text(self.code, "pyproject.toml")
        if text is None:  # a link is uv's to judge
            return os.path.lexists(self.code / "pyproject.toml")
        return is_package(text, setup or not offline)

    def installed(self, cache: Path) -> bool:
        """Install what the lock says but `to_build`; False when that has grown by a package."""
        text = ""
        if self.lock == LOCK:
            command = [self.uv, "pip", "sync", "--python", str(self.venv), "--require-hashes"]
            command.append("-" if self.to_build else LOCK)
            text = requirements_without(tree.read_text(self.code, LOCK) or "", self.to_build)
        else:
            command = [self.uv, "sync", "--frozen", "--no-dev", "--no-editable"]
            command.append("--no-install-local")
            command += [f"--no-install-package={name}" for name in self.to_build]
        # What is installed later finds packages and their metadata in its copy.
        copied = bool(self.to_build) or (self.lock == LOCK and self.has_project)
        try:
            self.shop.run(
                ["sh", "-euc", FETCH, "sh", *command, "--no-build"],
                f"install what {self.lock} says",
                directory=self.code,
                shown=command,
                text=text if self.to_build else "",
                more=[cache],
                environment={
                    "UV": self.uv,
                    "UV_CACHE_DIR": str(cache),
                    "UV_LINK_MODE": "copy",
                    "UV_PROJECT_ENVIRONMENT": str(self.venv),
                    "COPY": str(self.shop.work / "cache") if copied else "",
                },
            )
        except PergolaError as error:
            built = NEEDS_BUILD.search(" ".join(error.evidence.split()))
            name = built and (built[1] or built[2])
            if name and name not in self.to_build:
                self.to_build.append(name)
                return False
            if "--no-build" not in error.evidence:
                raise
            self.to_build.append("*")  # one without a name: all of it is left to what follows
        return True

    def install_server(self, more: Sequence[Path] = ()) -> None:
        """Install Pergola's own Uvicorn where the release has none, out of its packages' way."""
        if self.server != "uvicorn" or has_uvicorn(self.venv) or own_server(self.venv):
            return
        install = [self.uv, "pip", "install", "--python", str(self.venv), "--no-deps", "--no-build"]
        install += ["--target", str(self.venv / PLACE), "--require-hashes", "--requirement", "-"]
        self.shop.run(
            install,
            "install Pergola's own Uvicorn, as the lock has none",
            text=OWN.read_text(),
            more=more,
            environment={
                "UV_LINK_MODE": "copy",
                **({"UV_CACHE_DIR": str(more[0])} if more else {}),
            },
        )

    def build(self) -> None:
        """Install the rest: what has to be built.

        From here on code of packages and of the release may run. See uv's manual for the exit
        codes.
        """
        self.build_packages()
        self.install_server()

    def build_packages(self) -> None:
        run, what = self.shop.run, f"install what {self.lock} says"
        if self.lock != LOCK:
            # Not editable and in a directory of its own: uv would take stale code otherwise.
            run(
                [self.uv, "sync", "--locked", "--no-dev", "--no-editable"],
                what,
                directory=self.code,
                environment={"UV_PROJECT_ENVIRONMENT": str(self.venv)},
            )
            return
        target = ["--python", self.venv]
        if self.to_build:
            sync = [self.uv, "pip", "sync", *target, "--require-hashes", LOCK]
            run(sync, what, directory=self.code)
        if self.has_project:
            install = [self.uv, "pip", "install", *target, "--no-deps", *self.own_options, "."]
            run(install, "install the project itself", directory=self.code)


def requirements_without(text: str, without: Collection[str]) -> str:
    """A requirements.txt without the lines of some packages."""
    kept = []
    for logical in re.split(r"(?<!\\)\n", text):
        named = re.match(r"\s*([A-Za-z0-9][\w.-]*)", logical)
        if not named or canonical(named[1]) not in set(map(canonical, without)):
            kept.append(logical)
    return "\n".join(kept)


def is_package(pyproject: str, with_setuptools: bool) -> bool:
    """Whether a pyproject.toml describes a package, or only holds a tool's settings.

    As for uv: `[build-system]` or `tool.uv.package` says so. `with_setuptools`: what pip would take
    without a [build-system] is at hand, and `[project]` is enough. One that cannot be read is left
    to uv, which says why.
    """
    import tomllib  # few calls need it

    try:
        found = tomllib.loads(pyproject)
    except tomllib.TOMLDecodeError:
        return True
    tool = found.get("tool", {}).get("uv", {})
    if "package" in tool:
        return bool(tool["package"])
    return "build-system" in found or (with_setuptools and "project" in found)


def canonical(name: str) -> str:
    """A package's name as all spellings of it compare (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
