"""What to do about a release that did not start, by what it wrote and answered.

Each of CHECKS looks for one kind of cause and yields a line for each that it finds; a line that
begins with `Setting: NAME:` is shown with the setting's file and line. What fits nothing here is
left to the lines of the process, which are shown beside.
"""

from collections.abc import Callable, Iterator

from pergola.release.remedies import answers, code, denied, variables
from pergola.release.remedies.seen import Seen

CHECKS: tuple[Callable[[Seen], Iterator[str]], ...] = (
    code.wrong_application,
    code.missing_module,
    code.missing_program,
    code.missing_library,
    variables.missing_variable,
    denied.files,
    denied.others,
    answers.taken_port,
    answers.database_elsewhere,
    answers.wrong_answer,
    answers.ended_by_system,
)


def remedies(seen: Seen) -> list[str]:
    """What to do, the likeliest first; empty: nothing is known."""
    return list(dict.fromkeys(line for check in CHECKS for line in check(seen)))


def to_do(seen: Seen) -> str:
    """The same, as a refusal begins with it."""
    found = "\n            ".join(remedies(seen))
    return f"what to do: {found}" if found else ""
