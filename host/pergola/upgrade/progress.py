"""What is done, told to whoever called and to the journal (`journalctl -t pergola-upgrade`)."""

import os

from pergola import people
from pergola.errors import PergolaError

PROGRAM = "pergola-upgrade"
# A failure at one of these places is asked for by tests.
FAIL_AT = os.environ.get("PERGOLA_UPGRADE_FAIL_AT", "")


def say(text: str) -> None:
    people.say(text, PROGRAM)


def step(name: str, text: str) -> None:
    """Say what begins."""
    say(text)
    if name == FAIL_AT:
        raise PergolaError(f"made to fail at {name}")
