"""What a release is made from, as it was set; in a form that is safe to hand to git."""

import hashlib
import posixpath
import re
from dataclasses import dataclass, replace
from pathlib import Path

from pergola_control.git import FULL_SHA
from pergola_control.programs import text
from pergola_control.refusal import RefusalError

WORKING_TREE = "working-tree"
URL = re.compile(r"^(https|ssh|file)://.")
OPEN_URL = re.compile(r"^(http|git|ftp)://")
SCP_LIKE = re.compile(r"^[\w.-]+@[\w.-]+:.")
APP_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")


@dataclass(frozen=True)
class Settings:
    """What this release is made from, as given on the command line."""

    app: str
    source: str
    version: str
    subdirectory: str
    build: str
    config_digest: str
    cache: Path
    commit: str = ""  # what the version was for the same run a moment ago
    asgi: str = ""
    # Which of the packages are installed: a list of requirements; or extras, groups and the member
    # of a workspace.
    requirements: str = ""
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    package: str = ""
    static_dir: str = ""
    shared: tuple[str, ...] = ()  # directories that stay on the server, from the application's own
    python: str = ""
    procfile: str = ""
    settled: tuple[str, ...] = ()  # settings that are set: they win over the Procfile

    @property
    def wanted(self) -> str:
        """What git is asked for: a commit that needs no look at the server, or the version."""
        return self.commit if FULL_SHA.match(self.commit) else self.version

    @property
    def module(self) -> str:
        """The module that has the application; "" if that is not known."""
        return self.asgi.partition(":")[0]

    @property
    def room(self) -> Path:
        """The app's part of the cache."""
        return self.cache / self.app

    @property
    def mirror(self) -> Path:
        """Where the mirror of the source's URL is kept."""
        return self.mirror_of(self.source)

    def mirror_of(self, url: str) -> Path:
        """Where the mirror of a URL is kept: the source's, or a submodule's."""
        name = hashlib.sha256(url.encode()).hexdigest()[:16]
        return self.room / f"mirror-{name}.git"


def is_url(source: str) -> bool:
    """Whether a source is fetched; a path that exists is always taken as a path."""
    if URL.match(source):
        return True
    return bool(SCP_LIKE.match(source)) and not Path(source).exists()


def checked(given: Settings) -> Settings:
    """The settings, in a form that is safe to hand to git; a refusal for those that are not."""
    if not APP_NAME.match(given.app):
        raise RefusalError(f"{given.app!r} is not a name.", "app_name", "use letters and digits")
    if not re.fullmatch(r"[0-9a-f]{8,}", given.config_digest):
        raise ValueError("--config-digest must be 8 or more hexadecimal digits")
    if OPEN_URL.match(given.source):
        raise RefusalError(
            "Code fetched over an unprotected connection can be changed on its way: "
            f"{text(given.source.encode())}",
            "app_source",
            "use https:// or ssh://",
        )
    version = given.version or "HEAD"
    for setting, value in (("app_source", given.source), ("app_version", version)):
        if not value or value.startswith("-") or not value.isprintable():
            raise RefusalError(f"{value!r} cannot be used.", setting, "correct it")
    inside = posixpath.normpath(given.subdirectory or ".")
    if inside.startswith(("/", "..")):
        raise RefusalError(
            f"{given.subdirectory!r} is not inside the source.",
            "app_subdirectory",
            "set it to a path relative to the top of app_source",
        )
    lists = posixpath.normpath(given.requirements) if given.requirements else ""
    if lists.startswith("/"):
        raise RefusalError(
            f"{given.requirements!r} is not inside the source.",
            "app_requirements",
            "set it to a path from app_subdirectory",
        )
    return replace(
        given,
        requirements=lists,
        version=version,
        subdirectory="" if inside == "." else inside,
        build=given.build.strip(),
        cache=given.cache.expanduser().resolve(),
    )
