"""The verbs that are about this host's own PostgreSQL."""

import argparse
import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable

from pergola import apps, results
from pergola.apps import PATIENCE
from pergola.backup import jobs, peers, points, resolve, timers
from pergola.backup.drill import drill
from pergola.backup.files import back, repositories
from pergola.backup.files import drill as files_drill
from pergola.backup.files.make import make, remove
from pergola.backup.follow import follow
from pergola.backup.intent import AtWorkError
from pergola.backup.plan import make_plan
from pergola.backup.rebuild import rebuild
from pergola.backup.repository import Repositories
from pergola.backup.restore import restore, undo
from pergola.backup.scratch import Scratch
from pergola.backup.settings import Settings
from pergola.backup.targets import Wanted
from pergola.backup.told import told, told_undo
from pergola.backup.unit import said_in_own_unit
from pergola.backup.wake import watch_starts
from pergola.documents import answer
from pergola.people import iso

Options = argparse.Namespace


def wanted(options: Options) -> Wanted:
    """The target, and from where it is wanted."""
    return Wanted(options.to, options.xid, options.point, options.repo, options.timeline)


def show_plan(own: Settings, options: Options) -> None:
    if options.files:
        undone = options.undo
        plan = (
            back.told_undo if undone else lambda name: back.told(back.make_plan(name, options.to))
        )
        print(plan(options.files))
        return
    # What an unfinished restore has done is not to be planned upon.
    if says := resolve.resolve(own):
        print(f"{says}\n")
    if options.undo:
        print(told_undo(own))
    else:
        print(told(own, make_plan(own, wanted(options))))


def run_in_own_unit(own: Settings, options: Options) -> None:
    """Restore or undo; `--here`: this process is in its unit."""
    if not options.here:
        print(said_in_own_unit(sys.argv[1:]))
    elif options.files and options.verb == "undo":
        back.undo(options.files)
    elif options.files:
        back.restore(options.files, options.to)
    elif options.verb == "undo":
        undo(own)
    else:
        restore(own, wanted(options))


def finish_interrupted(own: Settings, options: Options) -> None:
    """Bring a restore that was cut off to its end."""
    if options.acknowledge:
        resolve.acknowledge()
    elif options.before_postgresql:
        with contextlib.suppress(AtWorkError):  # it is a start of the restore's own
            resolve.resume_before_start(own)
    elif options.at_boot:
        resolve.resume_after_boot(own)
    elif says := resolve.resolve(own, PATIENCE):
        print(says)


def set_up(own: Settings, options: Options) -> None:
    changed = peers.alone() if options.alone else False
    repositories.share_own()
    changed |= timers.start(timers.OWN)
    changed |= timers.enable(resolve.FINISH)
    made, without = jobs.set_up(own)
    # After it: whoever is woken may switch WAL, which has a place now.
    changed |= watch_starts(f"{own.version}/main")
    print(answer({"changed": changed or made, "wanted": without}))


def restore_beside(own: Settings, options: Options) -> None:
    """Restore beside the live server."""
    if options.files:
        if options.remove:
            remove(back.scratch_of(options.files))
        else:
            print(back.beside(options.files, options.to))
        return
    instance = Scratch.of(own, "scratch")
    if options.remove:
        instance.remove()
        return
    instance.restore(make_plan(own, wanted(options)).choice)
    instance.start()
    print(f"sudo -u postgres psql -h {instance.sockets}")


def drill_all(own: Settings, options: Options) -> None:
    """Both drills: one that fails does not keep the other from its own."""
    try:
        drill(own, options.repo)
    finally:
        files_drill.drill()


def show_snapshots(_: Settings, __: Options) -> None:
    for app in apps.every():
        for repository in repositories.of(app.name):
            for one in repository.snapshots():
                print(f"{app.name}  {iso(one.at)}  {one.id}  {repository.name}")


def status(own: Settings, _: Options) -> None:
    backups = [dataclasses.asdict(backup) for backup in Repositories(own).backups()]
    known = {job: results.FORM.json(result) for job, result in results.every().items()}
    print(json.dumps({"backups": backups, "results": known}, indent=1))


VERBS: dict[str, Callable[[Settings, Options], object]] = {
    "point": lambda own, options: print(points.make_point(own, options.name)),
    "drill": drill_all,
    "files": lambda *_: make(),
    "snapshots": show_snapshots,
    "scratch": restore_beside,
    "plan": show_plan,
    "restore": run_in_own_unit,
    "undo": run_in_own_unit,
    "rebuild": lambda own, _: print(answer(rebuild(own))),
    "resolve": finish_interrupted,
    "setup": set_up,
    "stanza-upgrade": lambda own, _: Repositories(own).do("stanza-upgrade"),
    "follow": lambda _, options: follow(options.version),
    "status": status,
}
