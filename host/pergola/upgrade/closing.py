"""The applications are closed, and everything can be put back until they are open again.

The mark on the disk says how, so that a program that was killed is put back by the next one.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from pergola import apps
from pergola.documents import Form
from pergola.postgres import USUAL_PORT, Cluster, free_port, serving
from pergola.system import start, systemctl
from pergola.upgrade import archive
from pergola.upgrade.progress import PROGRAM, say

MARK = Path("/var/lib/pergola/upgrade.json")
TEXT = "We are updating our database. This site will be back in a moment."


@dataclass
class Closed:
    """An application: what ran of it, and whether its maintenance page is ours."""

    units: list[str]
    page: bool = False


@dataclass(frozen=True)
class Mark:
    """How all of it is put back: which version serves, which one is to take over.

    `drop`: the other one was made for this; `done`: it is proven, and takes over for good.
    """

    serves: int
    other: int
    drop: bool
    apps: dict[str, Closed] = field(default_factory=dict)
    done: bool = False


FORM = Form(Mark)


def close(serves: Cluster, other: Cluster, drop: bool) -> None:
    """Close all applications, and note how all of it is put back."""
    closed = {app.name: Closed(app.units()) for app in apps.live()}
    mark = Mark(serves.version, other.version, drop, closed)
    FORM.write(MARK, mark)
    for app in apps.live():
        if app.has_site() and not app.has_page():  # somebody else's stays, and afterwards too
            closed[app.name].page = True
            FORM.write(MARK, mark)
            app.call("maintenance", "on", f"--message={TEXT}", who=PROGRAM)
    # No worker, schedule or socket may write to either cluster from here on.
    if names := [unit for app in closed.values() for unit in app.units]:
        systemctl("stop", *names)


def marked() -> Mark | None:
    """What is not finished; None: nothing. PergolaError when a newer Pergola has begun it."""
    return FORM.read(MARK)


def mark_done() -> None:
    """Note that what was begun is proven: from here on it is finished, and not put back."""
    if mark := marked():
        FORM.write(MARK, replace(mark, done=True))


def open_again(mark: Mark) -> None:
    """Start what ran of the applications, and wait for each gate."""
    names = [unit for app in mark.apps.values() for unit in app.units]
    # Sockets first: their services ask for them. Timers last: they may start something at once.
    order = {"socket": 0, "service": 1, "timer": 2}
    for unit in sorted(names, key=lambda name: order.get(name.rpartition(".")[2], 1)):
        start(unit)
    for app in apps.live():
        if app.name in mark.apps:
            app.ready()


def finish(mark: Mark) -> None:
    """Let the cluster start with the system, take our pages away, forget how to go back."""
    if cluster := serving():
        cluster.set_start("auto")
    for app in apps.live():
        if app.name in mark.apps and mark.apps[app.name].page:
            app.call("maintenance", "off", who=PROGRAM)
    if cluster:
        archive.go_on(cluster)
    MARK.unlink()


def undo() -> bool:
    """Put back what was not finished; return whether there was anything."""
    mark = marked()
    if mark is None:
        return False
    if mark.done:
        if cluster := serving():
            cluster.start()
    else:
        put_back(Cluster(mark.serves), Cluster(mark.other), mark.drop)
    open_again(mark)
    finish(mark)
    say("finished what was begun" if mark.done else "everything is as before")
    return True


def put_back(serves: Cluster, other: Cluster, drop: bool) -> None:
    """Have the cluster serve again that did, and the other one not."""
    say(f"putting back: {serves} on port {USUAL_PORT}")
    if other.exists():
        other.stop()
    if drop:
        other.drop()
    elif other.port == USUAL_PORT:
        other.move_to(free_port())
        other.set_start("manual")
    if serves.port != USUAL_PORT:
        serves.move_to(USUAL_PORT)
    serves.start()
