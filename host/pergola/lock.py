"""The one lock: for everything that changes an application, or the server that holds its database.

A place that can be locked has a directory below /run, so a reboot ends every lock. Two kinds of
callers take it, and keep each other out:

- a program that is one process. The kernel's lock on the file `.lock` is all it needs: that ends
  with the process, however it ends.
- a run of ansible-playbook (role release's lookup `operator` names it), which comes back for each
  group of a deploy's phases. Between them the file `deploy.json` holds the lock, and while a phase
  is at work its process holds the kernel's as well. A run of the same control node that is known to
  be dead, one whose SSH connection has gone and did not come back, and a lock that nobody renewed
  within its time limit, are passed over.

Whoever is refused hears who is at work, on what, and since when.
"""

import contextlib
import fcntl
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from pergola import connection
from pergola.documents import NewerError
from pergola.errors import PergolaError
from pergola.people import local, uptime
from pergola.records import HOLDER, Holder

HERE = "here"  # the control node of what is called by hand, which is one process
LOOK_EVERY = 0.1  # seconds
LOOK_AGAIN_EVERY = 1  # seconds
# A phase that has just begun, or is about to end, has no file that says whose it is.
SECONDS_WITHOUT_NAME = 5


class HeldError(PergolaError):
    """Somebody else is at work."""


@dataclass(frozen=True)
class Place:
    """What is locked: its name for people, its directory, what frees it of a run that is dead."""

    name: str
    directory: Path
    unlock: str = ""


# What belongs to no application alone: the database server, the system's packages.
SERVER = Place("this server", Path("/run/pergola"))


@dataclass(frozen=True)
class Caller:
    """Who takes a lock.

    `run`: the control node and its run, with a / between them; `alive`: the runs that are at work
    there. `lasts` and `unconnected` are seconds: for how long the lock stays when the process has
    ended, and when the connection has gone as well; 0: it ends with the process.
    """

    run: str
    who: str
    alive: tuple[str, ...] = ()
    lasts: float = 0
    unconnected: float = 0


@dataclass(frozen=True)
class Patience:
    """Seconds that somebody else is waited for, and one of them who says nothing meanwhile."""

    seconds: float = 0
    silent: float = math.inf


AT_ONCE = Patience()
FILE = "deploy.json"


def holder(place: Place) -> Holder | None:
    """Who has the lock on a place, or had it last; None: nobody."""
    try:
        return HOLDER.read(place.directory / FILE)
    except NewerError:
        raise
    except PergolaError:  # what nobody can read keeps nobody out
        return None


class Lock:
    """One caller's lock on one place."""

    def __init__(
        self, place: Place, caller: Caller, what: str, patience: Patience = AT_ONCE
    ) -> None:
        self.place, self.caller, self.what, self.patience = place, caller, what, patience
        self.path = place.directory / FILE
        self.holder = Holder()

    def read(self) -> Holder | None:
        """Who has the lock, or had it last; None: nobody."""
        return holder(self.place)

    def save(self, phase: str | None = None, **shared: object) -> None:
        """Keep what the next phase must know, and renew the lock."""
        holder, now, caller = self.holder, uptime(), self.caller
        holder.shared |= shared
        holder.phase = holder.phase if phase is None else phase
        holder.until = now + caller.lasts if caller.lasts else 0
        holder.unconnected_until = now + caller.unconnected if caller.lasts else 0
        HOLDER.write(self.path, holder, durable=False)

    def begin_again(self) -> None:
        """Forget what the phases share, as when another run takes over what this one left."""
        self.holder.shared = {}
        self.save(phase="")

    def release(self) -> None:
        self.path.unlink(missing_ok=True)
        self.holder = Holder()

    @contextlib.contextmanager
    def hold(self, check: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Work under the lock; HeldError when somebody else has it, and goes on having it.

        `check` is called while a phase at work is waited for, and before the lock is written to; it
        raises when there is nothing left to do.
        """
        self.place.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        with (self.place.directory / ".lock").open("a") as file:
            held = self.enter(file, check)
            mine = held is not None and held.run == self.caller.run
            self.holder = held if held and mine else Holder(since=local(time.time()))
            self.holder = replace(
                self.holder,
                run=self.caller.run,
                who=self.caller.who,
                what=self.what,
                pid=os.getpid(),
                connection=connection.of_this_process(),
            )
            self.save()
            try:
                yield
            finally:
                if not self.caller.lasts:
                    self.release()

    # -- when it is somebody else's ----------------------------------------------------------------

    def enter(self, file: IO[str], check: Callable[[], None]) -> Holder | None:
        """Take the kernel's lock when the last work is over; who did that, or this run."""
        began, outdated = uptime(), False
        while True:
            at_work = True
            try:
                outdated |= self.take(file, check)
                at_work = False
                check()
                held = self.read()
                if held is None or held.run == self.caller.run or self.is_over(held, outdated):
                    return held
                raise self.refusal(held)
            except HeldError:
                if self.gives_up(uptime() - began, at_work):
                    raise
            fcntl.flock(file, fcntl.LOCK_UN)
            time.sleep(LOOK_AGAIN_EVERY)
            outdated = True

    def gives_up(self, waited: float, at_work: bool) -> bool:
        """Whether somebody else has been waited for as long as this caller wanted."""
        if waited >= self.patience.seconds:
            return True
        return not at_work and waited >= self.patience.silent and self.is_silent()

    def is_silent(self) -> bool:
        """Whether a deploy has said nothing for a while: each phase writes its file."""
        try:
            return time.time() - self.path.stat().st_mtime > self.patience.silent
        except FileNotFoundError:
            return False

    def is_over(self, held: Holder, outdated: bool) -> bool:
        """Whether a lock's holder is gone, when no phase is at work.

        `outdated`: `alive` says nothing of it any more.
        """
        if uptime() > held.until or has_hung_up(held):
            return True
        by_hand = held.run.split("/")[0] == self.caller.run.split("/")[0] == HERE
        return not outdated and (by_hand or self.is_left_behind(held))

    def take(self, file: IO[str], check: Callable[[], None] = lambda: None) -> bool:
        """Take the kernel's lock, which a phase at work holds; HeldError when it is another's.

        A phase goes on when its run dies or loses its connection, as half a switch is worse than a
        whole one. Its end is waited for, so that the next run takes over without being asked twice,
        and the same one hears how it ended. Whether that was so is returned: then `alive` is of
        before the wait, and says nothing of a run that took over meanwhile.
        """
        nameless_until = uptime() + SECONDS_WITHOUT_NAME
        waited_for_own = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held = self.read()
                if held is not None:  # when that one ends, its process still has a moment to go
                    nameless_until = uptime() + SECONDS_WITHOUT_NAME
                if not self.is_waited_for(held, nameless_until):
                    raise self.refusal(held or Holder()) from None
                waited_for_own |= held is not None and held.run == self.caller.run
                time.sleep(LOOK_EVERY)
                check()
            else:
                return waited_for_own

    def is_waited_for(self, held: Holder | None, nameless_until: float) -> bool:
        """Whether the phase that is at work ends before long, and makes way for this run."""
        if held is None:
            return uptime() < nameless_until
        if held.run == self.caller.run:
            return self.caller.lasts > 0  # one process would wait for itself
        return uptime() <= held.until and self.is_left_behind(held)

    def is_left_behind(self, held: Holder) -> bool:
        """Whether a lock's run is known to be dead: of the same control node, and not alive."""
        node = self.caller.run.split("/")[0]
        if node == HERE:  # only the phase itself knows of those
            return False
        return held.run.split("/")[0] == node and held.run not in self.caller.alive

    def refusal(self, held: Holder) -> HeldError:
        phase = f", now in phase {held.phase}" if held.phase else ""
        unlock = (
            f". If you know that it is dead: {self.place.unlock} (a phase at work is not ended by "
            "that), then run this again"
        )
        wait = " (release_lock_wait does)" if self.caller.lasts else ""
        return HeldError(
            f"{held.who} is at work on {self.place.name} since {held.since}: {held.what}{phase}",
            hint=f"wait for its end{wait}{unlock if self.place.unlock else ''}",
        )


def has_hung_up(held: Holder) -> bool:
    """Whether a lock's run lost its connection so long ago that it does not come back any more."""
    if not held.connection:  # it was never over SSH, or an earlier Pergola's
        return False
    return uptime() > held.unconnected_until and not connection.is_open(held.connection)


def this_process() -> Caller:
    """A program that is one process, and whoever has called it."""
    return Caller(f"pergola/{os.getpid()}", os.environ.get("SUDO_USER") or "root")


@contextlib.contextmanager
def locked(
    places: Iterable[Place], what: str, patience: Patience = AT_ONCE, phase: str = ""
) -> Iterator[None]:
    """Hold several places, in the order of their names, while this process works on them.

    The server comes first: whoever waits for an application then holds nothing that another one
    needs. HeldError when one stays somebody else's.
    """
    caller = this_process()
    order = sorted(places, key=lambda place: (place != SERVER, place.name))
    with contextlib.ExitStack() as stack:
        for place in order:
            lock = Lock(place, caller, what, patience)
            stack.enter_context(lock.hold())
            lock.save(phase=phase)
        yield


def unlock(place: Place) -> Holder | None:
    """Take a lock from a run that is dead; whose it was."""
    lock = Lock(place, this_process(), "unlock")
    held = lock.read()
    lock.release()
    return held
