"""Options of ansible-playbook, which are passed on as they were typed.

Written down here, since importing Ansible to ask for them takes longer than the rest of the command
(tests/control/test_pergola_command.py compares). `-i` is missing: the first word is the inventory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

FLAGS = {
    *("-C", "--check", "-D", "--diff", "-v", "--verbose", "-b", "--become", "-K"),
    *("--ask-become-pass", "-k", "--ask-pass", "-J", "--ask-vault-pass", "--ask-vault-password"),
    *("--force-handlers", "--flush-cache", "--list-hosts", "--list-tags", "--list-tasks"),
    *("--step", "--syntax-check"),
}
WITH_VALUE = {
    *("-e", "--extra-vars", "-l", "--limit", "-t", "--tags", "--skip-tags", "--start-at-task"),
    *("-f", "--forks", "-M", "--module-path", "-u", "--user", "-c", "--connection", "-T"),
    *("--timeout", "--private-key", "--key-file", "--ssh-common-args", "--ssh-extra-args"),
    *("--scp-extra-args", "--sftp-extra-args", "--become-method", "--become-user"),
    *("--become-password-file", "--become-pass-file", "--connection-password-file"),
    *("--conn-pass-file", "--vault-id", "--vault-password-file", "--vault-pass-file"),
}
# Those that say which server is meant and how it is reached, or that its variables need.
OPTIONS_OF_LOOKS = (
    "Of Ansible's options it takes --limit, -e, --user, --private-key and those of the vault."
)
OF_LOOKS = {
    *("-e", "--extra-vars", "-l", "--limit", "-J", "--ask-vault-pass", "--ask-vault-password"),
    *("--vault-id", "--vault-password-file", "--vault-pass-file"),
    *("-u", "--user", "--private-key", "--key-file"),
}


def parted(
    words: Sequence[str], own: Collection[str], passed_on: Collection[str]
) -> tuple[list[str], list[str]]:
    """A verb's words, and Ansible's: `own` are the verb's options, which come first.

    What neither knows is left to the verb, to be refused, and so is all that follows `--`.
    ValueError for an option of Ansible's whose value is missing, or that is not to be passed on.
    """
    mine: list[str] = []
    theirs: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            mine += [word, *rest]
        elif (name := option_of(word)) in own or name not in FLAGS | WITH_VALUE:
            mine.append(word)
        elif name not in passed_on:
            raise ValueError(f"this verb does not take {name}. {OPTIONS_OF_LOOKS}")
        else:
            theirs += [word, *value_of(name, word, rest)]
    return mine, theirs


def option_of(word: str) -> str:
    """The name of the option that a word is or begins with."""
    if word.startswith("--"):
        return word.partition("=")[0]
    together = word[1:]
    flags = word.startswith("-") and all(f"-{letter}" in FLAGS for letter in together)
    return word[:2] if flags or word[:2] in WITH_VALUE else word


def value_of(name: str, word: str, rest: Iterator[str]) -> Iterator[str]:
    """The next word, if it is an option's value."""
    if name in WITH_VALUE and word == name:
        value = next(rest, None)
        if value is None:
            raise ValueError(f"{name} needs a value.")
        yield value
