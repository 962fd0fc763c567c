"""Another major version of PostgreSQL, and the way back.

What is open to requests changes at one moment: when the new cluster, proven on a port that nobody
knows, gets the usual one. Until the applications are ready on it everything can be put back; see
closing.py.
"""

import time
from collections.abc import Callable

from pergola import apps
from pergola.errors import PergolaError
from pergola.postgres import USUAL_PORT, Cluster, free_port, mains, serving
from pergola.system import run
from pergola.upgrade import archive, checks, closing, collations, packages
from pergola.upgrade.convert import convert, jobs, rehearse
from pergola.upgrade.order import Order
from pergola.upgrade.progress import say, step


def upgrade(to: int, order: Order) -> float:
    """Upgrade the live cluster; return the seconds for which the applications were closed."""
    old, new = serving(), Cluster(to)
    refused = checks.refusals(old, to, order.rehearsal)
    if refused or old is None:
        raise PergolaError("\n".join(refused))
    step("packages", f"install PostgreSQL {to} beside {old.version}")
    packages.install_server(old.version, to)
    if lacking := checks.extensions(old, to):
        raise PergolaError(
            f"PostgreSQL {to} lacks extensions that are in use: {', '.join(lacking)}",
            live="the site was not touched",
            hint=f"install their packages for {to}, or drop them",
        )
    make_backup("a backup first", order.backup)
    if order.rehearsal:
        rehearse(old, to, order.files)

    def convert_and_switch() -> None:
        convert(old, new, order.files)
        hand_over(old, new)

    closed = while_closed(old, new, convert_and_switch, drop=True)
    follow_up(new, order)
    return closed


def back(order: Order) -> float:
    """Put the cluster that an upgrade has left back into service; return the seconds closed."""
    now, before = serving(), left_over()
    if now is None or before is None:
        raise PergolaError("there is no cluster to go back to", hint="pg_lsclusters shows them")
    make_backup("a backup first", order.backup)

    def switch_back() -> None:
        for file in order.files:
            if file.is_of(before):
                file.write()
        archive.hold(before)
        hand_over(now, before)

    closed = while_closed(now, before, switch_back, drop=False)
    follow_up(before, order)
    return closed


def while_closed(serves: Cluster, other: Cluster, change: Callable[[], None], drop: bool) -> float:
    """Do something while the applications are closed, and open them on the other cluster."""
    say("the applications are closed: maintenance page")
    closing.close(serves, other, drop)
    began = time.monotonic()
    change()
    mark = closing.marked()
    if mark is None:  # somebody has removed it by hand
        raise PergolaError(f"{closing.MARK} is gone: how the applications are opened is not known")
    closing.open_again(mark)
    step("ready", "the applications are ready")
    closing.mark_done()
    closing.finish(mark)
    closed = time.monotonic() - began
    say(f"the applications are open again after {closed:.1f} s, on {other}")
    return closed


def hand_over(old: Cluster, new: Cluster) -> None:
    """Give one cluster the other one's port.

    Neither starts with the system from here until the applications are open: after a power loss no
    worker must write to what is then put back.
    """
    step("hand over", f"{new} takes port {USUAL_PORT}")
    spare = new.port if new.port != USUAL_PORT else free_port()
    old.stop()
    new.stop()
    old.move_to(spare)
    old.set_start("manual")
    new.move_to(USUAL_PORT)
    new.set_start("manual")
    new.start()


def follow_up(cluster: Cluster, order: Order) -> None:
    """What need not be waited for. It puts nothing back: requests may have written already."""
    try:
        for file in order.files:
            if not file.is_of(cluster):
                file.write()
        cluster.call("vacuumdb", "--all", "--analyze-only", "--jobs", jobs())
        collations.fix(cluster)
        make_backup("a backup of the new cluster", order.after)
    except PergolaError as error:
        raise error.but(
            f"{cluster} serves, but what follows an upgrade failed",
            hint="fix it and run site.yml; do not rely on backups until one was made",
        ) from error


def make_backup(what: str, command: str) -> None:
    if command:
        say(f"{what}: {command}")
        run("sh", "-euc", command)


def left_over() -> Cluster | None:
    """The cluster that an upgrade, or going back, has left: stopped, on another port."""
    now = serving()
    rest = [c for c in mains() if now and c != now and not c.is_running() and c.port != USUAL_PORT]
    return rest[-1] if rest else None


def remove() -> Cluster:
    """Remove that cluster, and the packages of its version."""
    old = left_over()
    if old is None:
        raise PergolaError("there is no stopped cluster that could be removed")
    run("pg_dropcluster", old.version, old.name)
    names = packages.of_version(old.version)
    packages.apt("remove", *names)
    return old


def describe(to: int, rehearsal: bool) -> list[str]:
    """What an upgrade would do, for people."""
    old = serving()
    if old is None:
        return []
    names = packages.for_version(old.version, to)
    method = "cloned" if checks.can_clone(old.data) else "copied"
    closed = ", ".join(app.name for app in apps.live()) or "none"
    return [
        f"PostgreSQL {old.version} -> {to}, {old.megabytes()} MB, {method}; {old} stays, stopped",
        *(f"  install {name} {packages.candidate(name)}" for name in names),
        "  a rehearsal on a copy first" if rehearsal else "  without a rehearsal",
        f"  maintenance page meanwhile: {closed}",
    ]
