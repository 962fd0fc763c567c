"""Have the program on a server do something: one round trip, without a module of Ansible's."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

# Ansible loads a plugin as a file, of no package.
sys.path.append(str(Path(__file__).resolve().parents[2] / "control"))
from pergola_control import package

DOCUMENTATION = r"""
---
module: host_program
author: Pergola
short_description: Have the program on a server do something
description:
  - It is C(pergola NOUN VERB) of this checkout. Where that is not on the server (see
    C(package_sent)), it runs from a directory that is gone afterwards.
  - What it says last may be a JSON object, its answer; C(changed) in it is the task's.
  - Another exit code than 0 fails the task with what it said on standard error.
options:
  argv:
    description: The noun, the verb and so on.
    type: list
    elements: str
    required: true
  check_argv:
    description: The same in check mode, which must change nothing. Without it that skips the task.
    type: list
    elements: str
  document:
    description: What it reads on standard input, as JSON.
    type: raw
"""

RETURN = r"""
answer:
  description: The JSON object that it said last; empty where it said none.
  returned: always
  type: dict
said:
  description: The lines before that, which are for people.
  returned: always
  type: list
  elements: str
rc: {description: Its exit code., returned: always, type: int}
stdout: {description: All that it said., returned: always, type: str}
stderr: {description: What it said on standard error., returned: always, type: str}
"""


class ActionModule(ActionBase):
    """Call it."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"argv", "check_argv", "document"})

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The result: what it said, and what that means for the task."""
        result = super().run(tmp, task_vars)
        words = self._task.args.get("check_argv" if self._task.check_mode else "argv")
        if not words:
            return {**result, "changed": False, "skipped": True}
        document = json.dumps(self._task.args.get("document", {})) + "\n"
        done = self.call([str(word) for word in words], document.encode())
        said, answer = understood(done["stdout_lines"])
        result |= {name: done[name] for name in ("rc", "stdout", "stderr")}
        result |= {"said": said, "answer": answer, "changed": bool(answer.get("changed", False))}
        if done["rc"]:
            result |= {"failed": True, "msg": done["stderr"].strip()}
        return result

    def call(self, words: Sequence[str], document: bytes) -> Mapping[str, Any]:
        """Run it, where it is on the server; otherwise send it for this once."""
        files = package.files()
        done = self.executed(package.call(package.digest(files), words), document)
        if done["rc"] == package.NOT_THERE:
            archive = package.archive({**files, "document": document})
            done = self.executed(package.call_once(words), archive)
        return done

    def executed(self, script: str, content: bytes) -> Mapping[str, Any]:
        done: dict[str, Any] = self._low_level_execute_command(
            f"/bin/sh -c {shlex.quote(script)}", in_data=content
        )
        return done


def understood(lines: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """What a program said for people, and its answer."""
    try:
        answer = json.loads(lines[-1]) if lines else {}
    except ValueError:
        answer = None
    return (list(lines[:-1]), answer) if isinstance(answer, dict) else (list(lines), {})
