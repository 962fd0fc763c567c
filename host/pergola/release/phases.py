"""The phases of a deploy and of a rollback on this host.

    prepare   build the release                       every host, before anything else happens
    migrate   bring the database to its schema        one host, while the old release serves
    gate      start the idle slot, wait until ready   every host
    switch    flip the flag file, change processes    one host first, then the others
    bake      watch real requests for a while         (optional)
    drain     stop the old slot, write the ledger
    migrate_after   what of the migration waits for the new release        one host, if there is any

A phase may be killed at any point. Until `drain` the old slot runs, so going back is a flip. What
comes after it takes nothing back.
"""

from collections.abc import Callable
from pathlib import Path

from pergola import paths
from pergola.apps import Colour
from pergola.errors import PergolaError
from pergola.records import AFTER, Line
from pergola.release import bytecode, pythons
from pergola.release.bake import Bake, end_of, is_marked
from pergola.release.build import Build
from pergola.release.migrations import Migration, MigrationAfter, unfinished_indexes
from pergola.release.releases import other
from pergola.release.slots import left
from pergola.release.units import Units
from pergola.release.work import Work
from pergola.system import systemctl


def prepare(work: Work) -> None:
    if work.releases.is_ready(work.release):
        return
    work.changed = True
    if not work.order:
        raise PergolaError(f"nobody said what {work.release} is made of")
    build = Build(work.releases, work.release, work.order.manifest)
    build.make()
    work.progress.left_out = build.left_out
    for text in build.copied:
        work.warn(text)


def migrate(work: Work) -> None:
    """Run the release's migration as the application, with the release's own environment."""
    command = work.releases.manifest(work.release).migrate_command
    if work.old == work.release:
        return
    if room := work.database.lacks_room_for():
        work.warn(
            f"the database lets {room} connections in, and the application may open "
            f"{work.settings.connections} (app_database_connections)"
        )
    if not command:
        warn_of_unfinished_indexes(work)
        return
    work.changed = True
    migration = Migration(work.releases, work.release)
    try:
        migration.run(command)
    finally:
        if migration.begun:
            work.progress.migrated = True
            work.note_schema()


def warn_of_unfinished_indexes(work: Work) -> None:
    """Nothing here takes one for made, so it does not stop the deploy."""
    if unfinished := unfinished_indexes(work.releases, work.release):
        work.warn(
            f"the database has an index that was never finished: {', '.join(unfinished)}; drop "
            "it and make it again"
        )


def gate(work: Work) -> None:
    if not work.releases.is_ready(work.release):
        raise PergolaError(f"release {work.release} was never prepared completely")
    if work.is_live():
        put_away(work, other(work.old_colour))
        return
    refuse_other_kind(work)
    work.changed = True
    work.slots.reread()
    work.database.make_room()
    work.slots.start(work.new_colour, work.release)


def refuse_other_kind(work: Work) -> None:
    """Refuse a release with a site where the slots' unit is for one without, or the reverse."""
    web = work.releases.manifest(work.release).web
    if web is not work.slots.serve():
        kind, now = ("a site", "false") if web else ("no site", "true")
        raise PergolaError(
            f"{work.release} was made with {kind}, and app_web is {now} now",
            hint="its commit can be live again with today's settings: "
            f"playbooks/rollback.yml -e env=current -e release={work.release}",
        )


def put_away(work: Work, colour: Colour) -> None:
    """Stop what is left of a slot when a run died before its drain, now and for each boot."""
    units = Units(work.releases, colour, work.releases.in_slot(colour))
    # Not the socket: it stays until its service has ended, which a drain does not wait for.
    if left(work.releases.unit(colour), *units.all_names()):
        work.changed = True
        work.slots.retire(colour)
        units.stop(units.all_names(), wait=False)
        systemctl("daemon-reload")


def switch(work: Work) -> None:
    if work.is_live():
        units = work.old_units()
        if not units.is_current():  # a run died between the flip and its end
            work.changed = True
            units.install()
            units.start(units.all_names())
            units.start_timers()
            systemctl("daemon-reload")
        return
    work.changed = True
    new, old = work.new_units(), work.old_units()
    work.releases.publish_assets(work.release)
    new.install()
    work.progress.switched = True
    # The first answers count in the bake as well, which begins when all processes run.
    work.progress.logged = end_of(access_log(work))
    work.keep()
    work.slots.switch(work.new_colour)
    new.start(new.names(overlap=True))
    old.stop(old.names(overlap=False))
    new.start(new.names(overlap=False))
    new.start_timers()
    # Until then systemd says of every unit that it is not as its file. Without a bake that lasts
    # no longer than until the drain, which does it as well.
    if work.settings.bake_seconds:
        systemctl("daemon-reload")


def access_log(work: Work) -> Path:
    """The log of the site that it is, or whose path it answers."""
    owner = paths.log_owner(work.releases.app.name)
    own = Path(work.settings.access_log)
    return own if owner == work.releases.app.name else own.with_name(f"{owner}.log")


def bake(work: Work) -> None:
    settings = work.settings
    if work.is_live() or not work.old or not settings.bake_seconds:
        return
    manifest = work.releases.manifest(work.release)
    if not manifest.web:
        units = work.new_units()
        units.watch(units.all_names(), settings.bake_seconds)
        return
    app = work.releases.app.name
    if not paths.files(app) and not is_marked(app):
        work.warn(
            "Caddy's file of this site is of an earlier Pergola, so that no error was counted "
            "in the bake: run playbooks/provision.yml"
        )
    # One alone is the unit's main process; with this option workers end as a matter of course.
    told = manifest.workers > 1 and not any(
        "limit-max-requests" in option for option in manifest.uvicorn_options
    )
    work.progress.baked = Bake(
        access_log(work),
        work.releases.unit(work.new_colour),
        f"{app}.{work.new_colour}" if paths.files(app) else work.new_colour,
        settings.bake_seconds,
        settings.bake_error_percent,
        manifest.workers if told else 0,
        since=work.progress.logged,
    ).watch()
    work.keep()


def drain(work: Work) -> None:
    if work.is_live():
        work.end()
        return
    work.changed = True
    if work.old:
        work.slots.retire(work.old_colour)
        old = work.old_units()
        old.stop(old.names(overlap=True), wait=False)
    systemctl("daemon-reload")
    work.note_schema()
    work.spend("drain")
    work.write_ledger("live")
    work.progress.removed = work.releases.prune(work.progress.began)
    bytecode.prune(work.releases.home)
    pythons.prune()
    work.end()


def migrate_after(work: Work) -> None:
    """Run what the release's migration left for now, until it has succeeded once."""
    manifest = work.releases.manifest(work.release)
    if manifest.migrate_after_command and not work.releases.has_migrated_after(work.release):
        work.changed = True
        before, outcome, reason = work.progress.schema[1], "failed", ""
        try:
            MigrationAfter(work.releases, work.release).run(manifest.migrate_after_command)
            outcome = "done"
        except PergolaError as error:
            reason = error.reason
            raise
        finally:
            work.note_schema()
            work.spend(AFTER)
            work.releases.record(
                Line(
                    action=AFTER,
                    to=work.release,
                    outcome=outcome,
                    schema=(before, work.progress.schema[1]),
                    backward_compatible=manifest.backward_compatible,
                    seconds={AFTER: work.progress.seconds[AFTER]},
                    reason=reason,
                )
            )
    work.lock.release()


PHASES: dict[str, Callable[[Work], None]] = {
    "prepare": prepare,
    "migrate": migrate,
    "gate": gate,
    "switch": switch,
    "bake": bake,
    "drain": drain,
    AFTER: migrate_after,
}
