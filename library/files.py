"""Ansible module: write several files at once, all of them checked before the first is replaced.

A `template` task costs two round trips for each file; this one costs one for all. The content is
rendered on the control node by `lookup('ansible.builtin.template', …)`.
"""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: files
short_description: Write several files at once, all checked before the first is replaced
description:
  - Each file that differs is written beside its place and checked there. When all have passed, each
    replaces the file before it, atomically. A failing check leaves all files as they were.
  - Missing directories above a file are made, C(0755), owned by root.
options:
  files:
    description: The files.
    type: list
    elements: dict
    required: true
    suboptions:
      path: {description: Where it goes., type: path, required: true}
      content: {description: What it holds., type: str, required: true}
      owner: {description: Its owner., type: str, default: root}
      group: {description: Its group., type: str, default: root}
      mode: {description: Its mode\, quoted and octal., type: str, default: "0644"}
      validate: {description: "A command that must succeed on it; C(%s) is its path.", type: str}
"""

RETURN = r"""
written:
  description: The paths of the files whose content, owner or mode changed, or would change.
  returned: always
  type: list
python:
  description: The version of the host's own Python, as C(3.13); told here, it costs no round trip.
  returned: always
  type: str
"""

OPTIONS = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str", "required": True},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "mode": {"type": "str", "default": "0644"},
    "validate": {"type": "str"},
}


@dataclass
class File:
    """One wanted file and what stands in its place."""

    path: Path
    content: bytes
    owner: str
    group: str
    mode: int
    validate: str | None

    def before(self) -> bytes | None:
        """The bytes that are there now; None: no file."""
        return self.path.read_bytes() if self.path.is_file() else None

    def is_right(self) -> bool:
        """Content, owner, group and mode are as wanted, and it is no link to somewhere else."""
        if self.path.is_symlink() or self.before() != self.content:
            return False
        there = self.path.stat()
        try:
            ids = (pwd.getpwnam(self.owner).pw_uid, grp.getgrnam(self.group).gr_gid)
        except KeyError:  # in check mode, an account that an earlier task would have made
            return False
        return (there.st_uid, there.st_gid, there.st_mode & 0o7777) == (*ids, self.mode)

    def write_beside(self) -> Path:
        """Write it under a name of its own in the same directory, with its final rights."""
        owner, group = pwd.getpwnam(self.owner).pw_uid, grp.getgrnam(self.group).gr_gid
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        with os.fdopen(descriptor, "wb") as beside:
            beside.write(self.content)
            os.fchown(descriptor, owner, group)
            os.fchmod(descriptor, self.mode)
            os.fsync(descriptor)
        return Path(name)


def replace_all(module: AnsibleModule, files: list[File]) -> None:
    """Write and check all files, then put them in place; on failure leave none behind."""
    beside: list[tuple[File, Path]] = []
    try:
        for file in files:
            try:
                beside.append((file, file.write_beside()))
            except (OSError, KeyError) as error:
                module.fail_json(msg=f"{file.path} could not be written: {error}")
        for file, path in beside:
            if file.validate:
                command = [word.replace("%s", str(path)) for word in shlex.split(file.validate)]
                code, out, err = module.run_command(command)
                if code:
                    text = f"{out}{err}".strip().replace(str(path), str(file.path))
                    module.fail_json(
                        msg=f"{file.path} was refused by `{file.validate}`; nothing was replaced.\n"
                        + text
                    )
        for file, path in beside:
            path.replace(file.path)
    finally:
        for _, path in beside:
            path.unlink(missing_ok=True)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "required": True, "options": OPTIONS}
        },
        supports_check_mode=True,
    )
    files = [
        File(
            Path(one["path"]),
            one["content"].encode(),
            one["owner"],
            one["group"],
            int(one["mode"], 8),
            one["validate"],
        )
        for one in module.params["files"]
    ]
    wrong = [file for file in files if not file.is_right()]
    diff = [
        {
            "before_header": str(file.path),
            "after_header": str(file.path),
            "before": (file.before() or b"").decode(errors="replace"),
            "after": file.content.decode(errors="replace"),
        }
        for file in wrong
    ]
    os.umask(0o022)
    if not module.check_mode:
        replace_all(module, wrong)
    module.exit_json(
        changed=bool(wrong),
        written=[str(file.path) for file in wrong],
        python="{}.{}".format(*sys.version_info),
        diff=diff,
    )


if __name__ == "__main__":
    main()
