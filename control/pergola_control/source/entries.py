"""The lines of a Procfile."""

import re
from dataclasses import dataclass

from pergola_control.refusal import RefusalError

ENTRY = re.compile(r"([A-Za-z0-9_-]+):\s*(\S.*)")


@dataclass(frozen=True)
class Entry:
    """One line: its file and number, the type of process in lower case, and the command."""

    where: str
    name: str
    command: str


def entries(text: str, path: str) -> tuple[list[Entry], list[str]]:
    """The lines of a Procfile that say something, and what is said of others."""
    found, said = [], []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        where, line = f"{path}:{number}", line.strip()
        if not line or line.startswith("#"):
            continue
        if matched := ENTRY.fullmatch(line):
            found.append(Entry(where, matched[1].lower(), matched[2]))
        else:
            said.append(f"{where}: passed over, as it is not `name: command`")
    return found, said


def refusal(entry: Entry, setting: str, what: str, remedy: str) -> RefusalError:
    """The refusal of a line, by its number."""
    return RefusalError(
        f"{entry.where}: {entry.name}: {what}.",
        "app_procfile",
        f'{remedy}; or set {setting}, which wins; or app_procfile: "", for none of the file',
    )
