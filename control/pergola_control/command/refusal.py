"""How a command is refused."""

from collections.abc import Iterable

WRONG_OPTIONS = 5  # Ansible's exit code for them


def refusal(wrong: Iterable[str]) -> str:
    """What is printed of things that are wrong."""
    return "\n".join(("REFUSED, nothing was changed", *(f"- {line}" for line in wrong)))
