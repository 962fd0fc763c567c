"""Files of variables: which file cannot be read, in which line, and what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import AnsibleVaultError

from pergola_control.here import from_here

LOCKED = """{place} is encrypted, and nothing was changed: {reason}
{advice}"""
ADVICE = "Add --ask-vault-pass to the command, or --vault-password-file FILE."
WRONG = "The password that was given is another one: ansible-vault view {place}"
NO_YAML = """{place} is not valid YAML, and nothing was changed: {reason}
Look at this line and those before it: indentation; a quote that is not closed; a text with ": " in
it, or with {{{{ at its start, which must stand in quotes."""
TWICE = """{place} sets the same name again, and nothing was changed: {reason}
Only the last one would count: remove one of the two."""


def files(loader: DataLoader, path: str, folder: str, name: str) -> Iterator[str]:
    """The files of a host's or a group's variables, as Ansible finds them."""
    top = Path(path)
    top = (top if top.is_dir() else top.parent).resolve() / folder
    if top.is_dir():
        yield from map(os.fsdecode, loader.find_vars_files(str(top), name))


def read(loader: DataLoader, file: str) -> None:
    """Have the loader read a file, in the same way as Ansible will."""
    try:
        loader.load_from_file(file, cache="all", unsafe=True, trusted_as_template=True)
    except AnsibleVaultError as error:
        place = from_here(file)
        advice = WRONG.format(place=place) if error.message.startswith("Decryption") else ADVICE
        text = LOCKED.format(place=place, reason=error.message, advice=advice)
        raise AnsibleParserError(text) from None
    except AnsibleError as error:
        origin = getattr(error, "obj", None)
        line = getattr(origin, "line_num", None)
        place = from_here(file) + (f":{line}" if line else "")
        form = TWICE if "duplicate mapping key" in error.message else NO_YAML
        reason = error.message.removeprefix("YAML parsing failed: ")
        raise AnsibleParserError(form.format(place=place, reason=reason)) from None
