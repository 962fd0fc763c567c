"""What must restart after an update, and what needs a reboot for that."""

import os
import re
from pathlib import Path

from pergola.notes import REPLACED, REPLACED_FILE, Replaced
from pergola.system import run, show, systemctl
from pergola.upgrade.replaced import units

# Without these a running system cannot go on: only a reboot brings their new versions.
NEED_REBOOT = re.compile(r"(dbus|dbus-broker|systemd-logind)\.service")
REQUIRED = Path("/run/reboot-required")
BOOT = Path("/boot")


def restartable() -> list[str]:
    """Those of them that can be restarted while the system runs."""
    return [unit for unit in units() if not NEED_REBOOT.fullmatch(unit)]


def note() -> None:
    """Note the services, by their present runs, for monitoring."""
    services = {unit: show(unit, "InvocationID") for unit in units() if unit != "init"}
    REPLACED.write(REPLACED_FILE, Replaced(services), durable=False)


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
