"""The check of a host's settings as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pergola_control.settings.files import Load, read_files, variable_files
from pergola_control.settings.message import headline, message
from pergola_control.settings.problems import (
    host_problem,
    root_causes,
    setting_problems,
    unknown_settings,
)
from pergola_control.settings.specs import Spec, options_of


@dataclass(frozen=True)
class Check:
    """The settings of one host, and the roles that take them."""

    roles: Sequence[str]
    roles_path: Path
    inventory: Path
    playbooks: Path
    host: str
    groups: Sequence[str]
    variables: Mapping[str, object]
    load: Load

    @cached_property
    def specs(self) -> Mapping[str, Spec]:
        """The options of all roles; the first role that names an option has it."""
        merged: dict[str, Spec] = {}
        for role in self.roles:
            for name, option in options_of(self.roles_path / role).items():
                merged.setdefault(name, option)
        return merged

    @cached_property
    def defaults(self) -> Mapping[str, object]:
        """The defaults and constants of the roles, as templates that may be evaluated."""
        places = [(role, kind) for kind in ("defaults", "vars") for role in self.roles]
        paths = [self.roles_path / role / kind / "main.yml" for role, kind in places]
        found: dict[str, object] = {}
        for path in filter(Path.is_file, paths):
            found.update(self.load(path))
        return found

    @property
    def context(self) -> Mapping[str, object]:
        """What templates are evaluated with.

        A setting may use another role's default, which Ansible itself would only load later.
        """
        return {**self.defaults, **self.variables}

    def refusal(self, evaluate: Callable[[object], object], new_file: str) -> str:
        """Every wrong setting as one text, "" if all are right.

        `new_file` is where a setting that is missing goes, below the inventory.
        """
        paths = variable_files(self.inventory, self.playbooks, self.host, self.groups)
        files = read_files(paths, self.load)
        vaulted = frozenset(name for names in files.vaulted.values() for name in names)
        known = frozenset(self.specs) | frozenset(self.defaults)
        found = [
            *setting_problems(self.specs, self.variables, self.defaults, vaulted, evaluate),
            *unknown_settings(self.variables, self.roles, known),
            *host_problem(self.variables, evaluate),
        ]
        problems = root_causes(found, self.context)
        if not problems:
            return ""
        text = message(problems, files, self.host, self.inventory / new_file)
        return f"{headline(len(problems), self.inventory)}\n\n{text}"
