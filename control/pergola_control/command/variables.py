"""Extra variables that would not arrive, or that nothing reads."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping

from ansible.parsing.splitter import parse_kv

from pergola_control.command.known import meant_by, nearest
from pergola_control.command.questions import NOT_READ, QUESTIONS


def assigned(text: str) -> tuple[str, str]:
    """The name and the whole value of one `-e name=value`, as the shell handed it over."""
    found = re.match(r"\s*(\w+)=(.*)", text, re.DOTALL)
    return (found[1], found[2].strip()) if found else ("", "")


def quoted(name: str, value: str) -> str:
    """An extra variable in a form that Ansible does not cut, to be typed into a shell."""
    if not re.search(r"['\"\\{}]", value):
        return f"-e {name}=\"'{value}'\"" if "$" not in value else f"-e '{name}=\"{value}\"'"
    return f"-e {shlex.quote(json.dumps({name: value}))}"


def cut(given: Iterable[str]) -> Iterator[str]:
    """Extra variables that Ansible cuts at a blank."""
    for text in given:
        if text.startswith(("@", "/", ".", "{", "[")):  # files, JSON and YAML, as Ansible has it
            continue
        parsed = parse_kv(text)
        if "_raw_params" not in parsed:
            continue
        name, value = assigned(text)
        if name:
            kept = shlex.quote(str(parsed.get(name, "")))
            yield (
                f"-e {name}={shlex.quote(value)}: Ansible cuts a value at its blanks: {name} would "
                f"be {kept}, and the rest is lost.\n  Quote it once more:  {quoted(name, value)}"
            )
        else:
            yield f"-e {shlex.quote(text)} has no value: a variable is -e name=value"


def unread(
    book: str, variables: Iterable[str], settings: frozenset[str], own: Mapping[str, bool]
) -> Iterator[str]:
    """Extra variables that a playbook does not read, each with the name that was meant.

    `settings` are the roles' variables; `own` says of a name whether the inventory has it.
    """
    questions = QUESTIONS[book]
    elsewhere = {name for asked in QUESTIONS.values() for name in asked.values()}
    known = settings - elsewhere | set(questions.values())
    for name in variables:
        meant = NOT_READ.get(book, {}).get(name, "")
        if not meant and (name in known or name in questions or own.get(name)):
            continue
        if name == "_raw_params" or (name.startswith(("ansible_", "vault_")) and not meant):
            continue
        others = [other for other, asked in QUESTIONS.items() if name in {*asked, *asked.values()}]
        if not others:
            meant = meant or nearest(name, known, questions)
        hint = f"did you mean -e {meant}=…?" if meant else "leave it out"
        if others and not meant:
            hint = f"playbooks/{others[-1]}.yml does"
        reads = f" (its own are {', '.join(questions)})" if questions and not meant else ""
        yield f"-e {name}=…: {book}.yml reads no variable of that name{reads}; {hint}"


def misspelt(variables: Iterable[str], known: Iterable[str]) -> Iterator[str]:
    """Ansible's own variables that are none, but nearly."""
    known = set(known)
    for name in variables:
        if meant := meant_by(name, known):
            yield f"-e {name}=…: Ansible has no such variable; did you mean -e {meant}=…?"
