"""Another major version of PostgreSQL, and the way back.

What is open to requests changes at one moment: when the new cluster, proven on a port that nobody
knows, gets the usual one. Until the applications are ready on it everything can be put back, and
the mark on the disk says how, so that a program that was killed is put back by the next one.

The old cluster must stay whole: it is the way back. So files are copied, or cloned where the file
system shares blocks, and never linked: a new cluster that has started on linked files has changed
the old one's.
"""

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from upgrades import apps, checks, collations, copies, packages
from upgrades.clusters import USUAL_PORT, Cluster, free_port, jobs, mains, serving
from upgrades.system import UpgradeError, run, say, start, systemctl, write

MARK = Path("/var/lib/pergola/upgrade.json")
UPDATABLE = """select quote_ident(name) from pg_available_extensions
  where installed_version is not null and installed_version <> default_version"""
HAS_AMCHECK = "select count(*) from pg_extension where extname = 'amcheck'"
# Enough for plans that are not absurd; the whole statistics follow when the sites are open again.
QUICK = "-c default_statistics_target=1 -c vacuum_cost_delay=0"
# A failure at one of these places is asked for by tests.
FAIL_AT = os.environ.get("PERGOLA_UPGRADE_FAIL_AT", "")

File = Mapping[str, str]


def step(name: str, text: str) -> None:
    """Say what begins."""
    say(text)
    if name == FAIL_AT:
        raise UpgradeError(f"made to fail at {name}")


# -- what is done to a copy and then to the live cluster -------------------------------------------


def convert(old: Cluster, new: Cluster, files: Sequence[File]) -> None:
    """Make the new cluster out of the old one, start it on a port of its own, and prove it."""
    step("convert", f"pg_upgradecluster {old} -> {new}")
    shutil.rmtree(new.configuration, ignore_errors=True)
    copies.carry_settings(old, new)
    write_files([file for file in files if is_of(file, new)])
    new.hold_archive()
    clone = ["--clone"] if checks.can_clone(old.data) else []
    run(
        *("pg_upgradecluster", "--version", new.version, "--method=upgrade", *clone),
        *("--jobs", jobs(), "--keep-port", "--no-start", old.version, old.name),
    )
    step("start", f"start {new} on port {new.port}")
    new.start()
    for database in new.databases():
        for extension in new.rows(UPDATABLE, database):
            say(f"{database}: extension {extension} updated")
            new.sql(f"alter extension {extension} update", database)
    new.call("vacuumdb", "--all", "--analyze-only", "--jobs", jobs(), settings=QUICK)
    step("prove", f"check every table and index of {new} (pg_amcheck)")
    prove(new)


def is_of(file: File, cluster: Cluster) -> bool:
    return Path(file["path"]).is_relative_to(cluster.configuration)


def prove(cluster: Cluster) -> None:
    """Check all tables and B-trees; what that needs goes away again."""
    lacking = [d for d in cluster.databases() if cluster.sql(HAS_AMCHECK, d).strip() == "0"]
    try:
        cluster.call("pg_amcheck", "--all", "--install-missing", "--jobs", jobs())
    finally:
        for database in lacking:
            cluster.sql("drop extension if exists amcheck", database)


def write_files(files: Sequence[File]) -> None:
    """Write those that differ: a newer file would have role postgresql restart the server."""
    for file in files:
        path = Path(file["path"])
        if path.exists() and path.read_text() == file["content"]:
            continue
        write(
            path,
            file["content"],
            int(file.get("mode") or "0644", 8),
            file.get("owner") or "root",
            file.get("group") or "",
        )


# -- the applications are closed, and everything can be put back -----------------------------------


def close(serves: Cluster, other: Cluster, drop: bool) -> None:
    """Close all applications, and note how all of it is put back."""
    closed: dict[str, Any] = {app.name: {"units": app.units()} for app in apps.every()}
    state = {"serves": serves.version, "other": other.version, "drop": drop, "apps": closed}
    mark(state)
    for app in apps.every():
        closed[app.name]["page"] = apps.close(app)
        mark(state)
    # No worker, schedule or socket may write to either cluster from here on.
    if names := [unit for app in closed.values() for unit in app["units"]]:
        systemctl("stop", *names)


def mark(state: Mapping[str, Any]) -> None:
    write(MARK, json.dumps(state, indent=1))


def marked() -> dict[str, Any]:
    """What is not finished; empty: nothing."""
    return json.loads(MARK.read_text()) if MARK.exists() else {}


def open_again() -> None:
    """Start what ran of the applications, wait for each gate, take our pages away."""
    state = marked()
    names = [unit for app in state["apps"].values() for unit in app["units"]]
    # Sockets first: their services ask for them. Timers last: they may start something at once.
    order = {"socket": 0, "service": 1, "timer": 2}
    for unit in sorted(names, key=lambda name: order.get(name.rpartition(".")[2], 1)):
        start(unit)
    for app in apps.every():
        if app.name in state["apps"]:
            app.ready()


def finish() -> None:
    """Let the cluster start with the system, take our pages away, forget how to go back."""
    closed = marked()["apps"]
    if cluster := serving():
        cluster.starts("auto")
    for app in apps.every():
        if closed.get(app.name, {}).get("page"):
            app.call("maintenance", "off")
    if cluster := serving():
        cluster.let_archive()
    MARK.unlink()


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
    old.starts("manual")
    new.move_to(USUAL_PORT)
    new.starts("manual")
    new.start()


def undo() -> bool:
    """Put back what was not finished; return whether there was anything."""
    state = marked()
    if not state:
        return False
    serves, other = Cluster(state["serves"]), Cluster(state["other"])
    if not state.get("done"):
        say(f"putting back: {serves} on port {USUAL_PORT}")
        if other.exists():
            other.stop()
        if state["drop"]:
            other.drop()
        elif other.port == USUAL_PORT:
            other.move_to(free_port())
            other.starts("manual")
        if serves.port != USUAL_PORT:
            serves.move_to(USUAL_PORT)
        serves.start()
    elif cluster := serving():
        cluster.start()
    open_again()
    finish()
    say("everything is as before" if not state.get("done") else "finished what was begun")
    return True


# -- the verbs -------------------------------------------------------------------------------------


def upgrade(to: int, files: Sequence[File], rehearsal: bool, backup: str, after: str) -> float:
    """Upgrade the live cluster; return the seconds for which the applications were closed."""
    old, new = serving(), Cluster(to)
    if refused := checks.refusals(old, to, rehearsal):
        raise UpgradeError("\n".join(refused))
    assert old is not None  # noqa: S101 - what is refused above
    step("packages", f"install PostgreSQL {to} beside {old.version}")
    packages.install_server(old.version, to)
    if lacking := checks.extensions(old, to):
        raise UpgradeError(
            f"PostgreSQL {to} lacks extensions that are in use: {', '.join(lacking)}",
            hint=f"install their packages for {to}, or drop them; the site was not touched",
        )
    make_backup("a backup first", backup)
    if rehearsal:
        rehearse(old, to, files)
    say("the applications are closed: maintenance page")
    close(old, new, drop=True)
    began = time.monotonic()
    convert(old, new, files)
    hand_over(old, new)
    open_again()
    step("ready", "the applications are ready")
    return settle(began, new, files, after)


def back(files: Sequence[File], backup: str, after: str) -> float:
    """Put the cluster that an upgrade has left back into service; return the seconds closed."""
    now, before = serving(), left_over()
    if now is None or before is None:
        raise UpgradeError("there is no cluster to go back to", hint="pg_lsclusters shows them")
    make_backup("a backup first", backup)
    say("the applications are closed: maintenance page")
    close(now, before, drop=False)
    began = time.monotonic()
    write_files([file for file in files if is_of(file, before)])
    before.hold_archive()
    hand_over(now, before)
    open_again()
    return settle(began, before, files, after)


def settle(began: float, cluster: Cluster, files: Sequence[File], after: str) -> float:
    """Open the applications on a cluster that is proven; then what need not be waited for."""
    mark(marked() | {"done": True})
    finish()
    closed = time.monotonic() - began
    say(f"the applications are open again after {closed:.1f} s, on {cluster}")
    # What follows must not put anything back: requests may have written already.
    try:
        write_files([file for file in files if not is_of(file, cluster)])
        cluster.call("vacuumdb", "--all", "--analyze-only", "--jobs", jobs())
        collations.mend(cluster)
        make_backup("a backup of the new cluster", after)
    except UpgradeError as error:
        raise UpgradeError(
            f"{cluster} serves, but what follows an upgrade failed: {error.reason}",
            error.detail,
            "mend it and run site.yml; do not rely on backups until one was made",
        ) from error
    return closed


def make_backup(what: str, command: str) -> None:
    if command:
        say(f"{what}: {command}")
        run("sh", "-euc", command)


def rehearse(old: Cluster, to: int, files: Sequence[File]) -> None:
    """Upgrade a copy first, which tells whether it works and how long it takes."""
    step("copy", f"rehearsal: copy {old}")
    copy, new = Cluster(old.version, copies.NAME), Cluster(to, copies.NAME)
    began = time.monotonic()
    try:
        copies.make(old)
        copied = time.monotonic()
        own = [file | {"path": moved(file, to)} for file in files if is_of(file, Cluster(to))]
        convert(copy, new, own)
        took = time.monotonic() - copied
        say(
            f"rehearsal: {old.megabytes()} MB, copied in {copied - began:.1f} s, upgraded in "
            f"{took:.1f} s; the applications will be closed for that and their start"
        )
    except UpgradeError as error:
        raise UpgradeError(
            f"the rehearsal failed, so nothing was begun: {error.reason}",
            error.detail,
            "mend that and run it again; the live cluster was not touched",
        ) from error
    finally:
        new.drop()
        copy.drop()


def moved(file: File, to: int) -> str:
    """Where a file of the live cluster lies for the rehearsal's."""
    inside = Path(file["path"]).relative_to(Cluster(to).configuration)
    return str(Cluster(to, copies.NAME).configuration / inside)


def left_over() -> Cluster | None:
    """The cluster that an upgrade, or going back, has left: stopped, on another port."""
    now = serving()
    rest = [c for c in mains() if now and c != now and not c.is_running() and c.port != USUAL_PORT]
    return rest[-1] if rest else None


def remove() -> Cluster:
    """Remove that cluster, and the packages of its version."""
    old = left_over()
    if old is None:
        raise UpgradeError("there is no stopped cluster that could be removed")
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
    closed = ", ".join(app.name for app in apps.every()) or "none"
    return [
        f"PostgreSQL {old.version} -> {to}, {old.megabytes()} MB, {method}; {old} stays, stopped",
        *(f"  install {name} {packages.candidate(name)}" for name in names),
        "  a rehearsal on a copy first" if rehearsal else "  without a rehearsal",
        f"  maintenance page meanwhile: {closed}",
    ]
