"""The one error: what went wrong, the evidence, what is live and unharmed, the next command."""

import errno
import os

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
ROOM_HINT = (
    "make room there: `du -xh --max-depth=2 / | sort -h` finds what grows, and `ls -d "
    "/var/lib/postgresql/*/main.before-*` the data that restores have put aside"
)


class PergolaError(Exception):
    """What a person needs at three in the morning, in the order of the questions.

    `reason`: what went wrong, in one line without a full stop; `evidence`: for instance a program's
    last lines; `live`: what serves and is unharmed; `hint`: the next command.
    """

    def __init__(self, reason: str, evidence: str = "", live: str = "", hint: str = "") -> None:
        super().__init__(reason)
        self.reason, self.evidence, self.live, self.hint = reason, evidence, live, hint

    def __str__(self) -> str:
        lines = [self.reason, self.evidence.strip()]
        lines.append(f"live now: {self.live}" if self.live else "")
        lines.append(f"next: {self.hint}" if self.hint else "")
        return "\n".join(filter(None, lines))

    def but(self, reason: str, live: str = "", hint: str = "") -> "PergolaError":
        """The same failure, told by whoever called: `reason` comes first, the evidence stays."""
        return PergolaError(
            f"{reason}: {self.reason}", self.evidence, live or self.live, hint or self.hint
        )


def of_system(error: OSError) -> PergolaError:
    """What the system refused; a full disk comes with what makes room."""
    where = f"{error.filename}: " if error.filename else ""
    full = error.errno in NO_ROOM
    return PergolaError(f"{where}{error.strerror or error}", hint=ROOM_HINT if full else "")


def has_no_room(said: str) -> bool:
    """Whether a program says that the disk was full."""
    return os.strerror(errno.ENOSPC) in said
