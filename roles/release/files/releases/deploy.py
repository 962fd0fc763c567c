"""The phases of a deploy and of a rollback on this host.

    prepare   build the release                       every host, before anything else happens
    migrate   bring the database to its schema        one host, while the old release serves
    gate      start the idle slot, wait until ready   every host
    switch    flip the flag file, change processes    one host first, then the others
    bake      watch real requests for a while         (optional)
    drain     stop the old slot, write the ledger

A phase may be killed at any point. Until `drain` the old slot runs, so going back is a flip.
"""

import contextlib
import os
import subprocess
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from releases.bake import Bake
from releases.build import Build, keep_settings
from releases.database import UNKNOWN, Database
from releases.lock import Lock
from releases.maintenance import Maintenance
from releases.slots import Slots
from releases.store import Store, other
from releases.system import NICE, ReleaseError, ended, last_lines, left, limited, write
from releases.units import Units, transient

PHASES = ("prepare", "migrate", "gate", "switch", "bake", "drain")


class Deploy:
    """One deploy or rollback to a release, under the lock."""

    def __init__(self, store: Store, lock: Lock, action: str, release: str) -> None:
        self.store, self.lock, self.action, self.release = store, lock, action, release
        self.slots, self.database = Slots(store), Database(store)
        self.order: dict[str, Any] | None = None
        self.changed, self.trouble = False, ""
        self.began = time.monotonic()

    @property
    def state(self) -> dict[str, Any]:
        """What the phases share: the file of the lock."""
        return self.lock.state

    def run(self, phases: Sequence[str], order: dict[str, Any] | None) -> dict[str, Any]:
        """Go through some phases; when one fails, put everything back and say so."""
        self.begin(order)
        for phase in phases:
            self.lock.save(phase=phase)
            self.began = time.monotonic()
            try:
                self.go_through(phase)
            except ReleaseError as error:
                self.spend(phase)
                self.give_up(phase, error)
                raise
            self.spend(phase)
            if phase != "drain":  # that gave the lock back
                self.lock.save()
        return {
            "changed": self.changed,
            "live": self.store.live(),
            "from": self.state.get("from"),
            "seconds": self.state.get("seconds"),
            "schema": self.state.get("schema"),
            "removed": self.state.get("removed", []),
        }

    def go_through(self, phase: str) -> None:
        """One phase; what nobody thought of ends it like any other failure."""
        try:
            getattr(self, phase)()
        except (OSError, subprocess.SubprocessError, ValueError, LookupError) as error:
            raise ReleaseError(
                phase,
                f"{type(error).__name__}: {error}",
                last_lines(traceback.format_exc()),
                "see above; this is not foreseen. Deploy again once its cause is gone",
            ) from error

    def begin(self, order: dict[str, Any] | None) -> None:
        self.order = order
        if "from" in self.state:
            return
        if order:
            self.changed |= keep_settings(self.store, order["settings"])
            self.database = Database(self.store)
        self.database.take_limits_back()
        live = self.store.live()
        if live and live not in self.store.good():
            # A run died between its switch and its ledger line.
            self.store.record("found", live, "live", schema=[self.database.revision()] * 2)
        self.lock.save(
            **{"from": live, "action": self.action, "release": self.release},
            schema=[self.database.revision()] * 2,
            colour=self.store.live_colour(),
            began=time.time(),
        )

    def spend(self, phase: str) -> None:
        """Add to a phase's seconds what passed since its start or the last call."""
        seconds, now = self.state.setdefault("seconds", {}), time.monotonic()
        seconds[phase] = round(seconds.get(phase, 0) + now - self.began, 2)
        self.began = now

    @property
    def old(self) -> str | None:
        return self.state["from"]

    @property
    def new_colour(self) -> str:
        """The slot to start; nothing was ever live: blue, for that is what an absent flag says."""
        return other(self.state["colour"]) if self.old else self.state["colour"]

    def is_live(self) -> bool:
        """Whether there is nothing to do: the release serves, with the units as they are now."""
        if self.old != self.release:
            return False
        if "current" not in self.state:
            self.slots.reread()
            self.lock.save(current=self.slots.is_current(self.state["colour"]))
        return self.state["current"]

    # -- the phases ------------------------------------------------------------------------------

    def prepare(self) -> None:
        if self.store.is_ready(self.release):
            return
        self.changed = True
        if not self.order:
            raise ReleaseError("prepare", f"nobody said what {self.release} is made of")
        Build(self.store, self.release, self.order["manifest"]).make()

    def migrate(self) -> None:
        """Run the release's migration as the application, with the release's own environment."""
        command = self.store.manifest(self.release)["migrate_command"]
        if not command or self.old == self.release:
            return
        self.changed = True
        settings = self.store.settings
        with self.database.migrating():
            self.back_up()
            limits = settings["migrate_limits"].items()
            done = subprocess.run(
                transient(
                    self.store,
                    self.release,
                    [*limited(settings["migrate_timeout_seconds"]), "sh", "-euc", command],
                    "--pipe",
                    f"--nice={NICE}",
                    PGOPTIONS=" ".join(f"-c {name}={seconds}s" for name, seconds in limits),
                ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
        self.lock.save(migrated=True)
        write(self.store.path(self.release) / "migrate.log", done.stdout, 0o640)
        self.note_schema()
        if done.returncode:
            raise ReleaseError(
                "migrate",
                f"the migration `{command}` of {self.release} {ended(done.returncode)}",
                last_lines(done.stdout),
                "see above what it said; mend it, commit and deploy again",
            )

    def back_up(self) -> None:
        """Make a point to return to, where a backup is configured."""
        command = self.store.settings["backup_command"]
        if not command:
            return
        done = subprocess.run(
            [*limited(self.store.settings["migrate_timeout_seconds"]), "sh", "-euc", command],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env={**os.environ, "PERGOLA_RELEASE": self.release},
        )
        if done.returncode:
            how = ended(done.returncode)
            raise ReleaseError(
                "migrate",
                f"no backup could be made before the migration: `{command}` {how}",
                last_lines(done.stdout + done.stderr),
                "nothing was migrated; mend the backup and deploy again",
            )

    def note_schema(self) -> None:
        before = self.state["schema"][0]
        self.lock.save(schema=[before, self.database.revision()])

    def gate(self) -> None:
        if not self.store.is_ready(self.release):
            raise ReleaseError("gate", f"release {self.release} was never prepared completely")
        if self.is_live():
            self.put_away(other(self.state["colour"]))
            return
        self.changed = True
        self.slots.reread()
        self.slots.start(self.new_colour, self.release)

    def put_away(self, colour: str) -> None:
        """Stop what is left of a slot when a run died before its drain, now and for each boot."""
        units = self.units_of(colour, self.store.in_slot(colour))
        # Not the socket: it stays until its service has ended, which a drain does not wait for.
        if left(self.store.unit(colour), *units.all_names()):
            self.changed = True
            self.slots.retire(colour)
            units.stop(units.all_names(), wait=False)

    def switch(self) -> None:
        if self.is_live():
            units = self.old_units()
            if not units.is_current():  # a run died between the flip and its end
                self.changed = True
                units.install()
                units.start(units.all_names())
                units.start_timers()
            return
        self.changed = True
        new, old = self.units_of(self.new_colour, self.release), self.old_units()
        self.store.publish_assets(self.release)
        new.install()
        self.lock.save(switched=True)
        self.slots.switch(self.new_colour)
        new.start(new.names(overlap=True))
        old.stop(old.names(overlap=False))
        new.start(new.names(overlap=False))
        new.start_timers()

    def bake(self) -> None:
        settings = self.store.settings
        if self.is_live() or not self.old or not settings["bake_seconds"]:
            return
        seen = Bake(
            Path(settings["access_log"]),
            self.store.unit(self.new_colour),
            settings["bake_seconds"],
            settings["bake_error_percent"],
            lambda: Maintenance(self.store).state() != "off",
        ).watch()
        self.lock.save(baked=seen)

    def drain(self) -> None:
        if self.is_live():
            self.lock.release()
            return
        self.changed = True
        if self.old:
            self.slots.retire(self.state["colour"])
            old = self.old_units()
            old.stop(old.names(overlap=True), wait=False)
        self.note_schema()
        self.spend("drain")
        self.write_ledger("live")
        self.state["removed"] = self.store.prune(self.state["began"])
        state = dict(self.state)
        self.lock.release()
        self.lock.state = state

    # -- when it goes wrong ----------------------------------------------------------------------

    def give_up(self, phase: str, error: ReleaseError) -> None:
        """Put the release back that was live, and write down why."""
        went_back = self.go_back()
        if phase in ("migrate", "gate", "switch", "bake"):
            self.note_schema()
        error.detail = "\n".join(
            filter(None, [error.detail, self.trouble, self.told_about_schema()])
        )
        self.write_ledger("returned" if went_back else "refused", phase=phase, reason=error.reason)
        self.lock.release()

    def go_back(self) -> bool:
        """Undo what this deploy did to the slots; return whether requests had been switched."""
        if "colour" not in self.state or self.is_live():
            return False
        switched = self.state.get("switched", False)
        if not switched:
            if self.store.in_slot(self.new_colour) == self.release:
                self.slots.stop(self.new_colour)
            return False  # there may be no manifest yet that would tell of units
        new, old = self.units_of(self.new_colour, self.release), self.old_units()
        if self.old:
            self.store.publish_assets(self.old)
            self.slots.switch(self.state["colour"])
            new.stop([*new.names(overlap=False), *new.names(overlap=True)])
            old.install()
            try:
                old.start([*old.names(overlap=True), *old.names(overlap=False)])
            except ReleaseError as error:  # all the rest must be put back nevertheless
                self.trouble = f"AND OF THE RELEASE THAT SERVES AGAIN {error.reason}"
            old.start_timers()
            self.slots.retire(self.new_colour)
        else:  # the first release of all: there is nothing to go back to
            self.slots.retire(self.new_colour)
            new.stop([*new.names(overlap=False), *new.names(overlap=True)])
            (self.store.home / "slots" / self.new_colour).unlink()
        return True

    def abort(self, reason: str) -> dict[str, Any]:
        """Give up because another host failed; nothing to do where this deploy is over already."""
        if "from" not in self.state:
            self.lock.release()
            return {"changed": False, "live": self.store.live()}
        self.lock.save(phase="abort")
        self.release = self.state["release"]
        self.give_up("other host", ReleaseError("other host", reason))
        return {"changed": True, "live": self.store.live()}

    def told_about_schema(self) -> str:
        """Plain words on the database, for whoever must decide what to do next."""
        before, now = self.state["schema"]
        if not self.state.get("migrated"):
            return ""
        serves = f"{self.old or 'no release'} serves on it"
        if UNKNOWN in (before, now):
            return (
                "the migration was begun; where the database is now could not be asked, see with "
                f"sudo {self.store.home}/bin/release psql; {serves}"
            )
        if before != now:
            return (
                f"THE DATABASE IS NOW AT REVISION {now} (it was at {before}): the migration was "
                f"run and is not undone; {serves}"
            )
        if now is None:
            return f"the migration was begun; no app_schema_query tells what it left; {serves}"
        return f"the database is at revision {now}, as before"

    def write_ledger(self, outcome: str, **more: object) -> None:
        # It may have failed before its manifest was on disk.
        manifest = (self.order or {}).get("manifest", {})
        with contextlib.suppress(ReleaseError):
            manifest = self.store.manifest(self.release)
        self.store.record(
            self.action,
            self.release,
            outcome,
            **{"from": self.old},
            schema=self.state["schema"],
            commit=manifest.get("commit", ""),
            backward_compatible=manifest.get("backward_compatible", False),
            seconds=self.state.get("seconds", {}),
            **({"baked": self.state["baked"]} if "baked" in self.state else {}),
            **more,
        )

    def units_of(self, colour: str, release: str | None) -> Units:
        return Units(self.store, colour, release)

    def old_units(self) -> Units:
        return self.units_of(self.state["colour"], self.old)
