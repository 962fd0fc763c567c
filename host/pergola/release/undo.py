"""When a phase failed, here or on another host: the release serves again that did."""

from pergola.errors import PergolaError
from pergola.release.database import UNKNOWN
from pergola.release.work import Work
from pergola.system import systemctl

# From the first phase on that may have changed the database.
AFTER_MIGRATION = ("migrate", "gate", "switch", "bake")


def give_up(work: Work, phase: str, error: PergolaError) -> None:
    """Put the release back that was live, and write down why; the error says it as well."""
    went_back = go_back(work)
    systemctl("daemon-reload")
    if phase in AFTER_MIGRATION:
        work.note_schema()
    error.evidence = "\n".join(
        filter(None, [error.evidence, work.trouble, told_about_schema(work)])
    )
    work.write_ledger("returned" if went_back else "refused", phase, error.reason)
    work.lock.release()


def go_back(work: Work) -> bool:
    """Undo what this deploy did to the slots; return whether requests had been switched."""
    if work.is_live():
        return False
    if not work.progress.switched:
        if work.releases.in_slot(work.new_colour) == work.release:
            work.slots.stop(work.new_colour)
        return False  # there may be no manifest yet that would tell of units
    new, old = work.new_units(), work.old_units()
    if work.old:
        work.releases.publish_assets(work.old)
        work.slots.switch(work.old_colour)
        new.stop([*new.names(overlap=False), *new.names(overlap=True)])
        old.install()
        try:
            old.start([*old.names(overlap=True), *old.names(overlap=False)])
        except PergolaError as error:  # all the rest must be put back nevertheless
            work.trouble = f"AND OF THE RELEASE THAT SERVES AGAIN {error.reason}"
        old.start_timers()
        work.slots.retire(work.new_colour)
    else:  # the first release of all: there is nothing to go back to
        work.slots.retire(work.new_colour)
        new.stop([*new.names(overlap=False), *new.names(overlap=True)])
        (work.releases.home / "slots" / work.new_colour).unlink()
        work.releases.app.have_nothing_live()
    return True


def told_about_schema(work: Work) -> str:
    """Plain words on the database, for whoever must decide what to do next."""
    before, now = work.progress.schema
    if not work.progress.migrated:
        return ""
    serves = f"{work.old or 'no release'} serves on it"
    if UNKNOWN in (before, now):
        return (
            "the migration was begun; where the database is now could not be asked, see with "
            f"sudo {work.releases.home}/bin/release psql; {serves}"
        )
    if before != now:
        return (
            f"THE DATABASE IS NOW AT REVISION {now} (it was at {before}): the migration was "
            f"run and is not undone; {serves}"
        )
    if now is None:
        return f"the migration was begun; no app_schema_query tells what it left; {serves}"
    return f"the database is at revision {now}, as before"
