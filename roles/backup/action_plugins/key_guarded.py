"""Keep git from taking the file of a key in plain text, such as that of the backups.

An inventory is often a repository of its own, without Pergola's .gitignore: `git add .` would then
commit that key, and a push would publish it.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

DOCUMENTATION = r"""
---
module: key_guarded
author: Pergola
short_description: Keep git from taking the file of a key
description:
  - A file that is not there yet, or that holds the key in plain text, is added to C(info/exclude)
    of the repository that it lies in, unless that ignores it already. No tracked file is changed.
  - A key that the repository has already is warned of. The task fails when the file is to be made
    and git would take it in spite of that, or cannot say.
options:
  path: {description: The file of the key, absolute., type: path, required: true}
  what: {description: How messages call it., type: str, default: the key of all backups}
  remedy: {description: What to do when git may take it., type: str}
"""

BACKUPS = "the key of all backups"
ENCRYPTED = b"$ANSIBLE_VAULT"
GIT_LIMIT = 30  # seconds
REMEDY = (
    "Nothing was changed on any server. Make git ignore the file, set backup_key_file to one "
    'outside of the repository, or set backup_key in the vault: see "The key" in docs/backups.md.'
)


class CannotSayError(Exception):
    """Git does not answer; its own words."""


class Repository:
    """The clone that a file lies in, or would lie in."""

    def __init__(self, path: Path, what: str) -> None:
        self.path, self.what = path, what

    def git(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run git beside the file; CannotSayError when there is no answer."""
        # A hook that runs Ansible exports GIT_DIR and others, which mean another repository.
        env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        argv = ("git", *arguments)
        try:
            done = subprocess.run(
                argv,
                cwd=existing(self.path.parent),
                env={**env, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=GIT_LIMIT,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise CannotSayError(str(error)) from error
        if done.returncode > 1:
            raise CannotSayError(done.stderr.strip())
        return done

    def has(self) -> bool:
        """Whether the file is in the repository, or will be with the next commit."""
        return bool(self.git("--literal-pathspecs", "ls-files", "--", str(self.path)).stdout)

    def ignores(self) -> bool:
        """Whether `git add` passes the file over."""
        return self.git("check-ignore", "--quiet", "--", str(self.path)).returncode == 0

    def exclude(self) -> None:
        """Have the file ignored in this clone, and in none of its tracked files."""
        where = existing(self.path.parent)
        top = self.git("rev-parse", "--show-toplevel").stdout.rstrip("\n")
        file = where / self.git("rev-parse", "--git-path", "info/exclude").stdout.rstrip("\n")
        file.parent.mkdir(exist_ok=True)
        before = file.read_text() if file.exists() else ""
        # What a pattern would take for itself is meant as it stands.
        name = re.sub(r"([\\*?\[\] ])", r"\\\1", self.path.relative_to(top).as_posix())
        between = "" if before.endswith("\n") or not before else "\n"
        what = self.what[0].upper() + self.what[1:]
        file.write_text(f"{before}{between}# {what} (Pergola).\n/{name}\n")


def existing(directory: Path) -> Path:
    """The nearest directory that is there: a key's own may be made with it."""
    while not directory.is_dir():
        directory = directory.parent
    return directory


def in_clone(path: Path) -> bool:
    """Whether a file lies in a clone, without asking git, which may be missing."""
    return any((parent / ".git").exists() for parent in path.parents)


def guard(path: Path, only_look: bool, what: str = BACKUPS) -> tuple[bool, str]:
    """Whether the file had to be excluded, and a warning; CannotSayError if git may take it."""
    path = path.parent.resolve() / path.name
    is_there = path.exists()
    if not in_clone(path) or (is_there and path.read_bytes().startswith(ENCRYPTED)):
        return False, ""
    repository = Repository(path, what)
    try:
        if repository.has():
            return False, in_plain_text(path, what) if is_there else ""
        if repository.ignores():
            return False, ""
        if only_look:
            return True, ""
        repository.exclude()
        if repository.ignores():
            return True, ""
        raise CannotSayError("a .gitignore of the repository says that it is to be taken")
    except (CannotSayError, OSError) as error:
        if is_there:  # nothing is made worse, and the backups go on
            return False, f"git may take {path}, {what}: {error}"
        raise CannotSayError(f"{path} would hold {what}: {error}") from error


def in_plain_text(path: Path, what: str) -> str:
    """The warning of a key that everybody with the repository can read."""
    return (
        f"{path} is in git in plain text: whoever has the repository has {what}. "
        f"Run `ansible-vault encrypt {path}` and commit that; what was pushed stays "
        "readable in the repository's history."
    )


class ActionModule(ActionBase):
    """Look at one file on the control node."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"path", "what", "remedy"})

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The result: changed when git was to take the file; warnings."""
        result = super().run(tmp, task_vars)
        path = Path(os.path.expanduser(self._task.args["path"]))  # noqa: PTH111 - keeps `..`
        try:
            what = str(self._task.args.get("what", BACKUPS))
            changed, warning = guard(path, self._task.check_mode, what)
        except CannotSayError as error:
            remedy = self._task.args.get("remedy", REMEDY)
            return {**result, "failed": True, "msg": f"{error}\n{remedy}"}
        return {**result, "changed": changed, "warnings": [warning] if warning else []}
