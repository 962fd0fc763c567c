"""What a restore or an undo is about to do, on the disk before it does it.

The file is there from before the first change until everything serves again. What stands in it
after a power loss, and the marks of the directories (places.py), say what was done and what was
not: see resolve.py.
"""

import contextlib
import fcntl
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pergola.backup import changes, places
from pergola.documents import Form
from pergola.errors import PergolaError
from pergola.notes import RESTORE_FILE as FILE
from pergola.notes import Restore
from pergola.people import of_seconds, stamp
from pergola.system import persist

# What a restore says while it is at work.
LOG = Path("/run/pergola-restore.log")
LOCK = Path("/run/pergola-restore.lock")
BOOT = Path("/proc/sys/kernel/random/boot_id")

Phase = Literal["copying", "closing", "exchanging", "opening", "back"]
# What it was at, for people.
AT: dict[Phase, str] = {
    "copying": "while the files were copied",
    "closing": "while the applications were stopped",
    "exchanging": "before the other data had come up",
    "opening": "while the applications were started",
    "back": "while what was there before was put back",
}


class AtWorkError(PergolaError):
    """A restore, or what puts one in order, is at work."""


@dataclass(kw_only=True)
class Intent(Restore):
    """A restore or an undo at work, or one that was cut off.

    `fresh` is put in the place of `data`, which is kept as `kept`; `copies`: what a restore makes,
    and is of no use without it. `pages`: the applications whose maintenance page is ours; `units`:
    those of each application that were, or may have been, stopped. `had_data`: whether there was
    data to keep; None: it had not come to the directories. `boot`: the start of the system that it
    was begun in. `cut_at`: where it was cut off. `says` is what status says of it until its end.
    """

    id: str
    boot: str
    data: Path
    fresh: Path
    kept: Path
    phase: Phase = "copying"
    pages: list[str] = field(default_factory=list)
    units: dict[str, list[str]] = field(default_factory=dict)
    copies: list[Path] = field(default_factory=list)
    foreign: bool = False  # the backup is another cluster's: this server is a new one
    had_data: bool | None = None
    exchanged: bool = False
    cut_at: Phase | None = None

    def save(self) -> None:
        """Have it on the disk as it is now."""
        FORM.write(FILE, self)

    def enter(self, phase: Phase) -> None:
        self.phase = phase
        self.save()

    def say(self, text: str) -> None:
        """Have status say something of it until its end."""
        self.says = text
        self.save()

    def end(self) -> None:
        """Everything serves again: it is history."""
        places.unmark(self.data)
        places.unmark(self.fresh)
        FILE.unlink(missing_ok=True)
        persist(FILE.parent)

    # -- what is known -----------------------------------------------------------------------------

    @property
    def aside(self) -> Path:
        """A directory's name for a moment, where the file system cannot exchange in one step."""
        return self.data.with_name("main.exchanging")

    def is_recorded(self) -> bool:
        """Whether it is in force: then it stands among the changes."""
        return any(change.id == self.id for change in changes.every())

    def name(self) -> str:
        """What it is, in a sentence."""
        return f"the {self.kind} to {self.words}"

    def cut(self) -> str:
        """When and how it was cut off, for people."""
        killed = self.boot == BOOT.read_text().strip()
        how = "its program was killed" if killed else "the server went down"
        at = AT[self.cut_at or self.phase]
        return f"{self.name()}, begun {self.began}, was cut off {at}: {how}"

    # -- the directories ---------------------------------------------------------------------------

    def exchange(self) -> None:
        """Put the other data directory in the place of the live one, which is kept."""
        places.mark(self.fresh, self.id)
        self.had_data = self.data.exists()
        self.enter("exchanging")
        if not self.had_data:
            places.move(self.fresh, self.data)
            return
        # The live one changes its name in one step, and then has the name that it is kept under.
        places.move(self.fresh, self.kept)
        places.exchange(self.data, self.kept, self.aside)

    def is_exchanged(self) -> bool:
        """Whether the other data is in the live one's place."""
        return places.marked(self.data) == self.id

    def take_back(self) -> None:
        """Undo what was done of that, however far it came.

        PergolaError where the disk does not tell: nothing is touched then.
        """
        if self.had_data is None:
            return
        places_of_two = (self.data, self.kept, self.fresh, self.aside)
        there = [path for path in places_of_two if path.exists()]
        copies = [path for path in there if places.marked(path) == self.id]
        others = [path for path in there if path not in copies]
        if len(copies) > 1 or len(others) != int(self.had_data):
            names = ", ".join(str(path) for path in there) or "none of its directories is there"
            raise PergolaError(
                f"{self.cut()}, and which data was live before cannot be told ({names})",
                hint=f"have the right directory at {self.data}, remove {FILE} (what it did is in "
                "it), and start PostgreSQL; nothing was touched",
            )
        copy = copies[0] if copies else None
        old = others[0] if others else None
        if old and old != self.data:
            if copy == self.data and old == self.aside:
                places.move(copy, self.fresh)
                copy = self.fresh
                places.move(old, self.data)
            elif copy == self.data:
                places.exchange(self.data, old, self.aside)
                copy = old
            else:
                places.move(old, self.data)
        if copy and copy != self.fresh:
            places.move(copy, self.fresh)


FORM = Form(Intent)


def read() -> Intent | None:
    """That of a restore which is at work or was cut off; None where there is none."""
    return FORM.read(FILE)


def begin(
    kind: str,
    words: str,
    data: Path,
    fresh: Path,
    copies: Sequence[Path] = (),
    foreign: bool = False,
) -> Intent:
    """The intent to put the directory `fresh` in the place of `data`; durable.

    Pages and units of one that was cut off before are taken over: nobody else would see to them
    any more.
    """
    before, now = read(), time.time()
    began = f"{of_seconds(now):%Y%m%dT%H%M%SZ}"
    intent = Intent(
        id=f"{began}-{secrets.token_hex(3)}",
        kind=kind,
        words=words,
        began=stamp(now),
        boot=BOOT.read_text().strip(),
        data=data,
        fresh=fresh,
        kept=data.with_name(f"main.before-{began}"),
        pages=before.pages if before else [],
        units=before.units if before else {},
        copies=list(copies),
        foreign=foreign,
    )
    intent.save()
    return intent


@contextlib.contextmanager
def at_work() -> Iterator[None]:
    """Only one at a time changes data directories; AtWorkError while another does.

    The kernel's lock ends with the process that holds it, however that ends. It is not the lock of
    the server, as PostgreSQL's own start settles its directories, whoever works on the server.
    """
    with LOCK.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AtWorkError("a restore is at work", hint=f"what it says: {LOG}") from None
        yield
