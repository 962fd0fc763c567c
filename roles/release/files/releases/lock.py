"""One deploy at a time, from its first phase to its last.

The lock is a file below /run: a reboot ends it. It belongs to a run of ansible-playbook (role
release's lookup `operator` names it), which comes back for each group of phases. A run of the same
control node that is known to be dead, and a lock that nobody renewed within its time limit, are
passed over. While a phase is at work its process holds the kernel's lock on the file beside.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from typing import IO, Any

from releases.store import Store
from releases.system import ReleaseError, write

HERE = "here"  # the control node of what is called by hand, which is one process
LOOK_EVERY = 0.1


class Lock:
    """The deploy that is at work, as a dictionary that its phases share."""

    def __init__(self, store: Store, run: str, alive: Sequence[str], what: str) -> None:
        self.store, self.run, self.alive, self.what = store, run, alive, what
        self.path = store.run_dir / "deploy.json"
        self.state: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        try:
            return json.loads(self.path.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    def save(self, **more: object) -> None:
        """Keep what the deploy must know in its next phase, and renew the lock."""
        self.state |= more
        self.state["until"] = uptime() + self.store.settings["lock_seconds"]
        write(self.path, json.dumps(self.state))

    def release(self) -> None:
        self.path.unlink(missing_ok=True)
        self.state = {}

    def is_over(self, held: dict[str, Any]) -> bool:
        """Whether a lock's holder is gone, when no phase is at work."""
        by_hand = held["run"].split("/")[0] == self.run.split("/")[0] == HERE
        return uptime() > held["until"] or by_hand or self.is_left_behind(held)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Work under the lock; ReleaseError at once when another deploy has it."""
        self.store.run_dir.mkdir(mode=0o755, exist_ok=True)
        with (self.store.run_dir / ".lock").open("a") as file:
            self.take(file)
            held = self.read()
            if held and held["run"] != self.run and not self.is_over(held):
                raise self.refusal(held)
            mine = held and held["run"] == self.run
            since = time.strftime("%Y-%m-%d %H:%M:%S %Z")
            self.state = held if mine else {"since": since, "seconds": {}}
            self.state |= {"run": self.run, "who": self.store.who, "what": self.what}
            self.save(pid=os.getpid())
            yield

    def take(self, file: IO[str]) -> None:
        """Take the kernel's lock, which a phase at work holds; ReleaseError when it is another's.

        A phase goes on when its run dies, as half a switch is worse than a whole one. Its end is
        waited for, so that the next run takes over without being asked twice.
        """
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held = self.read()
                if not held or uptime() > held["until"] or not self.is_left_behind(held):
                    raise self.refusal(held) from None
                time.sleep(LOOK_EVERY)
            else:
                return

    def is_left_behind(self, held: dict[str, Any]) -> bool:
        """Whether a lock's run is known to be dead: of the same control node, and not alive."""
        node = self.run.split("/")[0]
        if node == HERE:  # only the phase itself knows of those
            return False
        return held["run"].split("/")[0] == node and held["run"] not in self.alive

    def refusal(self, held: dict[str, Any]) -> ReleaseError:
        held = {"who": "somebody", "since": "?", "what": "a deploy", "phase": "?", **held}
        program = self.store.home / "bin/release"
        return ReleaseError(
            "lock",
            f"{held['who']} is at work on {self.store.app} since {held['since']}: {held['what']}, "
            f"now in phase {held['phase']}",
            hint="wait for its end. If you know that it is dead: "
            f"sudo {program} unlock (a phase at work is not ended by that), then run again",
        )


def uptime() -> float:
    """Seconds since the start of the system, which no setting of the clock changes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
