"""What roles check of settings beyond their types, and what they bring: `meta/checks.yml`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypedDict, cast

from ansible.errors import AnsibleError
from ansible.template import trust_as_template

from pergola_control.settings.files import Load
from pergola_control.settings.problems import Problem
from pergola_control.settings.specs import Spec
from pergola_control.settings.templates import mentioned, unknowable

Evaluate = Callable[[object], object]
Values = Mapping[str, object]
NAME = re.compile(r"\W")  # where a name ends
EXPRESSION = re.compile(r"\s*\{\{((?:(?!\{\{|\}\}).)*)\}\}\s*", re.DOTALL)


@dataclass(frozen=True)
class Checks:
    """The checks of all roles.

    variables  what their templates use
    rules  of settings, each a mapping: `says`, a text or a list of them, each of which begins with
        the setting that it is about; `broken`, without which it is broken when it says something
    system_rules  the same of what a server is; of one that breaks them nothing else is said
    server_rules  the same of settings and the facts of a server
    calendars  templates of when something runs: by what has it, in systemd's form
    brings  templates of what a role brings to a server, for a look at what is there already
    renamed  what settings are called now, by what they were called before
    required  templates of whether a setting must be set, by its name
    """

    variables: Values
    rules: Sequence[Values]
    system_rules: Sequence[Values]
    server_rules: Sequence[Values]
    calendars: Sequence[object]
    brings: Sequence[Values]
    renamed: Mapping[str, str]
    required: Mapping[str, object]


class Settings(Protocol):
    """A host's settings: as set, as the roles have them, and with all that templates use."""

    @property
    def specs(self) -> Mapping[str, Spec]: ...
    @property
    def variables(self) -> Values: ...
    @property
    def defaults(self) -> Values: ...
    @property
    def context(self) -> Values: ...


class Written(TypedDict, total=False):
    """A role's `meta/checks.yml`."""

    vars: Values
    rules: list[Values]
    system_rules: list[Values]
    server_rules: list[Values]
    calendars: object
    brings: Values
    renamed: Mapping[str, str]
    required: Values


def checks_of(roles: Iterable[Path], load: Load) -> Checks:
    """The checks of roles."""
    paths = [role / "meta/checks.yml" for role in roles]
    found = [cast("Written", load(path)) for path in paths if path.is_file()]
    return Checks(
        variables=dict(item for one in found for item in one.get("vars", {}).items()),
        rules=[rule for one in found for rule in one.get("rules", [])],
        system_rules=[rule for one in found for rule in one.get("system_rules", [])],
        server_rules=[rule for one in found for rule in one.get("server_rules", [])],
        calendars=[one["calendars"] for one in found if "calendars" in one],
        brings=[one["brings"] for one in found if "brings" in one],
        renamed={old: new for one in found for old, new in one.get("renamed", {}).items()},
        required={name: rule for one in found for name, rule in one.get("required", {}).items()},
    )


def said(rule: Values, evaluate: Evaluate) -> list[str]:
    """What a rule says of the settings; nothing if it is not broken."""
    if "broken" in rule and not evaluate(rule["broken"]):
        return []
    says = evaluate(rule["says"])
    return [str(text) for text in (says if isinstance(says, list) else [says]) if text]


def rule_problems(
    rules: Iterable[Values], settings: Settings, wrong: frozenset[str], evaluate: Evaluate
) -> Iterator[Problem]:
    """What breaks rules, but for those that use a setting which is wrong already."""
    judged = [
        rule for rule in rules if not mentioned(list(rule.values()), settings.context) & wrong
    ]
    for rule in suspects(judged, evaluate):
        templates = list(rule.values())
        try:
            texts = said(rule, evaluate)
        except AnsibleError:
            if unknowable(templates, settings.context):
                continue
            raise
        for text in texts:
            name = NAME.split(text, maxsplit=1)[0]
            own = name in settings.specs and is_set(name, settings)
            yield Problem(name, text, settings.specs[name]) if own else Problem("", text)


def suspects(rules: Sequence[Values], evaluate: Evaluate) -> Sequence[Values]:
    """The rules that may be broken; all of them, if that cannot be told at once.

    As one template they are compiled at once, and each variable that they use only once.
    """
    found = [EXPRESSION.fullmatch(str(rule.get("broken", rule["says"]))) for rule in rules]
    together = ", ".join(f"({one[1]})" for one in found if one)
    try:
        answers = iter(cast("list[object]", evaluate(trust_as_template(f"{{{{ [{together}] }}}}"))))
    except AnsibleError:  # alone each says what it lacks
        return rules
    return [rule for rule, one in zip(rules, found, strict=True) if not one or next(answers)]


def missing(
    required: Values, settings: Settings, wrong: frozenset[str], evaluate: Evaluate
) -> Iterator[Problem]:
    """Settings that others make necessary, and that are not set."""
    for name, template in required.items():
        uses = mentioned(template, settings.context)
        if not is_set(name, settings) and not uses & wrong and evaluate(template):
            yield Problem(name, "is missing", settings.specs[name], missing=True)


def is_set(name: str, settings: Settings) -> bool:
    """Whether a setting is another than the role's own."""
    defaults, variables = settings.defaults, settings.variables
    return name in variables and (name not in defaults or variables[name] != defaults[name])


def calendars_set(checks: Checks, settings: Settings, evaluate: Evaluate) -> dict[str, str]:
    """When something runs by the settings, by what has it; a role's own default is never wrong."""
    found: dict[str, str] = {}
    for template in checks.calendars:
        for name, text in cast("Values", evaluate(template)).items():
            if name not in settings.defaults or is_set(name, settings):
                found[name] = str(text)
    return found


def brought(checks: Checks, evaluate: Evaluate) -> dict[str, object]:
    """What all roles bring to a server: lists one after the other, mappings in one."""
    whole: dict[str, object] = {}
    for templates in checks.brings:
        for name, template in templates.items():
            whole[name] = together(whole.get(name), evaluate(template))
    return whole


def together(first: object, second: object) -> object:
    """Two values of the same name as one; the second of two that cannot be joined."""
    if isinstance(first, list) and isinstance(second, list):
        return first + second
    if isinstance(first, dict) and isinstance(second, dict):
        return first | {name: together(first.get(name), value) for name, value in second.items()}
    return second
