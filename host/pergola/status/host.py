"""The host itself: reboots, services that run what an update has replaced, the clock."""

from collections.abc import Iterator
from pathlib import Path

from pergola.notes import REPLACED, REPLACED_FILE
from pergola.status.config import SECONDS
from pergola.status.look import OK, SKIPPED, WARNING, Finding, Look
from pergola.system import attempt

CONTAINER = Path("/run/systemd/container")
REBOOT = Path("/run/reboot-required")
# The clock is synchronised while the kernel's estimate of its error is below, as for timedatectl.
CLOCK_ERROR_USEC = 16_000_000
ESTIMATED_ERROR = 3  # its place in the kernel's struct timex, of longs
SERVICES_SHOWN = 5
# Only a reboot brings their new versions, and what asks for one is told by `reboot`.
SYSTEM = ("dbus.service", "dbus-broker.service", "systemd-logind.service")


# -- seen ------------------------------------------------------------------------------------------


def reboot_packages() -> list[str] | None:
    """The packages that ask for a reboot; None: nobody does."""
    if not REBOOT.exists():
        return None
    packages = REBOOT.with_name("reboot-required.pkgs")
    return sorted(set(packages.read_text().split())) if packages.exists() else []


def replaced_services(file: Path = REPLACED_FILE) -> list[str]:
    """The services that run what an update has replaced, and have not restarted since.

    To look into other accounts' processes takes rights that a look should not have:
    `pergola-upgrade replaced`, which apt calls after each change of packages, notes what it finds.
    """
    noted = REPLACED.read(file)
    found = noted.services.items() if noted else ()
    return [unit for unit, invocation in found if invocation_of(unit) == invocation]


def invocation_of(unit: str) -> str:
    asked = ("systemctl", "show", "--property=InvocationID", "--value", unit)
    return attempt(*asked, timeout=SECONDS).stdout.strip()


def clock_error() -> int | None:
    """The kernel's estimate of the clock's error in microseconds; None: no clock of its own.

    timedatectl tells it too, but it starts a service for that, every minute.
    """
    if CONTAINER.exists():
        return None
    import ctypes

    timex = (ctypes.c_long * 64)()
    if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
        raise OSError(ctypes.get_errno(), "adjtimex")
    return timex[ESTIMATED_ERROR]


# -- judged ----------------------------------------------------------------------------------------


def reboot(look: Look) -> Iterator[Finding]:
    packages = look.seen.reboot
    if packages is None:
        yield Finding("reboot", OK, "none is required")
        return
    why = f" ({', '.join(packages[:3])})" if packages else ""
    says = (
        f"updates{why} take effect only after one; choose the time, or set "
        "base_automatic_reboot_time"
    )
    yield Finding("reboot", WARNING, f"required: {says}")


def replaced(look: Look) -> Iterator[Finding]:
    """Programs and libraries that an update replaced stay in use until their service restarts."""
    if look.seen.replaced is None:
        return
    services = [unit for unit in look.seen.replaced if unit not in SYSTEM]
    if not services:
        yield Finding("replaced", OK, "no service runs what an update has replaced")
        return
    more = " and others" if len(services) > SERVICES_SHOWN else ""
    says = (
        f"{', '.join(services[:SERVICES_SHOWN])}{more} run what an update has replaced, and "
        "restart with the next automatic update; now: playbooks/upgrade.yml"
    )
    yield Finding("replaced", WARNING, says)


def clock(look: Look) -> Iterator[Finding]:
    error = look.seen.clock_error_usec
    if look.seen.container:
        yield Finding("clock", SKIPPED, "this is a container: its clock is the host's")
    elif error is not None and error < CLOCK_ERROR_USEC:
        yield Finding("clock", OK, f"synchronised, by at most {error / 1000:.0f} ms off")
    elif error is not None:
        says = (
            "not synchronised; see `timedatectl timesync-status` and whether UDP 123 may leave "
            "the network"
        )
        yield Finding("clock", WARNING, says)


CHECKS = (reboot, replaced, clock)
