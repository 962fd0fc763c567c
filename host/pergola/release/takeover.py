"""What an earlier Pergola has left: releases of its build account's, static files, its program.

Its build account owned the releases' code and the static files. They are made root's where they
are, the live one while it serves: directories stay, and a file is replaced by a copy at once.
Packages that earlier builds kept for later ones are thrown away.
"""

import contextlib
import os
import shutil
import stat
from pathlib import Path

from pergola.errors import PergolaError
from pergola.release import assets, tree
from pergola.release.accounts import cache_of, end_all_of
from pergola.release.releases import COLOURS, Releases
from pergola.system import account_of

PROC = Path("/proc")
INTERPRETED = 3  # words at the start of a command line: interpreter, option, program


def take_over(releases: Releases) -> bool:
    """Make root's what an earlier Pergola made; return whether there was anything."""
    remove_program(releases.home)
    top = releases.home / "releases"
    earlier = [path for path in sorted(top.iterdir()) if is_earlier(path)] if top.exists() else []
    if not earlier:
        return False
    try:
        builder = account_of(releases.settings.build_user)
        user = account_of(releases.settings.user)
        end_all_of(builder.pw_name)
        for path in earlier:
            names = [name for name in ("code", "venv", "assets") if (path / name).is_dir()]
            seal = tree.Seal(path, {0, builder.pw_uid})
            seal.make(*names, plain="assets")
        serve_again(releases, earlier)
        cache = cache_of(builder.pw_name)
        for path in cache.parent.iterdir():
            if path != cache:
                tree.remove(path)
        for path in earlier:  # last, for this says that it is done
            os.chown(path, 0, user.pw_gid)
            path.chmod(0o750)
    except OSError as error:
        raise PergolaError(
            f"releases of an earlier Pergola could not be made root's: {error}",
            hint="nothing that serves was changed; once its cause is gone, run again",
        ) from error
    return True


def is_earlier(path: Path) -> bool:
    """Whether others than root and the application can read a finished release."""
    return (path / "ready").exists() and bool(path.stat().st_mode & 0o005)


def serve_again(releases: Releases, earlier: list[Path]) -> None:
    """Publish the releases' static files in a new directory: who filled the old one is unknown."""
    shared, fresh = releases.home / "assets", releases.home / ".assets"
    tree.remove(fresh)
    fresh.mkdir(mode=0o755)
    slots = [releases.in_slot(colour) for colour in COLOURS]
    # The last one wins where two differ: the live one.
    names = sorted(path.name for path in earlier) + [
        name for name in (*slots, releases.live()) if name
    ]
    for name in names:
        if (releases.path(name) / "assets").is_dir():
            assets.publish(releases.path(name) / "assets", fresh)
    assets.exchange(fresh, shared)
    tree.remove(fresh)


def keep_assets(releases: Releases, release: str) -> None:
    """Let a release of the first form have the static files that it published, keeping none.

    Only by that are they kept while it is, and there again when it is rolled back to.
    """
    manifest = releases.manifest(release)
    own, published = releases.path(release) / "assets", releases.home / "assets"
    if not (manifest.static_dir or manifest.static_command):
        return
    if own.exists() or not published.is_dir():
        return
    own.mkdir(mode=0o755)
    for folder, folders, files, descriptor in os.fwalk(published):
        beside = own / Path(folder).relative_to(published)
        for name in folders:
            (beside / name).mkdir(mode=0o755, exist_ok=True)
        for name in files:
            os.link(name, beside / name, src_dir_fd=descriptor, follow_symlinks=False)
            if not stat.S_ISREG((beside / name).lstat().st_mode):
                (beside / name).unlink()


# -- the program -----------------------------------------------------------------------------------


def remove_program(home: Path) -> None:
    """Remove the modules that an earlier program had below its application, if nothing uses them.

    Whatever else was called by this application's name may still be starting with them: they go
    with a later deploy then.
    """
    modules = home / "lib/releases"
    if modules.is_dir() and not others_at_work(home / "bin/release"):
        shutil.rmtree(modules, ignore_errors=True)


def others_at_work(program: Path) -> list[int]:
    """The processes that were started by an earlier program's name."""
    found = []
    for process in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if os.fsencode(program) in words[:INTERPRETED]:
                found.append(int(process.name))
    return found
