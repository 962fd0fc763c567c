"""Which services run programs or libraries that an update has replaced, and what needs a reboot."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from upgrades.system import run, show, systemctl

PROC = Path("/proc")
REPLACED = re.compile(r"(/(?:usr|lib|lib64|bin|sbin|opt)/\S*) \(deleted\)$", re.MULTILINE)
UNIT = re.compile(r"/([^/\n]+\.service)(?:/|$)", re.MULTILINE)
# Whoever is logged in is not thrown out; and this program is one of them.
LEFT_ALONE = re.compile(
    r"(user@.*|.*getty@.*|ssh@.*|sshd@.*|pergola-upgrade|systemd-nspawn@.*)\.service"
)
# Without these a running system cannot go on: only a reboot brings their new versions.
NEED_REBOOT = re.compile(r"(dbus|dbus-broker|systemd-logind)\.service")
REQUIRED = Path("/run/reboot-required")
BOOT = Path("/boot")


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


def restartable() -> list[str]:
    """Those of them that can be restarted while the system runs."""
    return [unit for unit in units() if not NEED_REBOOT.fullmatch(unit)]


def restart_others(stale: list[str]) -> None:
    """Restart services of the system itself."""
    if "init" in stale:
        run("systemctl", "daemon-reexec")
    if others := [unit for unit in stale if unit != "init"]:
        systemctl("try-restart", *others)


def reboot_reasons() -> list[str]:
    """Why the host must be rebooted for all of its updates to hold; empty: it need not be."""
    reasons = []
    if REQUIRED.exists():
        file = REQUIRED.with_name("reboot-required.pkgs")
        names = ", ".join(sorted(set(file.read_text().split()))) if file.exists() else ""
        reasons.append(f"an update asks for it{': ' + names if names else ''}")
    installed = [path.name.removeprefix("vmlinuz-") for path in BOOT.glob("vmlinuz-*")]
    newest = max(installed, key=parts, default="")
    running = os.uname().release
    if newest and parts(newest) > parts(running):
        reasons.append(f"kernel {newest} is installed, {running} runs")
    if unchangeable := [unit for unit in units() if NEED_REBOOT.fullmatch(unit)]:
        reasons.append(f"updated, but cannot be restarted: {', '.join(unchangeable)}")
    return reasons


def parts(release: str) -> list[int]:
    """The numbers of a kernel's name, by which it is older or newer than another."""
    return [int(number) for number in re.findall(r"\d+", release)]
