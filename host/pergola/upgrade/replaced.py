"""Which services run programs or libraries that an update has replaced, from /proc."""

import re
from collections.abc import Iterator
from pathlib import Path

from pergola.system import show

PROC = Path("/proc")
REPLACED = re.compile(r"(/(?:usr|lib|lib64|bin|sbin|opt)/\S*) \(deleted\)$", re.MULTILINE)
UNIT = re.compile(r"/([^/\n]+\.service)(?:/|$)", re.MULTILINE)
# Whoever is logged in is not thrown out; and this program is one of them.
LEFT_ALONE = re.compile(
    r"(user@.*|.*getty@.*|ssh@.*|sshd@.*|pergola-upgrade|systemd-nspawn@.*)\.service"
)


def processes() -> Iterator[tuple[int, str]]:
    """The processes that still use a file that was replaced, each with the unit it belongs to."""
    for path in PROC.iterdir():
        if not path.name.isdigit():
            continue
        try:
            used = f"{(path / 'exe').readlink()}\n{(path / 'maps').read_text()}"
            group = (path / "cgroup").read_text()
        except OSError:  # it has ended, or is the kernel's own
            continue
        if REPLACED.search(used):
            found = UNIT.findall(group)
            yield int(path.name), found[-1] if found else ""


def units() -> list[str]:
    """The services that should be restarted; the system's own manager is `init`."""
    found = {"init" if pid == 1 else unit for pid, unit in processes()}
    wanted = sorted(unit for unit in found if unit and not LEFT_ALONE.fullmatch(unit))
    # A job, such as a backup or a schedule, ends by itself, and the next one is new.
    return [unit for unit in wanted if unit == "init" or show(unit, "Type") != "oneshot"]
