"""Ansible module: write several files at once, all of them checked before the first is replaced.

A `template` task costs two round trips for each file; this one costs one for all. Templates are
rendered on the control node, by the action of the same name.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import shlex
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

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
    default: []
    suboptions:
      path: {description: Where it goes., type: path, required: true}
      content: {description: What it holds., type: str}
      src:
        description:
          - Instead of C(content) a file of the role, from C(files) as it is, or from C(templates)
            when its name ends in C(.j2). Of a directory in C(files) each file comes to its place
            below C(path); those that end in C(.j2) are rendered and lose that ending.
        type: str
      link:
        description: Instead of C(content), what it is a link to; nothing else of it is looked at.
        type: str
      vars: {description: Further variables for the template., type: dict}
      owner: {description: Its owner., type: str, default: root}
      group: {description: Its group., type: str, default: root}
      mode: {description: Its mode\, quoted and octal., type: str, default: "0644"}
      secret: {description: Whether C(--diff) leaves its content out., type: bool, default: false}
      validate: {description: "A command that must succeed on it; C(%s) is its path.", type: str}
  together:
    description:
      - The files of a folder are loaded as a set. C(folder) is copied with the new files in it, its
        path being replaced in all of them, and C(validate) must succeed; C(%s) is the copy.
      - C(hints) is what to say beside the command's words, by a word that is among them.
    type: dict
  kept:
    description: A folder that keeps what was replaced, until the next time that something is.
    type: path
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
    "content": {"type": "str"},
    "src": {"type": "str"},  # the action has read it
    "link": {"type": "str"},
    "vars": {"type": "dict"},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "mode": {"type": "str", "default": "0644"},
    "secret": {"type": "bool", "default": False},
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
    secret: bool
    link: str | None = None

    def before(self) -> bytes | None:
        """The bytes that are there now, of a wanted link what it leads to; None: no file."""
        if self.link and self.path.is_symlink():
            return os.fsencode(self.path.readlink())
        return self.path.read_bytes() if self.path.is_file() else None

    def is_right(self) -> bool:
        """Content, owner, group and mode are as wanted, and it is no link to somewhere else."""
        if self.link:
            return self.path.is_symlink() and str(self.path.readlink()) == self.link
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
        if self.link:
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            link = self.path.with_name(f".{self.path.name}.{os.urandom(4).hex()}")
            link.symlink_to(self.link)
            return link
        owner, group = pwd.getpwnam(self.owner).pw_uid, grp.getgrnam(self.group).gr_gid
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        with os.fdopen(descriptor, "wb") as beside:
            beside.write(self.content)
            os.fchown(descriptor, owner, group)
            os.fchmod(descriptor, self.mode)
            os.fsync(descriptor)
        return Path(name)


def invocation(module: AnsibleModule) -> dict[str, object]:
    """What `-vvv` shows of the call: all but the contents, among which are keys and tokens."""
    shown = [
        {name: value for name, value in one.items() if name != "content"}
        for one in module.params["files"]
    ]
    return {"module_args": {"files": shown}}


def fail(module: AnsibleModule, message: str) -> NoReturn:
    module.fail_json(msg=message, invocation=invocation(module))


def check_together(module: AnsibleModule, beside: list[tuple[File, Path]]) -> None:
    """Check the folder as it would be: what is right alone can be wrong beside the others."""
    wanted = module.params["together"]
    folder = Path(wanted["folder"])
    if not any(file.path.is_relative_to(folder) for file, _ in beside):
        return
    with tempfile.TemporaryDirectory(prefix=".pergola-") as name:
        copy = Path(name) / folder.name
        if folder.is_dir():
            shutil.copytree(folder, copy, ignore_dangling_symlinks=True)
        copy.mkdir(exist_ok=True)
        sources = {copy / path.relative_to(folder): path for path in folder.rglob("*")}
        for file, path in beside:
            if file.path.is_relative_to(folder):
                place = copy / file.path.relative_to(folder)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(path.read_bytes())
                sources[place] = path
        for path in copy.rglob("*"):
            if path.is_file():
                path.write_bytes(
                    path.read_bytes().replace(f"{folder}/".encode(), f"{copy}/".encode())
                )
            if path in sources:
                own_alike(path, sources[path])
        command = [word.replace("%s", str(copy)) for word in shlex.split(wanted["validate"])]
        # The program may run as another account. Nobody but root reached the copies before they had
        # their owners and modes.
        Path(name).chmod(0o711)
        code, out, err = module.run_command(command)
    if code:
        text = f"{out}{err}".strip().replace(str(copy), str(folder))
        hints = [hint for word, hint in (wanted.get("hints") or {}).items() if word in text]
        told = "\n".join([text, *hints])
        fail(module, f"The files of {folder} do not go together; nothing was replaced.\n{told}")


def own_alike(copy: Path, source: Path) -> None:
    """Give a copy the owner and mode of its source: what a program cannot read it must refuse."""
    there = source.stat()
    os.chown(copy, there.st_uid, there.st_gid)
    copy.chmod(there.st_mode & 0o7777)


def keep(folder: Path, files: list[File]) -> None:
    """Keep what is about to be replaced; a file that is not there yet is noted as that."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    index = []
    for number, file in enumerate(files):
        there = file.path.is_file()
        if there:
            shutil.copy2(file.path, folder / str(number))
            status = file.path.stat()
            os.chown(folder / str(number), status.st_uid, status.st_gid)
        index.append({"path": str(file.path), "there": there})
    (folder / "index.json").write_text(json.dumps(index))


def replace_all(module: AnsibleModule, files: list[File]) -> None:
    """Write and check all files, then put them in place; on failure leave none behind."""
    beside: list[tuple[File, Path]] = []
    try:
        for file in files:
            try:
                beside.append((file, file.write_beside()))
            except (OSError, KeyError) as error:
                fail(module, f"{file.path} could not be written: {error}")
        for file, path in beside:
            if file.validate:
                command = [word.replace("%s", str(path)) for word in shlex.split(file.validate)]
                code, out, err = module.run_command(command)
                if code:
                    text = f"{out}{err}".strip().replace(str(path), str(file.path))
                    fail(
                        module,
                        f"{file.path} was refused by `{file.validate}`; "
                        f"nothing was replaced.\n{text}",
                    )
        if module.params["together"]:
            check_together(module, beside)
        if beside and module.params["kept"]:
            keep(Path(module.params["kept"]), files)
        for file, path in beside:
            path.replace(file.path)
    finally:
        for _, path in beside:
            path.unlink(missing_ok=True)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "default": [], "options": OPTIONS},
            "together": {"type": "dict"},
            "kept": {"type": "path"},
        },
        supports_check_mode=True,
    )
    for one in module.params["files"]:
        one["content"] = one["link"] or one["content"]
    if nothing := [one["path"] for one in module.params["files"] if one["content"] is None]:
        fail(module, f"{', '.join(nothing)}: `content`, `src` or `link` says what it is")
    files = [
        File(
            Path(one["path"]),
            one["content"].encode(),
            one["owner"],
            one["group"],
            int(one["mode"], 8),
            one["validate"],
            one["secret"],
            one["link"],
        )
        for one in module.params["files"]
    ]
    wrong = [file for file in files if not file.is_right()]
    diff = [
        {
            "before_header": str(file.path),
            "after_header": str(file.path),
            "before": "" if file.secret else (file.before() or b"").decode(errors="replace"),
            "after": "(not shown)\n" if file.secret else file.content.decode(errors="replace"),
        }
        for file in wrong
        if module._diff
    ]
    os.umask(0o022)
    if not module.check_mode:
        replace_all(module, wrong)
    module.exit_json(
        changed=bool(wrong),
        written=[str(file.path) for file in wrong],
        python="{}.{}".format(*sys.version_info),
        diff=diff,
        invocation=invocation(module),
    )


if __name__ == "__main__":
    main()
