"""A deploy or a rollback on this host: some of its phases in one call, and their end."""

import subprocess
import time
import traceback
from collections.abc import Sequence

from pergola.documents import Json
from pergola.errors import PergolaError
from pergola.lock import Lock
from pergola.notes import FENCE_FILE
from pergola.people import last_lines
from pergola.records import AFTER, Line
from pergola.release import undo
from pergola.release.database import Database
from pergola.release.phases import PHASES
from pergola.release.progress import Progress, progress_of
from pergola.release.releases import Releases
from pergola.release.slots import Slots, is_enabled
from pergola.release.takeover import keep_assets, take_over
from pergola.release.work import Order, Work

# When the old slot may be gone: there is no way back.
SERVING = ("drain", AFTER)
# Without those before them they say nothing.
LATER = ("switch", "bake", *SERVING)


class Deploy:
    """One deploy or rollback to a release, under the lock. `phase`: what it is at, for reports."""

    def __init__(self, releases: Releases, lock: Lock, action: str, release: str) -> None:
        self.releases, self.lock, self.action, self.release = releases, lock, action, release
        self.phase = "start"

    def run(self, phases: Sequence[str], order: Order | None = None) -> Json:
        """Go through some phases; when one fails, put everything back and say so."""
        work = self.begin(phases[0], order)
        for self.phase in phases:
            work.keep(self.phase)
            work.began = time.monotonic()
            try:
                go_through(self.phase, work)
            except PergolaError as error:
                work.spend(self.phase)
                if self.phase in SERVING:
                    self.lock.release()
                    error.evidence += "\nthe new release serves all the same"
                else:
                    undo.give_up(work, self.phase, error)
                raise
            work.spend(self.phase)
            if self.lock.holder.run:  # else the phase gave the lock back
                work.keep()
        progress = work.progress
        return {
            "changed": work.changed,
            "live": self.releases.live(),
            "from": progress.from_,
            "seconds": progress.seconds,
            "schema": progress.schema,
            "removed": progress.removed,
            "left_out": progress.left_out,
            "warnings": progress.warnings,
        }

    def begin(self, phase: str, order: Order | None) -> Work:
        """What the call before left of this deploy, or a new one."""
        progress = progress_of(self.lock)
        if progress and progress.release == self.release:
            return Work(self.releases, self.lock, progress, order)
        if FENCE_FILE.exists():
            raise PergolaError(
                "the database of this application is being restored on its host, and it is closed",
                hint="wait for the end of that run. Where it was cut off: sudo pergola backup open",
            )
        live = self.found_live()
        if phase in LATER and live != self.release:
            self.phase = phase
            raise PergolaError(
                "the phases before this one do not count any more: the server restarted since, or "
                "the lock was taken away",
                hint="deploy again",
            )
        changed = order is not None and self.releases.keep_settings(order.settings)
        database = Database(self.releases)
        if phase != AFTER:  # the old slot may still be busy with its last requests
            database.make_room()
        database.take_limits_back()
        revision = database.revision()
        if live:
            if live not in self.releases.good():
                # A run died between its switch and its ledger line.
                found = Line(action="found", to=live, outcome="live", schema=(revision, revision))
                self.releases.record(found)
            keep_assets(self.releases, live)
        changed |= take_over(self.releases)
        colour, now = self.releases.app.colour, time.time()
        schema = (revision, revision)
        progress = Progress(self.release, self.action, live, colour, now, schema)
        work = Work(self.releases, self.lock, progress, order)
        work.changed = changed
        work.keep()
        return work

    def found_live(self) -> str | None:
        """What is live before this deploy; None: nothing yet.

        A first release that an earlier Pergola refused, or was starting when it died, is still in
        the slot that an absent flag means, but no switch has ever enabled its units.
        """
        releases = self.releases
        live, colour = releases.live(), releases.app.colour
        if live and not releases.good() and not is_enabled(Slots(releases).units(colour)[0]):
            (releases.home / "slots" / colour).unlink()
        releases.app.have_nothing_live()
        return releases.live()

    def abort(self, reason: str) -> bool:
        """Give up because another host failed; whether anything had to be put back.

        Nothing has where this deploy is over already, or began to let go of the old release: that
        part is completed, as there is no way back.
        """
        progress = progress_of(self.lock)
        if progress is None:
            self.lock.release()
            return False
        work = Work(self.releases, self.lock, progress)
        if (phase := self.lock.holder.phase) in SERVING:
            if phase == "drain":
                go_through(phase, work)
            self.lock.release()
            return False
        work.keep("abort")
        undo.give_up(work, "other host", PergolaError(reason))
        return True


def go_through(phase: str, work: Work) -> None:
    """One phase; what nobody thought of ends it like any other failure."""
    try:
        PHASES[phase](work)
    except (OSError, subprocess.SubprocessError, ValueError, LookupError) as error:
        raise PergolaError(
            f"{type(error).__name__}: {error}",
            last_lines(traceback.format_exc()),
            hint="see above; this is not foreseen. Deploy again once its cause is gone",
        ) from error
