"""Make the archive of one release from an app's source, on the control node.

The source is a git URL, a local clone or a plain directory. The archive holds one commit (or the
directory's files as they are), is the same byte for byte whenever it is made from the same input,
and is kept in a cache, so that deploying a commit again neither fetches nor builds anything twice.

Prints one JSON object on stdout. Whatever the user can fix ends as text on stderr and exit 1:
what is wrong, which setting it is, and what to do next.
"""

import argparse
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pergola_control.programs import text
from pergola_control.refusal import refusals_told
from pergola_control.source.archives import (
    archive_path,
    locked,
    made,
    prune,
    refuse_without_static,
    reusable,
)
from pergola_control.source.directories import refuse_code, static_path
from pergola_control.source.forms import form_of
from pergola_control.source.needs import needs
from pergola_control.source.packages import Packages
from pergola_control.source.procfile import taken
from pergola_control.source.pythons import asked
from pergola_control.source.servers import refuse_missing
from pergola_control.source.settings import WORKING_TREE, Settings, checked
from pergola_control.source.shared import refuse_in_the_way, shared_paths
from pergola_control.source.tags import version_variables
from pergola_control.source.versions import resolved
from pergola_control.source.web import Rules


def release_of(settings: Settings, plan: bool, server: str = "") -> dict[str, object]:
    """Resolve the version and, unless it is only planned, provide its archive."""
    with locked(settings.room):
        release, warnings = resolved(settings)
        form = form_of(release, settings)
        packages = Packages(release, form, settings)
        python, told = asked(release, settings)
        warnings += told
        static = static_path(release.directory, settings)
        if not settings.build:  # else it may make or fetch them
            release.refuse_pointers()
            refuse_without_static(static, release.has_directory(static))
        refuse_code(release.directory, settings, release.names)
        refuse_in_the_way(shared_paths(settings, release.directory), release.names)
        result: dict[str, object] = {
            "id": f"{release.short}-{settings.config_digest[:8]}",
            "commit": release.commit,
            "version": settings.version,
            "describe": release.describe,
            "date": release.date,
            "source": text(settings.source.encode()),
            "installer": form.installer,
            "lock": form.lock,
            "lock_made_from": form.said,
            "root": release.subdirectory,
            "directory": release.directory,
            "needs": list(form.needs),
            "exported": form.exported,
            "python": python.result,
            "system_packages": asdict(needs(packages)),
            "version_variables": version_variables(release),
        }
        refuse_missing(server, packages)
        rules = Rules(settings.asgi, settings.settled, packages.has)
        found = taken(release.read, release.directory, settings.procfile, rules)
        if found.settings:  # they make the release, as settings do
            digest = settings.config_digest + json.dumps(found.settings, sort_keys=True)
            result["id"] = f"{release.short}-{hashlib.sha256(digest.encode()).hexdigest()[:8]}"
        result["procfile"] = {"settings": found.settings, "said": found.said}
        if plan:
            return result | {"warnings": warnings}
        path = archive_path(settings, release, form)
        archive = reusable(path) or made(settings, release, form, path)
        prune(settings.room, path)
        return result | archive.result | {"warnings": warnings + archive.warnings}


def comma(text: str) -> tuple[str, ...]:
    """The names of a list."""
    return tuple(filter(None, text.split(",")))


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("source", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--app", required=True, help="the app's name, a directory of the cache")
    parser.add_argument("--source", required=True, help="git address, clone or directory")
    parser.add_argument(
        "--version", default="HEAD", help=f"tag, branch, commit or {WORKING_TREE} (default: HEAD)"
    )
    parser.add_argument("--commit", default="", help="the commit that the version is known to be")
    parser.add_argument("--subdirectory", default="", help="where the app is in its source")
    parser.add_argument("--build", default="", help="shell command run in the fresh checkout")
    parser.add_argument("--asgi", default="", help="the application's module and name")
    parser.add_argument("--requirements", default="", help="the list of packages to install")
    for name in ("extras", "groups"):
        parser.add_argument(f"--{name}", default=(), type=comma, help="of the project, with ,")
    parser.add_argument("--package", default="", help="the member of a uv workspace")
    parser.add_argument("--static-dir", default="", help="a directory that must be in it")
    parser.add_argument("--shared", default=(), type=comma, help="directories that stay, with ,")
    parser.add_argument("--python", default="", help="the version of Python: app_python")
    parser.add_argument("--procfile", default="", help="the application's Procfile")
    parser.add_argument("--settled", default=(), type=comma, help="settings that win over it")
    parser.add_argument("--server", default="", help="what serves it: app_server")
    parser.add_argument("--config-digest", required=True, help="hex digest of the environment")
    parser.add_argument("--cache", required=True, type=Path, help="directory for archives, mirrors")
    parser.add_argument("--plan", action="store_true", help="only resolve: no archive, no build")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    """Print the release as JSON, or what keeps it from being made."""
    given = vars(parsed(argv))
    plan, server = given.pop("plan"), given.pop("server")
    os.umask(0o022)
    with refusals_told():
        print(json.dumps(release_of(checked(Settings(**given)), plan, server)))
