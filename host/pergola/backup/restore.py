"""A restore in place, and the way back from it.

The files are restored beside the live server, which runs on meanwhile. What cannot be had without
an outage comes then: the applications are kept away, the server stops, the directories change
places, and it recovers. Whatever fails before the end of recovery puts everything back.
"""

import contextlib
import signal
import time
from collections.abc import Iterator

from pergola.backup import changes, copying
from pergola.backup import intent as intents
from pergola.backup.changes import Change, last_change, refuse_mount
from pergola.backup.clock import Clock
from pergola.backup.fence import Fence, applications_here
from pergola.backup.intent import Intent, at_work
from pergola.backup.plan import Plan, make_plan
from pergola.backup.points import forget_spool
from pergola.backup.resolve import AGAIN, clear, directories, put_back
from pergola.backup.rest import send_rest
from pergola.backup.server import Server
from pergola.backup.settings import Settings
from pergola.backup.targets import Wanted
from pergola.errors import PergolaError
from pergola.people import size
from pergola.results import Result, recorded
from pergola.system import systemctl

NOTHING_CHANGED = "everything as before: nothing was stopped or changed"
TO_OPEN = """\
why: sudo journalctl -u '{name}[.@]*'. Then either repair the application (a deploy starts it), and
have its page taken away: {again}; or go back to the previous data:
playbooks/restore.yml -e undo=true"""


class ToldToStopError(Exception):
    """Somebody stops the unit. Not a PergolaError, as those are often waited out."""


UNFORESEEN = (PergolaError, ToldToStopError, OSError)


def restore(settings: Settings, wanted: Wanted) -> None:
    """Restore this host's cluster in place; PergolaError says what is in force then."""
    with recorded("restore") as result, told_to_stop(), at_work():
        before = directories(settings)
        plan = make_plan(settings, wanted)
        target, backup = plan.choice.target.words, plan.choice.backup
        with Work(settings, result, before) as work:
            began = time.monotonic()
            intent = work.copy(plan)
            result.more |= {
                "target": target,
                "backup": backup.label,
                "repository": backup.repository,
                "bytes": backup.bytes_in_database,
                "copy_seconds": round(time.monotonic() - began, 1),
            }
            with work.server.recovering():
                work.change_over(intent, plan.timeline, target, backup.label)
        rest = "" if plan.foreign else send_rest(settings, intent.kept)
        result.says = (
            f"{target} from {backup.label}: {size(backup.bytes_in_database)} in "
            f"{result.more['copy_seconds']} s beside the server, {result.more['outage_seconds']} s "
            f"of outage; the previous data is {intent.kept}{rest}{work.remark()}"
        )
        if not plan.foreign:
            # On its new timeline every backup counts: the next one would be due tomorrow.
            systemctl("start", "--no-block", "pergola-backup@incr.service")


def undo(settings: Settings) -> None:
    """Go back to the data directory that the last restore, or undo, put aside."""
    with recorded("restore", type="undo") as result, told_to_stop(), at_work():
        before = directories(settings)
        change = last_change(Server(settings.version))
        with Work(settings, result, before) as work:
            work.begin()
            data = work.server.data
            intent = intents.begin("undo", change.words(), data, change.kept)
            timeline = work.server.timeline()
            with work.server.recovering():
                work.change_over(intent, timeline, change.words())
        rest = send_rest(settings, intent.kept)
        result.says = (
            f"back to {change.words()}, {result.more['outage_seconds']} s of "
            f"outage; what was live before is {intent.kept}{rest}{work.remark()}"
        )
        systemctl("start", "--no-block", "pergola-backup@incr.service")


class Work:
    """The parts of a restore. Whatever else changes the server or an application is kept out.

    `before`: one that was cut off, and could not be brought to its end.
    """

    def __init__(self, settings: Settings, result: Result, before: Intent | None) -> None:
        self.settings, self.result, self.before = settings, result, before
        self.fence = Fence(applications_here())
        self.server = Server(settings.version)
        self.open = contextlib.ExitStack()

    def __enter__(self) -> "Work":
        self.open.enter_context(self.fence.locked())
        return self

    def __exit__(self, *_: object) -> None:
        self.open.close()

    def begin(self) -> None:
        """Take over what one before has left."""
        refuse_mount(self.server.data)
        if self.before:
            clear(self.before)
            self.fence.take_over(self.before)

    def copy(self, plan: Plan) -> Intent:
        """Restore the files beside the live ones, ready to recover in their place."""
        self.begin()
        copies = copying.places_of(self.server)
        words = plan.choice.target.words
        intent = intents.begin(
            *("restore", words, self.server.data, copies.data),
            copies=copies.all(),
            foreign=plan.foreign,
        )
        try:
            copying.copy(self.settings, plan.choice, copies)
        except UNFORESEEN as error:
            clear(intent)
            self.give_up(intent)
            evidence = str(error) if isinstance(error, PergolaError) else repr(error)
            reason = "the files could not be restored"
            raise PergolaError(reason, evidence, live=NOTHING_CHANGED) from error
        return intent

    def change_over(
        self, intent: Intent, from_timeline: int | None, target: str, backup: str = ""
    ) -> None:
        """Put the other data directory in the place of the live one, and start everything on it."""
        server, data = self.server, self.server.data
        ran, began, clock = server.answers(), time.monotonic(), Clock()
        try:
            intent.enter("closing")
            self.fence.close(intent)
            clock.record("fence")
            server.stop()
            clock.record("stop")
            stopped = time.time()
            was = server.system_id(data), server.timeline_of(data)
            forget_spool(self.settings)
            intent.exchange()
            server.start()
            clock.record("recovery")
        except UNFORESEEN as error:
            raise self.put_back(intent, ran, error) from error
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # there is no way back from here
        self.result.more["kept"] = str(intent.kept)
        self.record(
            Change(
                *(intent.kept, stopped, time.time()),
                *(server.timeline(), from_timeline, server.system_id(data), *was),
                *(intent.id, intent.kind, target, backup),
            )
        )
        try:
            intent.enter("opening")
            self.let_in(intent)
            clock.record("applications")
        finally:
            self.result.more["parts"] = clock.laps
            self.result.more["outage_seconds"] = round(time.monotonic() - began, 1)
        intent.end()

    def record(self, change: Change) -> None:
        """From here on it is in force."""
        changes.FORM.add(changes.FILE, change)

    def let_in(self, intent: Intent) -> None:
        """Start the applications on the other data."""
        try:
            self.fence.open()
        except PergolaError as error:
            failed = PergolaError(
                f"the data is restored, but {error.reason}; the maintenance page stays",
                error.evidence,
                hint=TO_OPEN.format(name=error.reason.split()[0], again=AGAIN),
            )
            intent.say(str(failed))
            raise failed from error

    def put_back(self, intent: Intent, ran: bool, error: Exception) -> PergolaError:
        """Have everything as it was; the error that says so."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if not isinstance(error, PergolaError):
            error = PergolaError(f"{type(error).__name__}: {error}")
        reason = f"not restored: {error.reason}"
        try:
            put_back(self.settings, self.server, intent)
            if ran:
                self.server.start()
            self.fence.open()
            clear(intent)
            intent.end()
        except UNFORESEEN as second:
            why = second.reason if isinstance(second, PergolaError) else second
            reason += f"; AND WHAT WAS THERE BEFORE DOES NOT RUN AGAIN: {why}"
            intent.say(f"{reason}; next: {AGAIN}")
            return PergolaError(reason, error.evidence, hint=AGAIN)
        outcome = "Everything is as it was before, and runs again."
        return PergolaError(reason, error.evidence, live=outcome)

    def give_up(self, intent: Intent) -> None:
        """Nothing was changed; one that was cut off before is still to be brought to its end."""
        if self.before:
            self.before.save()
        else:
            intent.end()

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
        raise PergolaError("it was told to stop", live=NOTHING_CHANGED) from None
    finally:
        signal.signal(signal.SIGTERM, before)
