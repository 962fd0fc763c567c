"""The check of a host's settings as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from pergola_control.settings.checks import (
    Checks,
    Evaluate,
    brought,
    calendars_set,
    checks_of,
    missing,
    rule_problems,
    said,
)
from pergola_control.settings.files import Files, Load, read_files, variable_files
from pergola_control.settings.message import headline, message
from pergola_control.settings.problems import (
    Problem,
    host_problem,
    root_causes,
    setting_problems,
    unknown_settings,
)
from pergola_control.settings.specs import Spec, options_of
from pergola_control.settings.templates import mentioned

# Where a setting that is missing goes, below the inventory.
NEW_FILE = "group_vars/servers/settings.yml"
FACTS = "ansible_facts"
# How an application's settings begin, and those of what is done with it; others are a server's. Its
# own certificate is signed by the authorities of the server's inventory, which it names, and its
# hosts have the same addresses there.
OF_APPLICATION = (
    *("app_", "release_", "visit_", "remove_", "restore_", "preflight_"),
    *("certificates_", "cluster_"),
)


@dataclass(frozen=True)
class Check:
    """The settings of one host, and the roles that take them.

    `asked` has the names that playbooks are asked by on the command line, `given` those that this
    run's sets.
    """

    roles_path: Path
    inventory: Path
    playbooks: Path
    host: str
    groups: Sequence[str]
    variables: Mapping[str, object]
    load: Load
    asked: frozenset[str] = frozenset()
    given: frozenset[str] = frozenset()

    @cached_property
    def roles(self) -> Sequence[Path]:
        """All roles that have settings."""
        return [
            path.parents[1] for path in sorted(self.roles_path.glob("*/meta/argument_specs.yml"))
        ]

    @cached_property
    def specs(self) -> Mapping[str, Spec]:
        """The options of all roles."""
        return {name: spec for role in self.roles for name, spec in options_of(role).items()}

    @cached_property
    def defaults(self) -> Mapping[str, object]:
        """The defaults and constants of the roles, as templates that may be evaluated."""
        paths = [role / kind / "main.yml" for kind in ("defaults", "vars") for role in self.roles]
        found: dict[str, object] = {}
        for path in filter(Path.is_file, paths):
            found.update(self.load(path))
        return found

    @cached_property
    def checks(self) -> Checks:
        """What the roles check beyond types."""
        return checks_of(self.roles, self.load)

    @cached_property
    def context(self) -> Mapping[str, object]:
        """What templates are evaluated with.

        A setting may use another role's default, which Ansible itself loads later, or not at all
        where the playbook has not that role.
        """
        return {**self.checks.variables, **self.defaults, **self.variables}

    def refusal(self, evaluate: Evaluate) -> str:
        """Every wrong setting as one text, "" if all are right."""
        known = frozenset(self.specs) | frozenset(self.defaults) | self.asked
        names = [role.name for role in self.roles]
        found = [
            *self.wrong(self.specs, evaluate),
            *unknown_settings(self.variables, names, known, self.checks.renamed),
            *host_problem(self.variables, evaluate),
        ]
        wrong = frozenset(problem.name for problem in found)
        found += missing(self.checks.required, self, wrong, evaluate)
        wrong = frozenset(problem.name for problem in found)
        found += rule_problems(self.checks.rules, self, wrong, evaluate)
        return self.told(root_causes(found, self.context), self.files)

    @cached_property
    def files(self) -> Files:
        """Where variables are set."""
        paths = variable_files(self.inventory, self.playbooks, self.host, self.groups)
        return replace(read_files(paths, self.load), given=self.given)

    def wrong(self, specs: Mapping[str, Spec], evaluate: Evaluate) -> Iterator[Problem]:
        """What is wrong with the values of some settings."""
        vaulted = frozenset(name for names in self.files.vaulted.values() for name in names)
        return setting_problems(specs, self.variables, self.defaults, vaulted, evaluate)

    def told(self, problems: Sequence[Problem], files: Files) -> str:
        """Problems as one text, "" if there are none."""
        if not problems:
            return ""
        text = message(problems, files, self.host, self.inventory / NEW_FILE)
        return f"{headline(len(problems), self.inventory)}\n\n{text}"

    def of_server(self, owner: str) -> str:
        """The settings of this inventory that are the server's, as one text, "" if there are none.

        `owner`: the inventory that provisions the server.
        """
        paths = variable_files(self.inventory, self.playbooks, self.host, self.groups)
        inside = [path for path in paths if path.is_relative_to(self.inventory.resolve())]
        files = read_files(inside, self.load)
        says = (
            f"is a setting of the server, which the inventory of {owner} provisions: set it there"
        )
        problems = [
            Problem(name, says, spec)
            for name, spec in self.specs.items()
            if not name.startswith(OF_APPLICATION)
            and name in self.variables
            and files.place(name, self.host)
        ]
        return self.told(problems, files)

    def calendars(self, evaluate: Evaluate) -> dict[str, str]:
        """When something runs by settings that are right, by what has it."""
        return calendars_set(self.checks, self, evaluate)

    def unfit(self, evaluate: Evaluate) -> str:
        """All that a server cannot do for its settings as one text, "" if it can do all.

        Settings that are made from its facts could not be looked at before; they cannot be made
        from those of a system that nothing is known of.
        """
        if texts := self.says(self.checks.system_rules, evaluate):
            return texts
        variables = self.variables
        made = {
            name: spec
            for name, spec in self.specs.items()
            if FACTS in mentioned(variables.get(name), variables)
        }
        if wrong := self.told(list(self.wrong(made, evaluate)), self.files):
            return wrong
        return self.says(self.checks.server_rules, evaluate)

    def says(self, rules: Sequence[Mapping[str, object]], evaluate: Evaluate) -> str:
        """What rules say of the server as one text, "" if it breaks none."""
        texts = [text for rule in rules for text in said(rule, evaluate)]
        if not texts:
            return ""
        lines = [f"{self.host} cannot be provisioned; nothing was changed."]
        return "\n".join(lines + [f"- {text}" for text in texts])

    def brings(self, evaluate: Evaluate) -> dict[str, object]:
        """What the roles bring to the server."""
        return brought(self.checks, evaluate)
