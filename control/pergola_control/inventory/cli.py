"""Make an inventory outside the clone, with a configuration that points to it.

Whatever the user can fix ends as text on stderr and exit 1: what is wrong, and what to do next.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from pergola_control.here import ROOT, seen_from_here
from pergola_control.inventory.made import PASSWORD, SETTINGS, VAULT, make, seen_from
from pergola_control.refusal import RefusalError

SAYS = """\
{folder} holds an inventory now. Fill in hosts.yml and {settings} there.
The vault's password is in {password}, which git ignores: keep a copy elsewhere. To edit the vault,
there:  ansible-vault edit {vault}
Next:   {active}cd {quoted} && ansible-playbook {site} -i hosts.yml --check"""


def main(argv: Sequence[str]) -> None:
    """Make the inventory, and say what to do with it."""
    parser = argparse.ArgumentParser("inventory", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", metavar="DIR", type=Path, help="where, such as ../our-servers")
    if not any(argv):  # what make gives without a DIR
        sys.exit("It is not said where.\n  Next: make inventory DIR=../our-servers")
    folder: Path = parser.parse_args(argv).folder
    try:
        make(folder)
    except RefusalError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error}\n  Next: name a directory that you may write to: DIR=../our-servers")
    site = shlex.quote(seen_from(folder.resolve(), ROOT / "site.yml"))
    quoted = shlex.quote(str(folder))
    files = {"settings": SETTINGS, "password": PASSWORD, "vault": VAULT}
    print(SAYS.format(folder=folder, quoted=quoted, site=site, active=activation(), **files))


def activation() -> str:
    """What to type so that a shell finds Ansible, as make does; empty where it would."""
    venv = ROOT / ".venv"
    is_active = os.environ.get("VIRTUAL_ENV") == str(venv)
    return "" if is_active else f". {shlex.quote(seen_from_here(venv / 'bin/activate'))} && "
