"""One deploy or rollback at work: what its phases look at, change and write down together."""

import contextlib
import time
from dataclasses import dataclass

from pergola.apps import Colour
from pergola.documents import Form
from pergola.errors import PergolaError
from pergola.lock import Lock
from pergola.records import AFTER, Line, Manifest, Settings
from pergola.release.build import Ordered
from pergola.release.database import Database
from pergola.release.progress import Progress
from pergola.release.releases import Releases, other
from pergola.release.slots import Slots
from pergola.release.units import Units


@dataclass(frozen=True)
class Order:
    """What role release wants: how releases are made here, and what this one is made of."""

    settings: Settings
    manifest: Ordered


ORDER = Form(Order)


class Work:
    """One deploy or rollback to a release, under the lock.

    `order`: what the phase `prepare` gets; None: the release is there. `trouble`: what went wrong
    while the release before was put back.
    """

    def __init__(
        self, releases: Releases, lock: Lock, progress: Progress, order: Order | None = None
    ) -> None:
        self.releases, self.lock, self.progress, self.order = releases, lock, progress, order
        self.settings, self.release = releases.settings, progress.release
        self.slots, self.database = Slots(releases), Database(releases, self.release)
        self.changed, self.trouble = False, ""
        self.began = time.monotonic()

    def keep(self, phase: str | None = None) -> None:
        self.progress.keep(self.lock, phase)

    def end(self) -> None:
        """Give the lock back, or keep it for what comes once the release serves."""
        if self.progress.action == "deploy" and self.settings.runs_schedules:
            manifest = self.releases.manifest(self.release)
            if manifest.migrate_after_command:
                self.keep(AFTER)
                return
        self.lock.release()

    def warn(self, text: str) -> None:
        self.progress.warnings.append(text)

    # -- slots -------------------------------------------------------------------------------------

    @property
    def old(self) -> str | None:
        return self.progress.from_

    @property
    def old_colour(self) -> Colour:
        return self.progress.colour

    @property
    def new_colour(self) -> Colour:
        """The slot to start; while nothing is live the flag says green, which is empty."""
        return other(self.old_colour) if self.old else "blue"

    def is_live(self) -> bool:
        """Whether there is nothing to do: the release serves, with the units as they are now."""
        if self.old != self.release:
            return False
        if self.progress.current is None:
            self.slots.reread()
            self.progress.current = self.slots.is_current(self.old_colour)
            self.keep()
        return self.progress.current

    def old_units(self) -> Units:
        return Units(self.releases, self.old_colour, self.old)

    def new_units(self) -> Units:
        return Units(self.releases, self.new_colour, self.release)

    # -- what is written down ----------------------------------------------------------------------

    def spend(self, phase: str) -> None:
        """Add to a phase's seconds what passed since its start or the last call."""
        seconds, now = self.progress.seconds, time.monotonic()
        seconds[phase] = round(seconds.get(phase, 0) + now - self.began, 2)
        self.began = now

    def note_schema(self) -> None:
        self.progress.schema = (self.progress.schema[0], self.database.revision())
        self.keep()

    def write_ledger(self, outcome: str, phase: str = "", reason: str = "") -> None:
        progress = self.progress
        manifest: Manifest | None = self.order.manifest if self.order else None
        with contextlib.suppress(PergolaError):  # it may have failed before that was on the disk
            manifest = self.releases.manifest(self.release)
        self.releases.record(
            Line(
                action=progress.action,
                to=self.release,
                outcome=outcome,
                from_=self.old,
                schema=progress.schema,
                commit=manifest.commit if manifest else "",
                backward_compatible=bool(manifest and manifest.backward_compatible),
                seconds=progress.seconds,
                baked=progress.baked,
                phase=phase,
                reason=reason,
            )
        )
