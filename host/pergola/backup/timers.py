"""The units of backups: they start at their times and at a boot, as they are written."""

from collections.abc import Sequence

from pergola.errors import PergolaError
from pergola.system import reread, show, systemctl

OWN = ("full", "incr", "files", "verify", "drill")
# Of a host that keeps copies.
KEEPERS = ("full", "incr", "files-copy", "verify", "protect")
# The settings that say when.
CALENDARS = {
    "full": "backup_full_on_calendar",
    "incr": "backup_incremental_on_calendar",
    "files": "backup_files_on_calendar",
    "verify": "backup_verify_on_calendar",
    "drill": "backup_drill_on_calendar",
}


def start(verbs: Sequence[str]) -> bool:
    """Enable the timers, have systemd reread them when they changed; whether anything did."""
    units = [f"pergola-backup-{verb}.timer" for verb in verbs]
    stale = reread(*units)
    if stale:
        systemctl("try-restart", *units)
    for verb, unit in zip(verbs, units, strict=True):
        if show(unit, "LoadState") != "loaded":
            raise PergolaError(
                f"{CALENDARS.get(verb, unit)} is not a time that systemd understands: "
                f"{unit} would never start",
                hint="set it in group_vars/servers/settings.yml of the inventory; an example: "
                "Sun *-*-* 04:15 (`systemd-analyze calendar` tells when that is)",
            )
    if all(is_enabled(unit) for unit in units):
        return stale
    systemctl("enable", "--now", *units)
    return True


def enable(unit: str) -> bool:
    """Have a unit started at boot, as it is written; whether anything changed."""
    stale = reread(unit, "postgresql@*")
    if is_enabled(unit):
        return stale
    systemctl("enable", unit)
    return True


def is_enabled(unit: str) -> bool:
    return show(unit, "UnitFileState") == "enabled"
