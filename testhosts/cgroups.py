"""The processes of a machine, held together by a control group.

A process id may be reused and a zombie looks alive; a control group knows all its processes and
can kill them at once.
"""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from testhosts.shell import HostsError, run, succeeds

REBOOT = 133  # systemd-nspawn's exit code when the machine asks to be started again
# Where systemd is not PID 1: start again after a reboot. The loop stays out of the group of the
# machine itself, because a group with processes of its own can't hand controllers down.
LOOP = """
group=$1; shift
while :; do
  (echo 0 >"$group/machine/cgroup.procs"; exec "$@")
  [ $? = 133 ] || exit 0
done
"""


def on_systemd() -> bool:
    """Return whether systemd runs this machine."""
    return Path("/run/systemd/system").is_dir()


def root() -> Path:
    """Return where the cgroup2 file system is mounted; raise HostsError if nowhere."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    raise HostsError("no cgroup2 file system is mounted: test hosts need one")


def group(unit: str) -> Path:
    """Return the control group of a machine, whether it exists or not."""
    if on_systemd():
        shown = run("systemctl", "show", "--property=ControlGroup", "--value", f"{unit}.service")
        return root() / (shown.strip().lstrip("/") or f"{unit}.service")
    return root() / unit


def units(prefix: str) -> list[str]:
    """Return the machines whose name starts with `prefix` and that still hold a group."""
    if on_systemd():
        listed = run("systemctl", "list-units", "--all", "--plain", "--no-legend", f"{prefix}*")
        return [line.split()[0].removesuffix(".service") for line in listed.splitlines()]
    return [path.name for path in root().glob(f"{prefix}*")]


def start(unit: str, command: Sequence[str]) -> None:
    """Start a machine's command detached, and again whenever the machine reboots."""
    if on_systemd():
        # As systemd-nspawn@.service does it. Proven only with systemd 257 inside a test host (no
        # cgroup controllers there), not on real hardware. No braces in `command`: it expands ${…}.
        run(
            "systemd-run",
            "--quiet",
            "--collect",
            f"--unit={unit}",
            "--description=Pergola test host",  # not the whole command line
            "--slice=machine.slice",
            "--property=Delegate=yes",
            "--property=KillMode=mixed",
            "--property=TasksMax=16384",
            f"--property=RestartForceExitStatus={REBOOT}",
            f"--property=SuccessExitStatus={REBOOT}",
            "--",
            *command,
        )
        return
    folder = group(unit)
    for name in ("loop", "machine"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for controller in (folder / "cgroup.controllers").read_text().split():
        (folder / "cgroup.subtree_control").write_text(f"+{controller}")

    def join() -> None:
        (folder / "loop" / "cgroup.procs").write_text("0")

    # Nothing of the caller's stays open in it, or a caller who reads our output would wait.
    subprocess.Popen(
        ["sh", "-c", LOOP, "testhosts", str(folder), *command],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=join,  # not in the script: the group must be populated when this returns
    )


def is_alive(unit: str) -> bool:
    """Return whether any process of the machine lives."""
    try:
        return "populated 1" in (group(unit) / "cgroup.events").read_text()
    except OSError:
        return False


def power_off(unit: str, patience: float = 120) -> None:
    """Shut the machine down in order; after `patience` seconds raise HostsError.

    systemd alone may wait 90 s for a service.
    """
    for file in group(unit).rglob("cgroup.procs"):
        for process in file.read_text().split():
            with suppress(OSError):  # it may end meanwhile
                if Path("/proc", process, "comm").read_text().strip() == "systemd-nspawn":
                    os.kill(int(process), signal.SIGTERM)  # it asks the machine's systemd to halt
    deadline = time.monotonic() + patience
    while is_alive(unit):
        if time.monotonic() > deadline:
            raise HostsError(f"{unit} is still running after {patience:.0f} s: `kill` it")
        time.sleep(0.05)
    kill(unit)


def kill(unit: str) -> None:
    """Cut the power: every process gets SIGKILL at once. Then remove the group."""
    folder = group(unit)
    try:
        (folder / "cgroup.kill").write_text("1")
    except FileNotFoundError:
        return
    for _ in range(500):
        if not is_alive(unit):
            break
        time.sleep(0.01)
    else:
        raise HostsError(f"processes of {unit} survived SIGKILL for 5 s")
    if on_systemd():
        succeeds("systemctl", "reset-failed", f"{unit}.service")
        return
    # The kernel needs a moment more for a group than for its last process.
    for _ in range(100):
        for path in sorted(folder.rglob("*/"), reverse=True):
            remove_group(path)
        if remove_group(folder):
            return
        time.sleep(0.01)
    raise HostsError(f"{folder} can't be removed")


def remove_group(folder: Path) -> bool:
    """Remove an empty group; return whether it is gone."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
