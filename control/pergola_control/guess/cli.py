"""Say what an application's settings are by a look at its repository, and where each was seen.

With --into, write an inventory of a test host with them (`make try`). None of its code runs.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from pergola_control.guess import trial
from pergola_control.guess.repository import Repository, opened
from pergola_control.guess.whole import guess
from pergola_control.guess.written import report, settings_file
from pergola_control.here import seen_from_here
from pergola_control.refusal import RefusalError, refusals_told

KEPT = "{file} is kept as it is; without it the settings are guessed again."


def main(argv: Sequence[str]) -> None:
    """Print the settings and what they were seen from, or write the inventory of a try."""
    parser = argparse.ArgumentParser("guess", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", metavar="APP", help="a directory, or a git address")
    parser.add_argument("--into", type=Path, metavar="DIR", help="where a try's inventory goes")
    parser.add_argument("--settings", type=Path, metavar="PATH", help="a file, or an inventory")
    given = parser.parse_args(argv)
    if not given.source:  # what make gives without an APP
        sys.exit("It is not said what to try.\n  Next: make try APP=../my-app")
    with refusals_told(), opened(given.source) as repository:
        if given.into:
            prepare(repository, given.into, given.settings)
        else:
            found = guess(repository)
            print("\n".join(report(found, repository)), file=sys.stderr)
            print(settings_file(found, repository), end="")


def prepare(repository: Repository, folder: Path, own: Path | None) -> None:
    """Write the inventory of a try, and say what was seen."""
    trial.refuse_other(folder, repository.shown)
    file = folder / trial.SETTINGS
    shown = seen_from_here(file)
    vault: dict[str, str] = {}
    if own:
        settings = trial.own_settings(own)
        trial.bring_environment_file(settings, own, folder)
        print(f"The application's settings of {own}: {shown}")
    elif file.exists():  # somebody may have corrected it
        settings = file.read_text(encoding="utf-8")
        print(KEPT.format(file=shown))
    else:
        found = guess(repository)
        settings, vault = settings_file(found, repository), found.environment.vault
        print("\n".join(report(found, repository)))
    trial.write(folder, repository, settings, vault, wants_database(repository, settings))


def wants_database(repository: Repository, settings: str) -> bool:
    """Whether the server needs PostgreSQL: settings say so, or what the application installs."""
    if re.search(r"app_(database|migrate_command)", settings):
        return True
    try:
        return guess(repository).has_database
    except RefusalError:  # whoever has settings of their own need not be recognized
        return True
