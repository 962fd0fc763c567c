"""What a release's lock says, installed in its virtual environment by uv."""

import contextlib
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pergola.documents import Json
from pergola.errors import PergolaError
from pergola.records import Manifest
from pergola.release import node, tree
from pergola.release.accounts import cache_of
from pergola.release.servers import OWN, PLACE, has_uvicorn, own_server
from pergola.release.workshop import Workshop
from pergola.system import account_of

LEAST = 3  # letters of a value that is hidden: shorter ones are everywhere
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

# What uv.lock says that it was made with. It may come from a developer's own configuration of uv;
# without it the server's uv would find the lock out of date. A span beats the moment beside it.
MADE_WITH = {
    "resolution-mode": "UV_RESOLUTION",
    "prerelease-mode": "UV_PRERELEASE",
    "fork-strategy": "UV_FORK_STRATEGY",
    "exclude-newer": "UV_EXCLUDE_NEWER",
    "exclude-newer-span": "UV_EXCLUDE_NEWER",
}


@dataclass(frozen=True)
class Access:
    """What opens private indexes and repositories: variables, and a .netrc for uv and git."""

    variables: Mapping[str, str] = field(default_factory=dict)
    netrc: str = ""

    @contextlib.contextmanager
    def given(self, shop: Workshop) -> Iterator[None]:
        """Have it within a build's reach, until its packages are there."""
        words = re.findall(r"\bpassword\s+(\S+)", self.netrc)
        hidden = [value for value in (*self.variables.values(), *words) if len(value) > LEAST]
        shop.hidden = sorted(hidden, key=len, reverse=True)
        path = shop.work / ".netrc"
        if self.netrc:  # nothing of the release has run that could have put a link there
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with os.fdopen(os.open(path, flags, 0o600), "w") as file:
                file.write(f"{self.netrc.strip()}\n")
                builder = account_of(shop.settings.build_user)
                os.fchown(file.fileno(), builder.pw_uid, builder.pw_gid)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


class Packages:
    """The packages of a release that is being built."""

    def __init__(self, shop: Workshop, manifest: Manifest, access: Access | None = None) -> None:
        self.shop, self.code, self.venv = shop, shop.code, shop.venv
        self.uv, self.server, self.web = shop.settings.uv, manifest.server, manifest.web
        self.node = manifest.node
        # What builds the project is fetched where its tool would do that, as by `uv sync`.
        never = ["--offline"] if manifest.exported else []
        self.own_options = [one for one in manifest.project_install_options if one not in never]
        self.lock, self.is_uvs = manifest.lock_path, manifest.installer == "uv-lock"
        self.app = self.code / manifest.directory
        self.sync = [self.uv, "sync", "--no-dev", "--no-editable"]
        self.sync += [f"--extra={name}" for name in manifest.extras]
        self.sync += [f"--group={name}" for name in manifest.groups]
        self.version = manifest.version_variables
        self.access = access or Access()
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
        if self.node:
            node.install(self.shop, self.node, cache, self.access.variables)

    @property
    def has_project(self) -> bool:
        """Whether the release itself is a package, which is installed beside what the lock says."""
        offline = "--offline" in self.own_options
        setup = os.path.lexists(self.app / "setup.py")
        text = tree.read_text(self.app, "pyproject.toml")
        if text is None:  # a link is uv's to judge
            return os.path.lexists(self.app / "pyproject.toml")
        return is_package(text, setup or not offline, self.app)

    def installed(self, cache: Path) -> bool:
        """Install what the lock says but `to_build`; False when that has grown by a package."""
        text = ""
        if not self.is_uvs:
            command = [self.uv, "pip", "sync", "--python", str(self.venv), "--require-hashes"]
            command.append("-" if self.to_build else self.lock)
            listed = tree.read_text(self.code, *self.lock.split("/")) or ""
            text = requirements_without(listed, self.to_build)
        else:
            command = [*self.sync, "--frozen", "--no-install-local"]
            command += [f"--no-install-package={name}" for name in self.to_build]
        # What is installed later finds packages and their metadata in its copy.
        copied = bool(self.to_build) or (not self.is_uvs and self.has_project)
        try:
            self.shop.run(
                ["sh", "-euc", FETCH, "sh", *command, "--no-build"],
                f"install what {self.lock} says",
                directory=self.app if self.is_uvs else self.code,
                shown=command,
                text=text if self.to_build else "",
                more=[cache],
                environment={
                    **self.access.variables,
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
        if (
            not self.web
            or self.server != "uvicorn"
            or has_uvicorn(self.venv)
            or own_server(self.venv)
        ):
            return
        install = [self.uv, "pip", "install", "--python", str(self.venv), "--no-deps", "--no-build"]
        install += ["--target", str(self.venv / PLACE), "--require-hashes", "--requirement", "-"]
        self.shop.run(
            install,
            "install Pergola's own Uvicorn, as the lock has none",
            text=OWN.read_text(),
            more=more,
            environment={
                **self.access.variables,
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
        variables = {**self.access.variables, **self.version}
        if self.is_uvs:
            listed = tree.read_text(self.code, *self.lock.split("/")) or ""
            same = {"UV_PROJECT_ENVIRONMENT": str(self.venv), **made_with(listed)}
            if self.version:  # it must reach no package but the release's own
                venv = {**same, **self.access.variables}
                others = [*self.sync, "--locked", "--no-install-local"]
                run(others, what, directory=self.app, environment=venv)
            # Not editable and in a directory of its own: uv would take stale code otherwise.
            run(
                [*self.sync, "--locked"],
                what,
                directory=self.app,
                environment={**same, **variables},
            )
            return
        target = ["--python", self.venv]
        if self.to_build:
            sync = [self.uv, "pip", "sync", *target, "--require-hashes", self.lock]
            run(sync, what, directory=self.code, environment=self.access.variables)
        if self.has_project:
            install = [self.uv, "pip", "install", *target, "--no-deps", *self.own_options, "."]
            what = "install the project itself"
            run(install, what, directory=self.app, environment=variables)


def made_with(lock: str) -> dict[str, str]:
    """The variables by which uv makes a uv.lock as it was made."""
    import tomllib  # few calls need it

    head, _, _ = lock.partition("\n[[package]]")
    try:
        options = tomllib.loads(head).get("options", {})
    except tomllib.TOMLDecodeError:  # uv says what is wrong with it
        return {}
    return {variable: str(options[key]) for key, variable in MADE_WITH.items() if key in options}


def requirements_without(text: str, without: Collection[str]) -> str:
    """A requirements.txt without the lines of some packages."""
    kept = []
    for logical in re.split(r"(?<!\\)\n", text):
        named = re.match(r"\s*([A-Za-z0-9][\w.-]*)", logical)
        if not named or canonical(named[1]) not in set(map(canonical, without)):
            kept.append(logical)
    return "\n".join(kept)


def is_package(pyproject: str, with_setuptools: bool, directory: Path | None = None) -> bool:
    """Whether a pyproject.toml describes a package, or only holds a tool's settings.

    As for uv: `[build-system]` or `tool.uv.package` says so; and for Poetry and PDM, what they say
    of it. `with_setuptools`: what pip would take without a [build-system] is at hand, and
    `[project]` is enough. One that cannot be read is left to uv, which says why.
    """
    import tomllib  # few calls need it

    try:
        found = tomllib.loads(pyproject)
    except tomllib.TOMLDecodeError:
        return True
    tools = found.get("tool", {})
    poetry, pdm = tools.get("poetry", {}), tools.get("pdm", {})
    if "package" in tools.get("uv", {}):
        return bool(tools["uv"]["package"])
    if poetry.get("package-mode") is False or pdm.get("distribution") is False:
        return False
    backend = found.get("build-system", {}).get("build-backend", "")
    if backend.startswith("poetry") and directory and not has_code(found, poetry, directory):
        return False
    return "build-system" in found or (with_setuptools and "project" in found)


def has_code(found: Json, poetry: Json, directory: Path) -> bool:
    """Whether there is what Poetry would pack: else it would fail, as by `poetry install`."""
    project = found.get("project")
    name = (project.get("name") if isinstance(project, dict) else None) or poetry.get("name")
    if "packages" in poetry or not isinstance(name, str):
        return True
    module = re.sub(r"[-_.]+", "_", name)
    forms = (module, f"src/{module}", f"{module}.py", f"src/{module}.py")
    return any(os.path.lexists(directory / form) for form in forms)


def canonical(name: str) -> str:
    """A package's name as all spellings of it compare (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
