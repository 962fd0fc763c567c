"""The one error: what is wrong, which setting it is, what to do next."""

import contextlib
import sys
from collections.abc import Iterator


class RefusalError(Exception):
    """Something that the user can fix; nothing was changed.

    `setting`: its name; empty where no setting is wrong.
    """

    def __init__(self, what: str, setting: str, remedy: str) -> None:
        self.what, self.setting, self.remedy = what, setting, remedy
        where = f"\n  Setting: {setting}" if setting else ""
        super().__init__(f"{what}{where}\n  Next: {remedy}")


class LimitExceededError(Exception):
    """A program did not end within its limit and was killed."""


@contextlib.contextmanager
def refusals_told() -> Iterator[None]:
    """End the program with 1 and a text on what the user can fix."""
    try:
        yield
    except (RefusalError, ValueError) as error:
        sys.exit(str(error))
    except LimitExceededError as error:
        sys.exit(
            f"A local git command did not end: {error}\n  Setting: app_source\n  Next: run again"
        )
    except OSError as error:
        sys.exit(f"{error}\n  Setting: app_source\n  Next: fix access to that path and run again")
