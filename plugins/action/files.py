"""Run a module of ours on a server in one round trip, without Ansible's packing of it.

Each module of library/ has this action under its own name, as a link. Files that a task names by
`src` get their content here (see library/files.py).
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

# Ansible loads a plugin as a file, of no package.
sys.path.append(str(Path(__file__).resolve().parents[2] / "control"))
from pergola_control import modules, package


class ActionModule(ActionBase):
    """The module that has the name of the task's action."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The module's result."""
        result = super().run(tmp, task_vars)
        name = self._task.action.rpartition(".")[2]
        given = dict(self._task.args)
        if given.get("files"):
            variables = task_vars or {}
            given["files"] = [one for file in given["files"] for one in self.read(file, variables)]
        order = modules.order(name, given, self._task.check_mode, self._task.diff)
        command = f"{package.PYTHON} -I -c {shlex.quote(modules.BEGIN)}"
        environment = self._compute_environment_string()
        done = self._low_level_execute_command(
            f"{environment} {command}".strip(), in_data=order.encode()
        )
        said = modules.understood(done["stdout"])
        if said is None:
            # Its traceback, or why there is no Python.
            msg = done["stderr"].strip() or done["stdout"].strip() or f"it ended with {done['rc']}"
            whole = {"module_stdout": done["stdout"], "module_stderr": done["stderr"]}
            return {**result, **whole, "failed": True, "msg": msg}
        return {**result, **said}

    def read(
        self, file: Mapping[str, Any], variables: Mapping[str, Any]
    ) -> Iterator[Mapping[str, Any]]:
        """A file with its content; all files of a tree."""
        src = str(file.get("src") or "")
        if not src:
            yield file
            return
        rest = {name: value for name, value in file.items() if name not in ("src", "vars")}
        variables = {**variables, **(file.get("vars") or {})}
        found = Path(self._find_needle("templates" if src.endswith(".j2") else "files", src))
        if found.is_dir():
            for path in sorted(path for path in found.rglob("*") if path.is_file()):
                if path.suffix == ".pyc":  # Python's own, once somebody imported a file of the tree
                    continue
                place = f"{file['path']}/{path.relative_to(found)}".removesuffix(".j2")
                yield {**rest, "path": place, "content": self.content(path, variables)}
        else:
            yield {**rest, "content": self.content(found, variables)}

    def content(self, path: Path, variables: Mapping[str, Any]) -> str:
        """A file as it is; a template rendered as `template` does."""
        text = path.read_text(encoding="utf-8")
        if path.suffix != ".j2":
            return text
        templar = self._templar.copy_with_new_env(
            searchpath=[str(path.parent)], available_variables=variables
        )
        made = templar.template(trust_as_template(text), escape_backslashes=False)
        return "" if made is None else str(made)
