"""Updates of the system's packages, in the order in which the applications notice least."""

import re
from collections.abc import Sequence

from pergola import apps
from pergola.errors import PergolaError
from pergola.lock import Patience
from pergola.postgres import Cluster, serving
from pergola.system import run, start, systemctl
from pergola.upgrade import atwork, collations, packages, stale
from pergola.upgrade.order import Answer
from pergola.upgrade.progress import say

POSTGRESQL = re.compile(r"postgresql@(\d+)-(.+)\.service")
SHOWN = 40
# A phase of a deploy at work is waited for, and the end of one that was cut off.
PATIENCE = Patience(300)


def plan() -> tuple[list[str], list[str]]:
    """What an update would do, and why it is refused; both as lines for people."""
    if foreign := packages.foreign_releases():
        return [], [
            f"apt's sources name another release of the system ({', '.join(foreign)}): that is not "
            'an update. How to go to another release: docs/upgrades.md, "Another release"'
        ]
    updates = packages.pending()
    lines = [f"packages to update: {len(updates) or 'none'}"]
    lines += [f"  {update}" for update in updates[:SHOWN]]
    if len(updates) > SHOWN:
        lines.append(f"  and {len(updates) - SHOWN} more")
    if kept := packages.kept_back():
        lines.append(f"kept back, as others would have to be removed: {', '.join(kept)}")
    if names := packages.servers(updates):
        lines.append(f"PostgreSQL restarts ({', '.join(names)}) while the requests wait")
    if any(update.name == "caddy" for update in updates):
        lines.append("Caddy restarts: new connections wait for a second or three")
    if left := stale.restartable():
        lines.append(f"restarted, as they run what was replaced before: {', '.join(left)}")
    cluster = serving()
    for database, indexes in (collations.outdated(cluster) if cluster else {}).items():
        lines.append(f"{database}: {len(indexes)} indexes, sorted by another C library, made again")
    lines += [f"needs a reboot: {reason}" for reason in stale.reboot_reasons()]
    return lines, []


def update(backup: str) -> Answer:
    """Install all updates and restart what runs the old versions."""
    if foreign := packages.foreign_releases():
        raise PergolaError(f"apt's sources name another release: {', '.join(foreign)}")
    updates = packages.pending()
    if updates and backup:
        say(f"a backup first: {backup}")
        run("sh", "-euc", backup)
    if updates:
        packages.apt("--download-only", "upgrade", "--with-new-pkgs")
    atwork.wait_for_backups(PATIENCE.seconds)
    with apps.locked("an update of the server's packages", PATIENCE):
        if names := packages.servers(updates):
            update_servers(names)
        if updates:
            packages.apt("upgrade", "--with-new-pkgs")
        say(f"{len(updates)} packages updated" if updates else "no package to update")
        restarted = restart()
        cluster = serving()
        fixed = collations.fix(cluster) if cluster else False
        for app in apps.live():
            app.ready()
    return Answer(bool(updates or restarted or fixed), reboot=stale.reboot_reasons())


def update_servers(names: Sequence[str]) -> None:
    """Update PostgreSQL's server alone, so that it is away for seconds, while requests wait."""
    by_hand = set(run("apt-mark", "showmanual").split())
    with apps.paused():
        say(f"PostgreSQL restarts ({', '.join(names)}); the requests wait")
        try:
            packages.apt("install", "--only-upgrade", "--no-install-recommends", *names)
        finally:
            if cluster := serving():
                start(cluster.unit)
    if others := [name for name in names if name not in by_hand]:
        run("apt-mark", "auto", *others)


def restart() -> list[str]:
    """Restart what runs replaced programs or libraries: databases, applications, all else."""
    units = stale.restartable()
    databases = [Cluster(int(f[1]), f[2]) for unit in units if (f := POSTGRESQL.fullmatch(unit))]
    if databases:
        with apps.paused():
            for cluster in databases:
                say(f"PostgreSQL {cluster} restarts; the requests wait")
                systemctl("restart", cluster.unit)
                start(cluster.unit)
    # The pause has restarted the live slots already.
    for app in apps.live():
        for unit in sorted(set(app.units()) & set(stale.restartable())):
            say(f"{unit} restarts; the requests wait in its socket")
            systemctl("restart", unit)
            start(unit)
    others = [unit for unit in stale.restartable() if not POSTGRESQL.fullmatch(unit)]
    if others:
        say(f"restarting {', '.join(others)}")
        stale.restart_others(others)
    stale.note()
    return units
