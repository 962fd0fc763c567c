"""What our modules use of Ansible's AnsibleModule, on a server, without Ansible's own.

That is a third of a second of CPU time for each task: half a megabyte is packed, sent and unpacked,
and most of it imported from a zip. This file is sent before a module's text, which imports it under
the name of Ansible's. How it is called is in ORDER.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, NoReturn, cast

# So that a server whose Python is too old gets as far as being told that.
if TYPE_CHECKING:
    from importlib.abc import Loader

    Rule = Mapping[str, object]
    Spec = Mapping[str, object]  # a Rule for each name
TRUE, FALSE = ("yes", "on", "1", "true", "y", "t"), ("no", "off", "0", "false", "n", "f")
NOT_FOUND = 127


@dataclass
class Order:
    """How a module is called."""

    check: bool = True
    diff: bool = False
    arguments: Mapping[str, object] = field(default_factory=dict)


ORDER = Order()


class AnsibleModule:
    """One call of a module."""

    def __init__(self, argument_spec: Spec, supports_check_mode: bool = False) -> None:
        """`supports_check_mode` is for the reader, and for Ansible's own: all of ours do."""
        del supports_check_mode
        self.check_mode, self._diff = ORDER.check, ORDER.diff
        try:
            self.params = parameters(argument_spec, ORDER.arguments)
        except ValueError as error:
            self.fail_json(msg=str(error))

    def exit_json(self, **result: object) -> NoReturn:
        print(json.dumps({"changed": False, **result}))
        sys.exit(0)

    def fail_json(self, msg: str, **result: object) -> NoReturn:
        print(json.dumps({"failed": True, "msg": msg, **result}))
        sys.exit(1)

    def run_command(
        self, args: str | Sequence[str], check_rc: bool = False
    ) -> tuple[int, str, str]:
        """Run a program without a shell: its exit code, and what it said."""
        command = shlex.split(args) if isinstance(args, str) else [str(word) for word in args]
        try:
            done = subprocess.run(
                command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False
            )
            code, out, err = done.returncode, done.stdout, done.stderr
        except OSError as error:
            code, out, err = NOT_FOUND, b"", str(error).encode()
        texts = out.decode(errors="surrogateescape"), err.decode(errors="surrogateescape")
        if check_rc and code:
            self.fail_json(msg=texts[1].strip() or f"{command[0]} ended with {code}")
        return code, *texts


def parameters(spec: Spec, given: Mapping[str, object], at: str = "") -> dict[str, object]:
    """The parameters that a module gets; ValueError for what it does not take."""
    if unknown := sorted(given.keys() - spec.keys()):
        raise ValueError(f"Unsupported parameters{at}: {', '.join(unknown)}")
    found = {}
    for name in spec:
        rule = mapping(spec[name], "")
        value = given.get(name)
        value = rule.get("default") if value is None else value
        if value is None and rule.get("required"):
            raise ValueError(f"missing required arguments{at}: {name}")
        found[name] = None if value is None else typed(value, rule, f" in {name}")
    return found


def typed(value: object, rule: Rule, at: str) -> object:
    """A value as its rule says."""
    kind, options = rule.get("type", "str"), rule.get("options")
    if kind == "list":
        values = value if isinstance(value, list) else str(value).split(",")
        inner = {"type": rule.get("elements", "raw"), "options": options}
        return [typed(one, inner, at) for one in values]
    if kind == "dict":
        given = mapping(value, at)
        return parameters(mapping(options, at), given, at) if options else given
    if kind == "bool":
        if str(value).lower() not in TRUE + FALSE:
            raise ValueError(f"yes or no is wanted{at}")
        return str(value).lower() in TRUE
    if kind == "int":
        return int(str(value))
    return value if kind == "raw" else str(value)


def mapping(value: object, at: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError(f"a dictionary is wanted{at}")
    return value


class Package:
    """Finds the modules of one package among texts that came with the order."""

    def __init__(self, name: str, texts: Mapping[str, str]) -> None:
        self.name, self.texts = name, texts

    def find_spec(self, name: str, *rest: object) -> ModuleSpec | None:
        del rest
        package, _, module = name.rpartition(".")
        if name == self.name:
            return ModuleSpec(name, cast("Loader", Text("")), is_package=True)
        if package != self.name or module not in self.texts:
            return None
        return ModuleSpec(name, cast("Loader", Text(self.texts[module])))


class Text:
    """Makes a module of its text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def create_module(self, _: ModuleSpec) -> None:
        """As Python does it."""

    def exec_module(self, module: types.ModuleType) -> None:
        exec(compile(self.text, module.__name__, "exec"), vars(module))  # noqa: S102


def start(name: str, text: str, package: Mapping[str, str]) -> None:
    """Run a module's text as a program that finds this file under the name of Ansible's.

    `package` has the texts of what it has beside it.
    """
    utils = "ansible.module_utils"
    for part in ("ansible", utils, f"{utils}.basic"):
        sys.modules[part] = types.ModuleType(part)
        sys.modules[part].__path__ = []  # a package
    vars(sys.modules[f"{utils}.basic"])["AnsibleModule"] = AnsibleModule
    sys.meta_path.insert(0, Package(f"{utils}.{name}", package))
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(compile(text, name, "exec"), vars(main))  # noqa: S102 - that is what it is for
