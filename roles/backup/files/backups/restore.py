"""A restore in place, and the way back from it.

The files are restored beside the live server, which runs on meanwhile. What cannot be had without
an outage comes then: the applications are kept away, the server stops, the directories change
places, and it recovers. Whatever fails before the end of recovery puts everything back.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backups.apps import Fence, applications_here
from backups.cluster import Cluster
from backups.drill import Clock
from backups.jobs import SPOOL
from backups.plan import CHANGES, Plan, last_change, make_plan, newest_timeline
from backups.repository import Repositories
from backups.results import recorded
from backups.server import Server, exchange
from backups.settings import Settings
from backups.system import BackupError, add_line, now, size, stamp, systemctl
from backups.targets import Wanted


class ToldToStopError(Exception):
    """Somebody stops the unit. Not a BackupError, as those are often waited out."""


UNFORESEEN = (BackupError, ToldToStopError, OSError, subprocess.SubprocessError)
TO_OPEN = """\
What came of it: sudo journalctl -u '{name}[.@]*'. Then either mend the application (a deploy starts
it), and take its page away: sudo /srv/{name}/bin/release maintenance off; or go back to the data of
before: playbooks/restore.yml -e undo=true"""


def restore(settings: Settings, wanted: Wanted) -> None:
    """Restore this host's cluster in place; BackupError says what is in force then."""
    fence = Fence(applications_here())
    with recorded("restore") as result, told_to_stop(), fence.locked():
        plan = make_plan(settings, wanted)
        work = Work(settings, fence, result)
        began = time.monotonic()
        fresh = work.copy(plan)
        backup = plan.choice.backup
        result |= {
            "target": plan.choice.target.words,
            "backup": backup.label,
            "repository": backup.repository,
            "bytes": backup.bytes_in_database,
            "copy_seconds": round(time.monotonic() - began, 1),
        }
        with work.server.recovering():
            work.change_over(
                fresh,
                kind="restore",
                target=plan.choice.target.words,
                backup=backup.label,
                from_timeline=plan.timeline,
            )
        result["says"] = (
            f"{plan.choice.target.words} from {backup.label}: {size(backup.bytes_in_database)} in "
            f"{result['copy_seconds']} s beside the server, {result['outage_seconds']} s of outage"
            f"; the data of before is {result['kept']}{work.remark()}"
        )
        if not plan.foreign:
            # On its new timeline every backup counts: the next one would be due tomorrow.
            systemctl("start", "--no-block", "pergola-backup@incr.service")


def undo(settings: Settings) -> None:
    """Go back to the data directory that the last restore, or undo, put aside."""
    fence = Fence(applications_here())
    with recorded("restore", type="undo") as result, told_to_stop(), fence.locked():
        change = last_change()
        work = Work(settings, fence, result)
        with work.server.recovering():
            work.change_over(
                Path(change["kept"]),
                kind="undo",
                target=f"the data as of {stamp(change['stopped'])}",
                backup="",
                from_timeline=work.server.timeline(),
            )
        result["says"] = (
            f"back to the data as of {stamp(change['stopped'])}, {result['outage_seconds']} s of "
            f"outage; what was live before is {result['kept']}{work.remark()}"
        )
        systemctl("start", "--no-block", "pergola-backup@incr.service")


class Work:
    """The parts of a restore."""

    def __init__(self, settings: Settings, fence: Fence, result: dict[str, Any]) -> None:
        self.settings, self.fence, self.result = settings, fence, result
        self.cluster = Cluster(settings)
        self.server = Server(self.cluster)
        self.fresh = self.cluster.data.with_name("main.restoring")

    def copy(self, plan: Plan) -> Path:
        """Restore the files beside the live ones, ready to recover in their place."""
        shutil.rmtree(self.fresh, ignore_errors=True)
        self.fresh.mkdir(mode=0o700)
        shutil.chown(self.fresh, "postgres", "postgres")
        # From where the backup is: another repository that is away would be waited for each time.
        get = f"pgbackrest --stanza={self.settings.stanza} --repo={plan.choice.backup.repository}"
        try:
            Repositories(self.settings).do(
                "restore",
                f"--pg1-path={self.fresh}",
                f"--process-max={os.cpu_count()}",
                # It would empty the live server's, and fail where something comes into that.
                f"--spool-path={self.fresh}.spool",
                # The live server's tablespaces stay where they are.
                f"--tablespace-map-all={self.fresh.parent}/tablespaces-{now():%Y%m%dT%H%M%SZ}",
                # pgBackRest's own would name the directory that the files are in now.
                # Fetching ahead would wait for a sender of WAL that is still at work.
                f'--recovery-option=restore_command={get} --no-archive-async archive-get %f "%p"',
                *plan.choice.options(),
            )
            if plan.choice.timeline is None:
                timeline = newest_timeline(self.settings, plan.choice.backup, self.fresh)
                with (self.fresh / "postgresql.auto.conf").open("a") as file:
                    file.write(f"recovery_target_timeline = '{timeline}'\n")
        except UNFORESEEN as error:
            shutil.rmtree(self.fresh, ignore_errors=True)
            detail = error.report() if isinstance(error, BackupError) else repr(error)
            reason = "the files could not be restored"
            raise BackupError(reason, detail, "Nothing was stopped or changed.") from error
        return self.fresh

    def change_over(self, fresh: Path, **change: object) -> None:
        """Put another data directory in the place of the live one, and start everything on it."""
        data = self.cluster.data
        kept = data.with_name(f"main.before-{now():%Y%m%dT%H%M%SZ}")
        ran, began, clock = self.server.runs(), time.monotonic(), Clock()
        try:
            self.fence.close()
            clock.lap("fence")
            self.server.stop()
            clock.lap("stop")
            stopped = time.time()
            # What it says of the WAL of the old data is not to be believed of the other's.
            shutil.rmtree(SPOOL / self.settings.stanza, ignore_errors=True)
            exchange(data, fresh, kept)
            self.server.start()
            clock.lap("recovery")
        except UNFORESEEN as error:
            raise self.put_back(fresh, kept, ran, error) from error
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # there is no way back from here
        self.result["kept"] = str(kept)
        timeline = self.server.timeline()
        entry = {"at": time.time(), "stopped": stopped, "kept": str(kept), **change}
        add_line(CHANGES, {**entry, "to_timeline": timeline})
        try:
            self.fence.open()
            clock.lap("applications")
        except BackupError as error:
            names = error.reason.split()[0]
            error.reason = f"the data is restored, but {error.reason}; the maintenance page stays"
            error.hint = TO_OPEN.format(name=names)
            raise
        finally:
            self.result["parts"] = clock.laps
            self.result["outage_seconds"] = round(time.monotonic() - began, 1)

    def put_back(self, fresh: Path, kept: Path, ran: bool, error: Exception) -> BackupError:
        """Have everything as it was; the error that says so."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if not isinstance(error, BackupError):
            error = BackupError(f"{type(error).__name__}: {error}")
        outcome = "Everything is as it was before, and runs again."
        try:
            if kept.exists():
                systemctl("stop", self.cluster.unit)
                exchange(self.cluster.data, kept, fresh)
            if ran:
                self.server.start()
            self.fence.open()
        except UNFORESEEN as second:
            outcome = f"AND WHAT WAS THERE BEFORE DOES NOT RUN AGAIN: {second}"
        if fresh == self.fresh:
            shutil.rmtree(fresh, ignore_errors=True)
        return BackupError(f"not restored: {error.reason}", error.detail, outcome)

    def remark(self) -> str:
        """What a person must know besides."""
        jobs = self.fence.interrupted()
        return f"; interrupted, and not begun again: {', '.join(jobs)}" if jobs else ""


@contextlib.contextmanager
def told_to_stop() -> Iterator[None]:
    """Have `systemctl stop pergola-restore` give up in good order."""

    def give_up(*_: object) -> None:
        raise ToldToStopError("told to stop")

    before = signal.signal(signal.SIGTERM, give_up)
    try:
        yield
    except ToldToStopError:
        raise BackupError("it was told to stop", hint="Nothing was stopped or changed.") from None
    finally:
        signal.signal(signal.SIGTERM, before)
