"""The fence of a restore of another host: the applications here whose database is there.

Ansible has it closed before, and opened whatever came of the restore. What is closed is noted, so
that a call which was cut off is made up for by the next one.
"""

from dataclasses import dataclass, field

from pergola import apps
from pergola.apps import PATIENCE
from pergola.backup.fence import Fence
from pergola.documents import Form
from pergola.notes import FENCE_FILE


@dataclass
class Noted:
    """The applications whose maintenance page is ours, and the units of each that were stopped."""

    pages: list[str] = field(default_factory=list)
    units: dict[str, list[str]] = field(default_factory=dict)

    def save(self) -> None:
        FORM.write(FENCE_FILE, self)


FORM = Form(Noted)


@dataclass(frozen=True)
class Fenced:
    """The result: the applications that were closed, or opened again."""

    changed: bool
    apps: list[str] = field(default_factory=list)
    interrupted: list[str] = field(default_factory=list)


def fence() -> Fence:
    found = [app for app in apps.live() if app.database and not app.has_local_database()]
    return Fence(found)


def close() -> Fenced:
    """Show their pages, and stop what could write."""
    all_of_them = fence()
    noted = FORM.read(FENCE_FILE) or Noted()
    with all_of_them.locked(PATIENCE):
        all_of_them.take_over(noted)
        all_of_them.close(noted)
    names = [one.name for one in all_of_them.closed]
    return Fenced(bool(names), names, all_of_them.interrupted())


def reopen() -> Fenced:
    """Start what was stopped, and take the pages away; PergolaError names what does not start."""
    noted = FORM.read(FENCE_FILE)
    if noted is None:
        return Fenced(changed=False)
    all_of_them = fence()
    with all_of_them.locked(PATIENCE):
        all_of_them.take_over(noted)
        all_of_them.open()
    FENCE_FILE.unlink()
    return Fenced(bool(noted.pages or noted.units), [one.name for one in all_of_them.closed])
