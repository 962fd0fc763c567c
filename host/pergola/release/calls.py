"""What each call of a run was answered, for a control node that lost its connection.

It asks again by the same call. What is over is not done twice, but answered once more; what is at
work is waited for (see `Lock.take`); what was cut off, by a restart of the server or an end of the
program, is begun again once, as the next run would.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from pergola.apps import App
from pergola.documents import Form, Json, NewerError
from pergola.errors import PergolaError
from pergola.lock import HERE, Lock

KEPT = 20  # deploys
MOST_TRIES = 2
GIVEN_UP = "given up"


class AnsweredError(Exception):
    """A call is over: `answer`, or `report` of its failure, as they were given the first time."""

    def __init__(self, answer: Json | None = None, report: str = "") -> None:
        super().__init__(report)
        self.answer, self.report = answer, report


@dataclass(frozen=True)
class Call:
    """What is known of a call: how often it was begun, and how it ended, if it has."""

    tries: int = 0
    answer: Json | None = None
    report: str = ""

    @property
    def is_over(self) -> bool:
        return self.answer is not None or bool(self.report)


@dataclass(frozen=True)
class Known:
    """The calls of each deploy of each run, the oldest deploy first.

    All of them: one that waited behind a later call of its deploy must find its own answer.
    """

    deploys: dict[str, dict[str, Call]] = field(default_factory=dict)


KNOWN = Form(Known, 1, {0: lambda found: {"deploys": found}}, unnumbered=0)


class Calls:
    """One call of a deploy. Written under the lock only; kept over a power loss."""

    def __init__(self, app: App, deploy: str, call: str) -> None:
        self.deploy, self.call = deploy, call
        self.path = app.home / "calls.json"

    def known(self) -> dict[str, dict[str, Call]]:
        try:
            found = KNOWN.read(self.path)
        except NewerError:
            raise
        except PergolaError:  # begun again, at most
            found = None
        return dict(found.deploys) if found else {}

    def read(self) -> Call:
        """What is known of this call; it may never have come here."""
        return self.known().get(self.deploy, {}).get(self.call, Call())

    def note(self, what: Call) -> None:
        if self.deploy.split("/")[0] == HERE:  # by hand, from a terminal: nobody comes back
            return
        kept = self.known()
        calls = kept.pop(self.deploy, {})
        kept[self.deploy] = {**calls, self.call: what}
        KNOWN.write(self.path, Known(dict(list(kept.items())[-KEPT:])), 0o600)

    def check(self) -> None:
        """AnsweredError if this call is over, PergolaError if its deploy was given up."""
        known = self.read()
        if known.is_over:
            raise AnsweredError(known.answer, known.report)
        if GIVEN_UP in self.known().get(self.deploy, {}):
            raise PergolaError("the run that wanted this has given up meanwhile")

    def begin(self, lock: Lock) -> None:
        """Note that this call begins, or begins again; PergolaError if too often."""
        tries = self.read().tries
        if tries >= MOST_TRIES:
            raise PergolaError(
                f"this was cut off {tries} times: the server restarted, or the program was ended",
                hint="see what ended it, then deploy again: that takes over whatever this one left",
            )
        if tries:
            lock.begin_again()
        self.note(Call(tries + 1))

    def once(self, work: Callable[[], Json], report: Callable[[PergolaError], str]) -> Json:
        """Do this call's work, and note how it ended; AnsweredError with its report if it failed.

        `report`: a failure in words.
        """
        try:
            answer = work()
        except PergolaError as error:
            told = report(error)
            self.note(Call(report=told))
            raise AnsweredError(report=told) from error
        self.note(Call(answer=answer))
        return answer
