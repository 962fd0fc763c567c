"""The directories that stay, beside an application's releases, and what visitors see of them.

/srv/<app>/shared/<path>    the application's own; what is above it is root's
/srv/<app>/public/<path>    the same for Caddy: read only, and no link in it is followed

An application can make links in its own directories, and Caddy would follow them to wherever it may
read itself, such as to the keys of all sites: so it gets them through mounts that follow none.
Their owners and modes are in tmpfiles' file of the application.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pergola.errors import PergolaError
from pergola.system import (
    UNITS,
    account_of,
    disable,
    enable,
    journal,
    opened_folder,
    run,
    systemctl,
    write,
)

CADDY = "caddy"  # its account


@dataclass(frozen=True)
class Directory:
    """One of them. `public`: the site's path at which Caddy serves it; empty: it does not."""

    path: str
    public: str = ""


MOUNT = """# Made by Pergola; do not edit.
[Unit]
Description={app}, what visitors may see of {path}
Before=caddy.service

[Mount]
What={what}
Where={where}
Type=none
LazyUnmount=yes
Options=bind,ro,nosymfollow,nodev,nosuid,noexec

[Install]
WantedBy=multi-user.target
"""


def unit_of(path: Path) -> str:
    """The name that systemd wants for the unit of a mount, at a path as the setting allows it."""
    return "-".join(part.replace("-", "\\x2d") for part in path.parts[1:]) + ".mount"


def show(home: Path, directories: Iterable[Directory]) -> list[str]:
    """Mount what is public, and nothing else; what changed, in words."""
    wanted = {one.path for one in directories if one.public}
    units = {unit_of(home / "public" / path): path for path in wanted}
    prefix = unit_of(home / "public").removesuffix(".mount")
    changed = []
    for file in sorted(UNITS.glob(f"{glob_of(prefix)}-*.mount")):
        if file.name not in units:
            disable(file.name)
            systemctl("stop", file.name)
            file.unlink()
            changed.append(f"no mount {file.name}")
    for name, path in units.items():
        text = MOUNT.format(app=home.name, path=path, **places(home, path))
        if not (UNITS / name).exists() or (UNITS / name).read_text() != text:
            write(UNITS / name, text)
            changed.append(f"mount {name}")
    if changed:
        systemctl("daemon-reload")
    for name, path in sorted(units.items()):
        if not is_shown(home, path):
            let_in(home / "shared" / path)
            enable(name)
            mount(name)
            changed.append(f"{path} for visitors")
    return changed


def show_again(home: Path) -> None:
    """Mount once more what is public: others have come in the places of the directories."""
    prefix = unit_of(home / "public").removesuffix(".mount")
    for file in sorted(UNITS.glob(f"{glob_of(prefix)}-*.mount")):
        what = next(line for line in file.read_text().splitlines() if line.startswith("What="))
        let_in(Path(what.removeprefix("What=")))
        mount(file.name)


def missing(paths: Iterable[str]) -> list[str]:
    """Those that are not there; - before one says that it may be missing, as in a unit."""
    return [path for path in paths if not path.startswith("-") and not os.path.lexists(path)]


def make(app: str, paths: Iterable[str]) -> list[str]:
    """Make those that are missing, the application's own; what changed, in words.

    Without them its units do not start. Directories above them that are missing too are root's.
    """
    made = missing(paths)
    for path in made:
        person, name = account_of(app), Path(path).name
        with opened_folder(Path(path).parent, make=True) as above:
            os.mkdir(name, 0o750, dir_fd=above)
            os.chown(name, person.pw_uid, person.pw_gid, dir_fd=above, follow_symlinks=False)
    return [f"directory {path}" for path in made]


def glob_of(prefix: str) -> str:
    """A pattern that fits this text alone."""
    return prefix.replace("\\", "[\\]")


def places(home: Path, path: str) -> dict[str, Path]:
    return {"what": home / "shared" / path, "where": home / "public" / path}


def is_shown(home: Path, path: str) -> bool:
    """Whether Caddy sees the directory that is there now: it may have been replaced."""
    with contextlib.suppress(OSError):
        where = places(home, path)
        return where["what"].samefile(where["where"])
    return False


def let_in(path: Path) -> None:
    """Let Caddy read what is there: from before it was public, or brought back from elsewhere.

    What comes later it may read by the directory's own line in tmpfiles' file. That program follows
    no link that the application could make meanwhile.
    """
    rights = f"user:{CADDY}:rx"
    run("systemd-tmpfiles", "--create", "-", stdin=f"A+ {path} - - - - {rights},default:{rights}\n")


def mount(unit: str) -> None:
    if systemctl("restart", unit).returncode:
        raise PergolaError(
            f"{unit} does not start, so visitors would not see it (app_shared_directories)",
            journal(unit),
        )


def wrong(home: Path, directories: Iterable[Directory]) -> Iterator[str]:
    """Why one cannot be: it is in another one, which an earlier deploy made."""
    for one in directories:
        for above in list(Path(one.path).parents)[:-1]:
            if is_applications(home / "shared" / above):
                yield (
                    f"app_shared_directories: {one.path} is inside {above}, which is one of "
                    f"{home.name}'s directories already. Name {above}, or first move "
                    f"{home / 'shared' / above} elsewhere"
                )


def is_applications(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return path.lstat().st_uid != 0
    return False


def left(home: Path, directories: Iterable[Directory]) -> list[str]:
    """Those with files in them that the application does not name any more."""
    named = {home / "shared" / one.path for one in directories}
    return [str(path) for path in sorted(applications(home / "shared")) if path not in named]


def applications(top: Path) -> Iterator[Path]:
    """The application's directories that are not empty below one of root's."""
    for path in top.iterdir() if top.is_dir() else ():
        if path.is_symlink() or not path.is_dir():
            continue
        if not is_applications(path):
            yield from applications(path)
        elif any(path.iterdir()):
            yield path
