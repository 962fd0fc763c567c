"""What is wrong with the settings of a host, each cause once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ansible.errors import AnsibleError

from pergola_control.settings.placeholder import PLACEHOLDER, is_placeholder
from pergola_control.settings.specs import Spec
from pergola_control.settings.templates import is_secret, mentioned, unknowable
from pergola_control.settings.values import value_problem

HOST_ADDRESS: Spec = {"description": ["The address that Ansible reaches this host at."]}


@dataclass(frozen=True)
class Problem:
    """One wrong setting and what the user needs to fix it."""

    name: str
    what: str
    spec: Spec = field(default_factory=Spec)
    missing: bool = False

    @property
    def text(self) -> str:
        """What is wrong, in one sentence that begins with the setting's name."""
        return self.what if self.what.startswith(self.name) else f"{self.name} {self.what}"


def unknown_settings(
    variables: Mapping[str, object],
    roles: Sequence[str],
    known: frozenset[str],
    renamed: Mapping[str, str],
) -> Iterator[Problem]:
    """Settings that look like a role's but are in no spec, with the name that was meant.

    `renamed`: what settings are called now, by what they were called before.
    """
    prefixes = tuple(f"{role}_" for role in roles)
    for name in sorted(variables):
        if name.startswith(prefixes) and name not in known:
            if name in renamed:
                yield Problem(name, f"is called {renamed[name]} now: rename it")
                continue
            close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.75)
            hint = f": did you mean {close[0]}?" if close else ": correct or remove it"
            yield Problem(name, f"is not a setting{hint}")


def setting_problems(
    specs: Mapping[str, Spec],
    variables: Mapping[str, object],
    defaults: Mapping[str, object],
    vaulted: frozenset[str],
    evaluate: Callable[[object], object],
) -> Iterator[Problem]:
    """What is wrong with the settings that the specs know; a role's own default is never wrong."""
    context = {**defaults, **variables}
    for name, spec in specs.items():
        if name not in variables:
            if spec.get("required") and name not in defaults:
                yield Problem(name, "is missing", spec, missing=True)
            continue
        raw = variables[name]
        if name in defaults and raw == defaults[name]:
            continue
        secret = is_secret(name, spec, context, vaulted)
        try:
            value = evaluate(raw)
        except AnsibleError as error:
            if not unknowable(raw, context):
                yield Problem(name, f"cannot be evaluated{template_error(error, secret)}", spec)
            continue
        if what := value_problem(name, value, spec, secret):
            yield Problem(name, what, spec)


def root_causes(problems: Sequence[Problem], variables: Mapping[str, object]) -> list[Problem]:
    """The problems that are not another one's: a value made from a wrong value is not told."""
    wrong = {problem.name for problem in problems}
    uses = {name: mentioned(variables.get(name), variables) & wrong for name in wrong}

    def derived(name: str) -> bool:
        # Two that use each other are both told.
        return any(other != name and name not in uses[other] for other in uses[name])

    def own(problem: Problem) -> bool:
        return is_placeholder(variables.get(problem.name))

    return [problem for problem in problems if own(problem) or not derived(problem.name)]


def template_error(error: Exception, secret: bool) -> str:
    """The text of a template's error; of a secret's only what names a variable."""
    text = " ".join(str(error).split())
    safe = re.search(r"'\w+' is undefined", text)
    if vaulted := re.search(r"'vault_\w+' is undefined", text):
        return (
            f": {vaulted[0]}; set it in a file vault.yml beside this one (ansible-vault create, or "
            "ansible-vault edit)"
        )
    if "no vault secrets found" in text:
        return ": it is encrypted; add --ask-vault-pass (or --vault-password-file) to the command"
    if secret:
        return f": {safe[0]}" if safe else ""
    return f": {text}"


def host_problem(
    variables: Mapping[str, object], evaluate: Callable[[object], object]
) -> Iterator[Problem]:
    """The placeholder in a host's address."""
    try:
        address = str(evaluate(variables.get("ansible_host", "")))
    except AnsibleError as error:
        yield Problem("ansible_host", f"cannot be evaluated: {error}", HOST_ADDRESS)
        return
    if PLACEHOLDER in address:
        yield Problem("ansible_host", f"still holds the placeholder {PLACEHOLDER}", HOST_ADDRESS)
