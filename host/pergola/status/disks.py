"""The file systems that matter, each once, with what it is used for."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pergola.people import size
from pergola.status import largest
from pergola.status.look import OK, Finding, Look
from pergola.status.seen import Disk

PLACES = ("/", "/boot", "/var", "/var/log", "/var/lib", "/srv", "/tmp")  # noqa: S108 - looked at only


def seen(data: str | None, backups: Iterable[str]) -> list[Disk]:
    """`data`: PostgreSQL's directory, if it is here; `backups`: the directories of these."""
    places = dict.fromkeys(PLACES, "")
    places |= dict.fromkeys(backups, "backups")
    if data:
        places |= {data: "PostgreSQL's data", f"{data}/pg_wal": "PostgreSQL's WAL"}
    found: dict[int, Disk] = {}
    for place, purpose in places.items():
        path = Path(place).resolve()
        if not path.is_dir():
            continue
        device = path.stat().st_dev
        disk = found.setdefault(device, measured(path, device))
        if purpose and purpose not in disk.holds:
            disk.holds.append(purpose)
    return list(found.values())


def measured(path: Path, device: int) -> Disk:
    """The file system that a directory is on."""
    while path != path.parent and path.parent.stat().st_dev == device:
        path = path.parent
    at = os.statvfs(path)
    used = at.f_blocks - at.f_bfree
    return Disk(
        place=str(path),
        percent=100 * used / max(1, used + at.f_bavail),
        free_bytes=at.f_bavail * at.f_frsize,
        # btrfs counts no inodes.
        inodes_percent=100 * (1 - at.f_favail / at.f_files) if at.f_files else 0,
    )


def disks(look: Look) -> Iterator[Finding]:
    for disk in look.seen.disks or []:
        took = (look.seen.largest or {}).get(disk.place)
        yield room(look, disk, largest.words(took))
        name = f"inodes {disk.place}"
        state = look.level(name, "inodes_percent", disk.inodes_percent)
        if state != OK or look.before.get(name, OK) != OK:
            says = f"{disk.inodes_percent:.0f} % of the inodes used: too many small files"
            find = f"`du --inodes -x --max-depth=2 {disk.place} | sort -n`"
            yield Finding(name, state, says if state == OK else f"{says}; find them with {find}")


def room(look: Look, disk: Disk, took: str) -> Finding:
    """`took`: what takes the room, in a few words."""
    name = f"disk {disk.place}"
    holds = f" ({', '.join(disk.holds)})" if disk.holds else ""
    state = look.level(name, "disk_percent", disk.percent)
    says = f"{disk.percent:.0f} % used, {size(disk.free_bytes)} free{holds}"
    if state != OK and took:
        says += f"; {took}"
    if state != OK and "backups" in disk.holds:
        says += "; make it larger, or keep backups for a shorter time (backup_retention_days)"
    elif state != OK:
        says += f"; find what grows with `du -xh --max-depth=2 {disk.place} | sort -h`"
    return Finding(name, state, says)


CHECKS = (disks,)
