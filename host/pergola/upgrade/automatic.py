"""The night's automatic update: the distribution's own, but for what would stop what serves.

The distribution's run (unattended-upgrades, from apt-daily-upgrade.service) leaves the packages out
that restart PostgreSQL or the web server. This comes right after it, in the same unit, and installs
these while the requests wait; then what runs replaced programs or libraries restarts likewise.
"""

import re
import tempfile
from pathlib import Path

from pergola import apps, postgres
from pergola.errors import PergolaError
from pergola.lock import Patience
from pergola.results import recorded
from pergola.system import attempt, run, show, systemctl, write
from pergola.upgrade import atwork, packages, stale, updates
from pergola.upgrade.order import Answer
from pergola.upgrade.progress import say

WEB_SERVER = "caddy.service"
PARTS = Path("/etc/apt/apt.conf.d")
HELD = PARTS / "53pergola-held"
HEADER = """\
// Written by pergola-upgrade: what would stop what serves is left out of the distribution's own
// updates, and installed right after them while the requests wait.
"""
PROC = Path("/proc")
WAIT_SECONDS = 1800  # for deploys and backups
WOULD = re.compile(r"^Packages that will be upgraded: *(.*)$", re.MULTILINE)


def vital_units() -> list[str]:
    """The units that run now and without which nobody is served."""
    units = [*(cluster.unit for cluster in postgres.mains()), WEB_SERVER]
    return [unit for unit in units if show(unit, "ActiveState") == "active"]


def vital_packages() -> list[str]:
    """The packages that these units and their programs came with: installing one restarts them."""
    found = set()
    for unit in vital_units():
        paths = [Path(show(unit, "FragmentPath"))]
        paths.append((PROC / show(unit, "MainPID") / "exe").resolve())
        for path in paths:
            # A program that was replaced already is named with this.
            found.add(packages.owner(Path(str(path).removesuffix(" (deleted)"))))
    return sorted(found - {""})


def owner(unit: str) -> str:
    """The package of a unit's file."""
    return packages.owner(Path(show(unit, "FragmentPath") or "/nowhere"))


def hold() -> bool:
    """Have the distribution's run leave them out; return whether that is new."""
    units = ("apt-daily-upgrade.service", "apt-daily-upgrade.timer")
    if "yes" in systemctl("show", "--property=NeedDaemonReload", *units).stdout:
        systemctl("daemon-reload")
    names = vital_packages()
    lines = [f'  "^{re.escape(name)}$";' for name in names]
    text = "\n".join([f"{HEADER}Unattended-Upgrade::Package-Blacklist {{", *lines, "};", ""])
    # What does not run at the moment is vital when it does.
    if not names or (HELD.exists() and HELD.read_text() == text):
        return False
    write(HELD, text)
    return True


def is_wanted() -> bool:
    """Whether updates install themselves here (base_automatic_updates)."""
    said = run("apt-config", "dump", "--format=%v", "APT::Periodic::Unattended-Upgrade")
    return said.strip() not in ("", "0")


def allowed(held: list[str]) -> list[str]:
    """Those of the held packages that unattended-upgrades would install, were they not held."""
    with tempfile.TemporaryDirectory(prefix="pergola-", dir="/run") as name:
        parts = Path(name)
        for path in PARTS.iterdir():
            if path != HELD:
                (parts / path.name).symlink_to(path)
        config = parts / "only.conf"
        config.write_text(f'Dir::Etc::Parts "{parts}";\n')
        environment = {"APT_CONFIG": str(config)}
        said = attempt("unattended-upgrade", "--dry-run", "--verbose", environment=environment)
    if said.returncode:
        raise PergolaError(
            "unattended-upgrade could not tell what it would install", said.stdout + said.stderr
        )
    would = {name for line in WOULD.findall(said.stdout + said.stderr) for name in line.split()}
    return sorted(would & set(held))


def automatic(wait: float = WAIT_SECONDS) -> Answer:
    """Install what was held, restart what is old; the result is noted for monitoring.

    `wait`: the seconds that deploys and backups at work are waited for.
    """
    with recorded("updates") as result:
        hold()
        if not is_wanted():
            result.says = "automatic updates are turned off"
            return Answer(False)
        names = allowed(vital_packages())
        if names:
            packages.apt("--download-only", "install", "--only-upgrade", *names)
        if not names and not stale.restartable():
            result.says = "nothing that serves had an update"
            return Answer(False)
        atwork.wait_for_backups(wait)
        with apps.locked("an automatic update", Patience(wait)):
            install(names)
            restarted = updates.restart()
            for app in apps.live():
                app.ready()
        says = [f"updated {', '.join(names)}"] if names else []
        says += [f"restarted {', '.join(restarted)}"] if restarted else []
        if reasons := stale.reboot_reasons():
            says.append(f"needs a reboot: {'; '.join(reasons)}")
        result.says = "; ".join(says)
        return Answer(True)


def install(names: list[str]) -> None:
    """Install the held packages, each kind while what it stops is waited for."""
    if not names:
        return
    server = [name for name in names if name != owner(WEB_SERVER)]
    if server:
        updates.update_servers(server)
    if others := [name for name in names if name not in server]:
        say(f"the web server restarts ({', '.join(others)})")
        packages.apt("install", "--only-upgrade", "--no-install-recommends", *others)
        systemctl("start", WEB_SERVER)
