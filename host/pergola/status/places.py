"""Directories and units' files on this host that are not as they are set."""

import grp
import pwd
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from pergola import apps
from pergola.postgres import ACCOUNT
from pergola.status.seen import Application, Place, UnitFiles
from pergola.status.units import blocks_of

TMPFILES = Path("/etc/tmpfiles.d")
SYSTEM_UNITS = Path("/etc/systemd/system")
# How the files begin that Pergola writes; what packages bring is below /usr.
OURS = (b"Managed by Ansible", b"Made by Pergola")
MADE_HERE = ("/etc/systemd/", "/run/systemd/system/", "/run/systemd/system.control/")
# Of a whole kind of units; a container's manager makes them.
OF_ALL = re.compile(r"/run/systemd/system/\w+\.d/")
DECLARED = re.compile(r"^d (\S+) (\d+) (\S+) (\S+)", re.MULTILINE)
# PostgreSQL itself starts with these two only.
DATA_MODES, ABOVE_MODES = (0o700, 0o750), (0o755, 0o750, 0o700)


def unit_files(vital: Iterable[str]) -> UnitFiles:
    """Files on our units that are not ours, and units whose files systemd has not read again.

    `vital`: the units that must run; our own are looked at as well.
    """
    own = [path.name for path in SYSTEM_UNITS.glob("pergola-*.*") if "@." not in path.name]
    names = [*vital, *(name for name in own if name.endswith((".service", ".timer")))]
    if not names:
        return UnitFiles()
    strange: dict[str, list[str]] = {}
    unread = []
    for shown in blocks_of(*names, properties="Id,FragmentPath,DropInPaths,NeedDaemonReload"):
        if shown.get("NeedDaemonReload") == "yes":
            unread.append(shown["Id"])
        for path in [shown.get("FragmentPath", ""), *shown.get("DropInPaths", "").split()]:
            if is_strange(path):
                strange.setdefault(path, []).append(shown["Id"])
    return UnitFiles(strange, unread)


def is_strange(path: str) -> bool:
    """Whether a unit's file was made on this host, and not by Pergola."""
    if not path.startswith(MADE_HERE) or OF_ALL.match(path):
        return False
    try:
        with Path(path).open("rb") as file:
            head = file.read(300)
    except OSError:  # it went meanwhile, or systemd remembers one that is gone
        return False
    return not any(mark in head for mark in OURS)


def places(here: Iterable[Application], data: Path | None) -> list[Place]:
    """Directories that are not as they are set: those of the applications, and PostgreSQL's.

    `data` is PostgreSQL's directory; None: it is not on this host.
    """
    wrong = []
    for app in here:
        declared = TMPFILES / f"{app.app}.conf"
        text = declared.read_text() if declared.exists() else ""
        for path, mode, owner, group in DECLARED.findall(text):
            wrong.append(place(Path(path), (int(mode, 8),), owner, group))
        wrong.append(place(apps.HOMES, (0o755,), "root", "root"))
    if data:
        wrong.append(place(data, DATA_MODES, ACCOUNT, ACCOUNT))
        wrong += [place(one, ABOVE_MODES, ACCOUNT, ACCOUNT) for one in data.parents[:2]]
    return list({one.path: one for one in wrong if one}.values())


def place(path: Path, modes: tuple[int, ...], owner: str, group: str) -> Place | None:
    """How a directory is and should be; None: it is right."""
    should = f"{modes[0]:04o} {owner}:{group}"
    try:
        there = path.lstat()
    except OSError as error:
        return Place(str(path), error.strerror or "not there", should)
    mode = stat.S_IMODE(there.st_mode)
    whose = f"{account(there.st_uid)}:{group_name(there.st_gid)}"
    is_folder = stat.S_ISDIR(there.st_mode)
    if is_folder and mode in modes and whose == f"{owner}:{group}":
        return None
    what = "" if is_folder else "no directory, "
    return Place(str(path), f"{what}{mode:04o} {whose}", should)


def account(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
