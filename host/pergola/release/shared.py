"""Directories that stay: each release has links to them where the application expects them.

/srv/<app>/shared/<path>    the application's own; what is above it is root's

They are on the server before a release is made (role app). What the repository has in the place of
one goes into it when it is empty, which is once.
"""

import os
from pathlib import Path

from pergola.errors import PergolaError
from pergola.people import last_lines
from pergola.release.commands import limited
from pergola.release.releases import Releases
from pergola.release.tree import remove
from pergola.release.units import transient
from pergola.system import attempt

# With these alone git keeps a directory that has nothing in it.
PLACEHOLDERS = {".gitkeep", ".gitignore", ".keep"}


def share(releases: Releases, release: str) -> list[str]:
    """Put the links into a release, which is root's by now; what was copied, in words."""
    manifest = releases.manifest(release)
    top = (releases.path(release) / "code").resolve()
    said = []
    for path in manifest.shared_directories:
        kept = releases.home / "shared" / path
        place = top / manifest.directory / path
        if not kept.is_dir():
            raise PergolaError(
                f"there is no directory {kept} (app_shared_directories)",
                hint="deploy.yml makes it: run that again",
            )
        refuse_in_the_way(place, path)
        if place.is_dir():
            said += copied(releases, release, place, kept)
            remove(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(kept)
    return said


def refuse_in_the_way(place: Path, path: str) -> None:
    """The control node has looked at what the repository has; a build may have made something."""
    leads_elsewhere = place.is_symlink() or place.parent.resolve() != place.parent
    if leads_elsewhere or any(one.is_file() for one in (place, *place.parents)):
        raise PergolaError(
            f"{path} of app_shared_directories is a file or a link in the release, or inside one",
            hint="name another directory, or take that out of the repository; nothing was changed",
        )


def copied(releases: Releases, release: str, source: Path, kept: Path) -> list[str]:
    """Copy what the repository has into an empty directory, as the application, in its sandbox.

    It may write there meanwhile, and root follows no link that it could make.
    """
    count = sum(len(set(names) - PLACEHOLDERS) for _, _, names in os.walk(source))
    if not count or any(kept.iterdir()):
        return []
    limit = releases.settings.prepare_timeout_seconds
    command = [*limited(limit), "cp", "-R", "--no-target-directory", str(source), str(kept)]
    done = attempt(*transient(releases, release, command, "--pipe"), merged=True)
    if done.returncode:
        raise PergolaError(
            f"could not copy the repository's files into {kept}",
            last_lines(done.stdout),
            hint=f"correct that, empty {kept}, which was empty before, and deploy again",
        )
    return [
        f"{kept} was empty and has the {count} file{'s' if count > 1 else ''} of the repository "
        "now; from here on they are the application's, whatever the repository has"
    ]
