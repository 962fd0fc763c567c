"""Check all settings of an environment against the argument specs of all roles together.

Ansible itself checks one role's settings when that role starts, and stops at the first wrong role:
by then the roles before it have changed hosts. This action runs first, on the control node, without
a connection, and fails once with every problem, its example, and the file and line to edit.

    - name: Refuse wrong settings before the first change
      settings_checked:
        roles: [base, app]                    # their meta/argument_specs.yml, entry point main
        roles_path: roles                     # default: beside the role that calls
        file: group_vars/servers/settings.yml # where a missing setting goes, below the inventory

It never converts a value, and never shows one that is secret: `no_log: true` in its spec, from a
vault, or made from such a value.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import RequiredError, UnsupportedError
from ansible.parsing.vault import EncryptedString
from ansible.plugins.action import ActionBase

Spec = Mapping[str, Any]

PLACEHOLDER = "CHANGE-ME"
DEFAULT_FILE = "group_vars/servers/settings.yml"
SHOWN = 70  # characters of a value in a message
VAULT_HEADER = "$ANSIBLE_VAULT"
HOST_ADDRESS: Spec = {"description": ["The address that Ansible reaches this host at."]}
HOW_DEEP = 8  # names followed through templates

NAMES = re.compile(r"[A-Za-z_]\w*")
TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
INTEGER = re.compile(r"[+-]?\d+")
FLOAT = re.compile(r"[+-]?\d+(\.\d+)?")
TYPES = {
    "bool": "true or false",
    "dict": "a dictionary",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
}


@dataclass(frozen=True)
class Problem:
    """One wrong setting and what the user needs to mend it."""

    name: str
    what: str
    spec: Spec = field(default_factory=dict)
    missing: bool = False


@dataclass(frozen=True)
class Files:
    """Where variables may be set: texts of readable files by path, and names in vaulted ones."""

    texts: Mapping[Path, str]
    vaulted: Mapping[Path, frozenset[str]]

    def place(self, name: str, host: str) -> tuple[Path, int | None] | None:
        """The file and line that set a variable of a host; no line for a vaulted file."""
        key = rf"[\"']?{re.escape(name)}[\"']?[ \t]*:"
        # Files of variables have it at the margin; an inventory has it below its host.
        host_key = rf"^[ \t]+{re.escape(host)}:.*\n(?:.*\n)*?[ \t]+"
        for before in (r"^", host_key, r"^[ \t]+"):
            line = re.compile(f"{before}(?P<key>{key})", re.MULTILINE)
            for path, text in self.texts.items():
                if found := line.search(text):
                    return path, text.count("\n", 0, found.start("key")) + 1
        return next(((path, None) for path, names in self.vaulted.items() if name in names), None)


# The specs


def merged_specs(specs: Mapping[str, Spec]) -> dict[str, Spec]:
    """The options of all roles' main entry points; the first role that names an option has it."""
    merged: dict[str, Spec] = {}
    for spec in specs.values():
        options = spec.get("argument_specs", {}).get("main", {}).get("options", {})
        for name, option in options.items():
            merged.setdefault(name, option)
    return merged


def lines_of(spec: Spec) -> list[str]:
    """An option's description as a list."""
    description = spec.get("description", [])
    return [description] if isinstance(description, str) else [str(line) for line in description]


def first_sentence(spec: Spec) -> str:
    """The first sentence of an option's description."""
    text = " ".join(line for line in lines_of(spec) if not line.startswith("Example:"))
    return re.split(r"(?<=[.!?])\s", text.strip(), maxsplit=1)[0]


def example(spec: Spec) -> str:
    """The example of an option: the last item of its description, when it starts so."""
    last = (lines_of(spec) or [""])[-1].strip()
    return last.removeprefix("Example:").strip() if last.startswith("Example:") else ""


def has_no_log(spec: Spec) -> bool:
    """Whether an option, or one inside it, must not be shown."""
    return bool(spec.get("no_log")) or any(map(has_no_log, (spec.get("options") or {}).values()))


# The values


def strings(value: object) -> Iterator[str]:
    """Every text inside a value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from strings(key)
            yield from strings(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from strings(item)


def shown(value: object) -> str:
    """A value for a message, shortened."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def wrong_type(value: object, wanted: str) -> str:
    """Why a value is not of a type, "" if it is; nothing is converted that a role would not."""
    if wanted in TYPES:
        textual = {"bool": re.compile("true|false", re.IGNORECASE), "int": INTEGER, "float": FLOAT}
        pattern = textual.get(wanted)
        # -e name=5 gives a text: the roles take these forms, and no others.
        fits = isinstance(value, str) and pattern is not None and pattern.fullmatch(value)
        return "" if fits or has_type(value, wanted) else f"must be {TYPES[wanted]}"
    if wanted in ("str", "path") and not isinstance(value, str):
        quote = isinstance(value, int | float) and not isinstance(value, bool)
        return "must be a text" + (": put it in quotes" if quote else "")
    return ""


def has_type(value: object, wanted: str) -> bool:
    """Whether a value is of a type of TYPES as it is."""
    if wanted == "dict":
        return isinstance(value, Mapping)
    if wanted == "list":
        return isinstance(value, Sequence) and not isinstance(value, str | bytes)
    if wanted == "bool":
        return isinstance(value, bool)
    numbers = (int,) if wanted == "int" else (int, float)
    return isinstance(value, numbers) and not isinstance(value, bool)


def type_problems(name: str, value: object, spec: Spec) -> Iterator[tuple[str, str, object]]:
    """Each place inside a value that is of the wrong type: (where, why, what is there)."""
    wanted = spec.get("type", "str")
    if why := wrong_type(value, wanted):
        yield name, why, value
        return
    options = spec.get("options") or {}
    if isinstance(value, Sequence) and wanted == "list":
        item_spec = {"type": spec.get("elements", "raw"), "options": options}
        for number, item in enumerate(value):
            yield from type_problems(f"{name}[{number}]", item, item_spec)
    elif isinstance(value, Mapping):
        for key in options.keys() & value.keys():
            if value[key] is not None:
                yield from type_problems(f"{name}.{key}", value[key], options[key])


def value_problem(name: str, value: object, spec: Spec, secret: bool) -> str:
    """What is wrong with a value, "" if nothing is; a secret value is not shown."""
    if any(PLACEHOLDER in text for text in strings(value)):
        return f"still holds the placeholder {PLACEHOLDER}"
    if value is None or (spec.get("required") and value == ""):
        return "is empty"
    wrong = list(type_problems(name, value, spec))
    if wrong:
        where, why, there = wrong[0]
        place = "" if where == name else f"{where} "
        return f"{place}{why}" if secret else f"{place}is {shown(there)}, {why}"
    errors = ArgumentSpecValidator({name: spec}).validate({name: value}).errors.errors
    return "; ".join(error_text(name, value, error, secret) for error in errors)


def error_text(name: str, value: object, error: Exception, secret: bool) -> str:
    """One error of Ansible's validator in our words."""
    text = str(error)
    if isinstance(error, UnsupportedError):
        keys, _, known = text.partition(". Supported parameters include: ")
        return f"has keys that do not exist: {keys} (there are: {known.rstrip('.')})"
    if isinstance(error, RequiredError):
        return f"is incomplete: {text}"
    if secret:
        return "has a value that is not allowed"
    # The validator ends with ", got: value" where its choices fail; the value comes first here.
    text = text.split(", got:")[0].removeprefix(f"value of {name} ")
    return f"is {shown(value)}, {text}"


def mentioned(raw: object, variables: Mapping[str, Any]) -> frozenset[str]:
    """Every name that the templates in a value use, directly and through other variables."""
    names: set[str] = set()
    fresh = template_names(raw)
    for _ in range(HOW_DEEP):
        # hostvars is what all hosts have; a setting uses the few names that stand after it.
        fresh -= {"hostvars"}
        names |= fresh
        fresh = {n for name in fresh for n in template_names(variables.get(name))} - names
        if not fresh:
            break
    return frozenset(names)


def template_names(raw: object) -> set[str]:
    """The names in a value's own templates."""
    if isinstance(raw, EncryptedString):
        return set()
    return {
        name
        for text in strings(raw)
        for template in TEMPLATE.findall(text)
        for name in NAMES.findall(template)
    }


def has_vaulted(raw: object) -> bool:
    """Whether a value is, or holds, a vaulted text."""
    if isinstance(raw, EncryptedString):
        return True
    if isinstance(raw, Mapping):
        return any(map(has_vaulted, raw.values()))
    return isinstance(raw, list | tuple) and any(map(has_vaulted, raw))


def is_secret(name: str, spec: Spec, variables: Mapping[str, Any], vaulted: frozenset[str]) -> bool:
    """Whether a setting's value must not be shown."""
    names = {name} | mentioned(variables.get(name), variables)
    return (
        has_no_log(spec)
        or bool(names & vaulted)
        or any(has_vaulted(variables.get(n)) or n.startswith("vault_") for n in names)
    )


def unknowable(raw: object, variables: Mapping[str, Any]) -> bool:
    """Whether a value needs what exists only later: facts of the host, or a role's own names."""
    names = mentioned(raw, variables)
    later = any(name.startswith("__") and name not in variables for name in names)
    return later or ("ansible_facts" in names and not variables.get("ansible_facts"))


# The whole


def unknown_settings(
    variables: Mapping[str, Any], roles: Sequence[str], known: frozenset[str]
) -> Iterator[Problem]:
    """Settings that look like a role's but are in no spec, with the name that was meant."""
    prefixes = tuple(f"{role}_" for role in roles)
    for name in sorted(variables):
        if name.startswith(prefixes) and name not in known:
            close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.75)
            hint = f": did you mean {close[0]}?" if close else ": correct or remove it"
            yield Problem(name, f"is no setting{hint}")


def setting_problems(
    specs: Mapping[str, Spec],
    variables: Mapping[str, Any],
    defaults: Mapping[str, Any],
    vaulted: frozenset[str],
    evaluate: Callable[[Any], Any],
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


def root_causes(problems: Sequence[Problem], variables: Mapping[str, Any]) -> list[Problem]:
    """The problems that are not another one's: a value made from a wrong value is not told."""
    wrong = {problem.name for problem in problems}
    uses = {name: mentioned(variables.get(name), variables) & wrong for name in wrong}

    def derived(name: str) -> bool:
        # Two that use each other are both told.
        return any(other != name and name not in uses[other] for other in uses[name])

    def own(problem: Problem) -> bool:
        return any(PLACEHOLDER in text for text in strings(variables.get(problem.name)))

    return [problem for problem in problems if own(problem) or not derived(problem.name)]


def template_error(error: Exception, secret: bool) -> str:
    """The text of a template's error; of a secret's only what names a variable."""
    text = " ".join(str(error).split())
    safe = re.search(r"'\w+' is undefined", text)
    if secret:
        return f": {safe[0]}" if safe else ""
    return f": {text}"


def host_problem(variables: Mapping[str, Any], evaluate: Callable[[Any], Any]) -> Iterator[Problem]:
    """The placeholder in a host's address."""
    try:
        address = str(evaluate(variables.get("ansible_host", "")))
    except AnsibleError as error:
        yield Problem("ansible_host", f"cannot be evaluated: {error}", HOST_ADDRESS)
        return
    if PLACEHOLDER in address:
        yield Problem("ansible_host", f"still holds the placeholder {PLACEHOLDER}", HOST_ADDRESS)


def from_here(path: Path) -> str:
    """A path relative to where the user is."""
    return os.path.relpath(path)


def rendered(problem: Problem, files: Files, host: str, new_file: Path) -> str:
    """A problem in a few lines: what is wrong, what it is, an example, where to mend it."""
    lines = [f"{problem.name} {problem.what}"]
    if sentence := first_sentence(problem.spec):
        lines.append(f"  meaning: {sentence}")
    if text := example(problem.spec):
        lines.append(f"  example: {text}")
    place = None if problem.missing else files.place(problem.name, host)
    if problem.missing:
        lines.append(f"  add to:  {from_here(new_file)}")
    elif place:
        path, line = place
        lines.append(f"  set in:  {from_here(path)}" + (f":{line}" if line else " (vaulted)"))
    else:
        lines.append("  set in:  no file of the inventory: with -e, or in a play")
    return "\n".join(lines)


def message(problems: Sequence[Problem], files: Files, host: str, new_file: Path) -> str:
    """All problems of an environment as one text: what is missing, then in the files' order."""

    def order(problem: Problem) -> tuple[bool, str, int]:
        path, line = (not problem.missing and files.place(problem.name, host)) or ("", None)
        return not problem.missing, str(path), line or 0

    ordered = sorted(problems, key=order)
    return "\n\n".join(rendered(problem, files, host, new_file) for problem in ordered)


def headline(count: int, inventory: Path) -> str:
    """How many problems an environment has."""
    settings = "1 setting" if count == 1 else f"{count} settings"
    return f"{settings} of {from_here(inventory)} must be mended; nothing was changed on any host."


# Files


def variable_files(
    inventory: Path, playbooks: Path, host: str, groups: Sequence[str]
) -> list[Path]:
    """The files that may set a variable of a host, those that win first."""
    stems = [inventory / "host_vars" / host]
    stems += [base / "group_vars" / group for group in groups for base in (playbooks, inventory)]
    stems += [base / "group_vars" / "all" for base in (playbooks, inventory)]
    found = [path for stem in stems for path in files_of(stem)]
    hosts = [path for path in sorted(inventory.glob("*.y*ml")) if path.is_file()]
    return [path.resolve() for path in (*found, *hosts)]


def files_of(stem: Path) -> list[Path]:
    """A group's or host's files: its own, or all of its directory, the last one winning."""
    if stem.is_dir():
        return sorted((path for path in stem.rglob("*") if path.is_file()), reverse=True)
    return [path for path in (stem, *stem.parent.glob(f"{stem.name}.y*ml")) if path.is_file()]


class ActionModule(ActionBase):
    """Fail with every wrong setting of a host, before anything is changed."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"roles", "roles_path", "file"})

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The result: changed is false; failed and a message when settings are wrong."""
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        roles = self.role_names()
        roles_path = self.roles_path(variables)
        specs = merged_specs({role: self.spec_of(roles_path / role) for role in roles})
        defaults = self.role_variables(roles_path, roles)
        inventory = Path(variables.get("inventory_dir") or ".")
        files = self.files(inventory, variables)
        vaulted = frozenset(name for names in files.vaulted.values() for name in names)

        # A setting may use another role's default, which Ansible itself would only load later.
        context = {**defaults, **variables}
        templar = self._templar.copy_with_new_env(available_variables=context)
        known = frozenset(specs) | frozenset(defaults)
        found = [
            *setting_problems(specs, variables, defaults, vaulted, templar.template),
            *unknown_settings(variables, roles, known),
            *host_problem(variables, templar.template),
        ]
        problems = root_causes(found, context)
        file = self._task.args.get("file", DEFAULT_FILE)
        if problems:
            host = variables["inventory_hostname"]
            text = message(problems, files, host, inventory / file)
            text = f"{headline(len(problems), inventory)}\n\n{text}"
            return {**result, "changed": False, "failed": True, "msg": text}
        return {**result, "changed": False, "msg": f"{len(specs)} settings are in order."}

    def role_names(self) -> list[str]:
        """The roles to be checked; AnsibleActionFail when they are not named."""
        roles = self._task.args.get("roles")
        if not isinstance(roles, list) or not roles:
            raise AnsibleActionFail("settings_checked needs `roles`, a list of role names")
        return [str(role) for role in roles]

    def roles_path(self, variables: Mapping[str, Any]) -> Path:
        """The directory of the roles: as given, else where the calling role is."""
        given = self._task.args.get("roles_path")
        if given:
            return Path(given)
        if "role_path" in variables:
            return Path(variables["role_path"]).parent
        return Path(variables["playbook_dir"]) / "roles"

    def spec_of(self, role: Path) -> Spec:
        """A role's argument specs; AnsibleActionFail when it has none."""
        path = role / "meta" / "argument_specs.yml"
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise AnsibleActionFail(f"role {role.name} has no argument specs: {error}") from error
        # The C loader: the specs of all roles are read on every run.
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}  # noqa: S506

    def role_variables(self, roles_path: Path, roles: Sequence[str]) -> dict[str, Any]:
        """The defaults and constants of the roles, as templates that may be evaluated."""
        found: dict[str, Any] = {}
        for kind in ("defaults", "vars"):
            for role in roles:
                path = roles_path / role / kind / "main.yml"
                if path.is_file():
                    found |= self.loaded(path)
        return found

    def loaded(self, path: Path) -> Mapping[str, Any]:
        """The variables of a file, decrypted if it is vaulted."""
        data = self._loader.load_from_file(str(path.absolute()), trusted_as_template=True)
        return data if isinstance(data, Mapping) else {}

    def files(self, inventory: Path, variables: Mapping[str, Any]) -> Files:
        """The files of this environment that set variables."""
        texts: dict[Path, str] = {}
        vaulted: dict[Path, frozenset[str]] = {}
        for path in variable_files(
            inventory,
            Path(variables["playbook_dir"]),
            variables["inventory_hostname"],
            variables.get("group_names", []),
        ):
            text = path.read_text(encoding="utf-8", errors="replace")
            if text.startswith(VAULT_HEADER):
                vaulted[path] = frozenset(self.loaded(path))
            elif path.suffix in (".yml", ".yaml", ".json", ""):
                texts[path] = text
        return Files(texts, vaulted)
