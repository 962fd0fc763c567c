"""The running Caddy has what its files say, or what it had before.

What it has not loaded is compared with the stamps that its unit touches, not with what a run wrote:
a reload that a run lost when it was cut off is made up for by the next one.
"""

import contextlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pergola.errors import PergolaError
from pergola.system import Done, attempt, checked, run, show, systemctl, write

FOLDER = Path("/etc/caddy")
ACCOUNT = "caddy"
UNIT = "caddy.service"
DROP_INS = Path("/etc/systemd/system/caddy.service.d")
# What a change of takes no restart: it is about the next one.
ABOUT_THE_NEXT = "60-pergola-leaving.conf"
# Trust in certificate authorities is read at the start only.
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
STARTED, LOADED = Path("/run/caddy/started"), Path("/run/caddy/loaded")
# What the kernel does with connections while Caddy reloads; systemd sets it at every boot.
SYSCTL, SYSCTL_FILE = "/usr/lib/systemd/systemd-sysctl", Path("/etc/sysctl.d/60-pergola-caddy.conf")
# A reload that Caddy refuses never ends with its versions up to 2.11 and systemd 253 to 257.
RELOAD_SECONDS = 60
Stale = Literal["restart", "reload", "reread", ""]


def check(folder: Path = FOLDER) -> None:
    """Refuse files that Caddy would not start with: all that it does before it listens."""
    text = run("caddy", "adapt", "--adapter", "caddyfile", "--config", folder / "Caddyfile")
    with readable(text) as config:
        run("caddy", "validate", "--config", config, account=ACCOUNT, what="caddy validate")


@contextlib.contextmanager
def readable(text: str) -> Iterator[Path]:
    """A file that Caddy's account can read, for a moment; it may hold secrets."""
    descriptor, name = tempfile.mkstemp(prefix="pergola-caddy.", dir="/run")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        shutil.chown(name, group=ACCOUNT)
        Path(name).chmod(0o640)
        yield Path(name)
    finally:
        Path(name).unlink()


def stale() -> Stale:
    """What the running Caddy needs to have all that is written."""
    if not STARTED.exists():
        return "restart"
    drop_ins = [path for path in DROP_INS.glob("*") if path.name != ABOUT_THE_NEXT]
    if is_newer([*drop_ins, AUTHORITIES], STARTED):
        return "restart"
    if is_newer([FOLDER, *FOLDER.rglob("*")], LOADED):
        return "reload"
    return "reread" if show(UNIT, "NeedDaemonReload") == "yes" else ""


def is_newer(paths: list[Path], than: Path) -> bool:
    """Whether one of some files changed after a stamp, which may be missing."""
    try:
        stamp = than.stat().st_mtime_ns
    except FileNotFoundError:
        return True
    return any(path.stat().st_mtime_ns > stamp for path in paths if path.exists())


def load(kept: Path | None = None, for_site: bool = False) -> Stale:
    """Have Caddy load what it has not yet; what that took.

    `for_site`: it is about a site's file, and no reason to restart a Caddy that runs. `kept`: where
    the files are that the last change replaced (Ansible's `files`); they come back when Caddy
    refuses the new ones, as its next restart or a reboot must find what can be loaded.
    """
    needed = stale()
    if needed == "restart" and for_site and STARTED.exists() and is_settled():
        needed = "reload" if is_newer([FOLDER, *FOLDER.rglob("*")], LOADED) else ""
    try:
        take(needed)
    except PergolaError as error:
        if kept is not None:
            take_back(kept, FOLDER if for_site else None)
        # After a refused reload systemd may wait for its answer for ever; a restart ends that.
        if kept is not None and not is_settled():
            take("restart")
        raise PergolaError(
            "Caddy does not load the configuration",
            error.evidence or error.reason,
            live="its files are as they were before, and it serves what it did" if kept else "",
            hint="correct what it names (`journalctl -u caddy -n 50` has Caddy's own words), "
            "and run this again",
        ) from None
    return needed


def take(needed: Stale) -> None:
    """Restart, reload or reread."""
    if not needed:
        return
    attempt(SYSCTL, SYSCTL_FILE)
    systemctl("daemon-reload")
    if needed == "restart":
        systemctl("enable", UNIT)
        said(systemctl("restart", UNIT))
    elif needed == "reload":
        said(attempt("systemctl", "reload", UNIT, timeout=RELOAD_SECONDS))


def said(done: Done) -> None:
    if done.returncode:
        own = attempt("journalctl", "--no-pager", "--output=cat", "--lines=5", f"--unit={UNIT}")
        checked(done, f"systemctl, for {UNIT}", own.stdout)


def is_settled() -> bool:
    return show(UNIT, "ActiveState") == "active"


def take_back(kept: Path, within: Path | None = None) -> None:
    """Put back what was replaced, and forget it; nothing where nothing was.

    `within`: of this directory alone; what else an application has stays for its next deploy.
    """
    try:
        index = json.loads((kept / "index.json").read_text())
    except FileNotFoundError:
        return
    for number, one in enumerate(index):
        path, copy = Path(one["path"]), kept / str(number)
        if within is not None and not path.is_relative_to(within):
            continue
        if one["there"]:
            mode = stat.S_IMODE(copy.stat().st_mode)
            write(path, copy.read_bytes(), mode, owner=copy.owner(), group=copy.group())
        else:
            path.unlink(missing_ok=True)
    shutil.rmtree(kept)
