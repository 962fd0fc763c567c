"""What the phases of a deploy tell each other: kept with the lock, from the first to the last."""

from dataclasses import dataclass, field

from pergola.apps import Colour
from pergola.documents import Form, plain
from pergola.lock import Lock

BEGUN = "from"


@dataclass
class Progress:
    """How far a deploy is.

    `from_`: what was live before; None: nothing. `colour`: the slot that was live then. `schema`:
    the database's revision before, and as it was last seen. `current`: whether that slot runs as
    its files are now, so that there is nothing to do for the release in it; None: not looked at
    yet. `began`: seconds since 1970. `logged`: where the access log ended at the switch.
    """

    release: str
    action: str
    from_: str | None
    colour: Colour
    began: float
    schema: tuple[str | None, str | None] = (None, None)
    seconds: dict[str, float] = field(default_factory=dict)
    current: bool | None = None
    migrated: bool = False
    switched: bool = False
    logged: tuple[int, int] | None = None
    baked: dict[str, int] | None = None
    left_out: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    def keep(self, lock: Lock, phase: str | None = None) -> None:
        """Keep it for the next phase, and renew the lock; `phase` is the one that begins."""
        lock.save(phase, **plain(self))


PROGRESS = Form(Progress)


def progress_of(lock: Lock) -> Progress | None:
    """How far the deploy is that has the lock; None: it has not begun."""
    shared = lock.holder.shared
    return PROGRESS.known(shared, f"the state in {lock.path}") if BEGUN in shared else None
