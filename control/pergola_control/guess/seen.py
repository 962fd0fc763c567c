"""What was seen of a setting."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Seen:
    """A setting, its value, where that was seen (file and line), and what it is."""

    setting: str
    value: object
    where: str
    why: str
