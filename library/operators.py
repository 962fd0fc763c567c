"""Ansible module: who operates a host, as all of its inventories say together.

Each inventory leaves its list on the host. Whoever is in any of them is let in; who is in none any
more is put out at once: sudo, keys, groups, the account itself if this module had it made, and the
sessions that are open. The accounts of those who are let in are made by tasks, from `everybody`.
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: operators
short_description: Put out who is in no inventory's list any more, and give sudo to who may have it
options:
  inventory: {description: Whose list this is., type: str, required: true}
  login: {description: The account that Ansible logs in with., type: str, default: ""}
  forget:
    description: The inventory has no list any more. The account that Ansible logs in with stays.
    type: bool
    default: false
  operators:
    description: The list of this inventory.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: The account., type: str, required: true}
      keys: {description: Its public SSH keys., type: list, elements: str, required: true}
      sudo: {description: May it become root?, type: bool, default: true}
"""

RETURN = r"""
everybody: {description: The operators of all inventories., returned: always, type: list}
put_out: {description: What was taken from whom\, in words., returned: always, type: list}
uncertain:
  description: Who was let in by an earlier version, for an inventory that has left no list yet.
  returned: always
  type: list
"""

LISTS = Path("/etc/pergola/operators.d")
# The accounts that were made here, the groups that others had before, and who was put out.
ACCOUNTS = Path("/etc/pergola/operators.json")
SUDOERS = Path("/etc/sudoers.d/90-pergola-operators")
HEADER = "# Managed by Ansible (role base).\n"
SUDO_LINE = re.compile(r"^(\S+) ALL=\(ALL\) NOPASSWD: ALL$", re.MULTILINE)
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
GROUPS = ("sudo", "systemd-journal")
EXPIRED = "1"  # days since 1970
NO_SHELL = "/usr/sbin/nologin"
SECONDS_TO_END = 10
OPTIONS = {
    "name": {"type": "str", "required": True},
    "keys": {"type": "list", "elements": "str", "required": True, "no_log": False},
    "sudo": {"type": "bool", "default": True},
}


def exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def lists(inventory: str, wanted: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The list of each inventory, this one's as it is wanted now."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(LISTS.glob("*.json"))}
    return {**found, inventory: wanted}


def added_up(found: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Everybody, with the keys and rights of all lists."""
    everybody: dict[str, dict[str, Any]] = {}
    for one in (one for operators in found.values() for one in operators):
        there = everybody.setdefault(one["name"], {"name": one["name"], "keys": [], "sudo": False})
        there["keys"] += [key for key in one["keys"] if key not in there["keys"]]
        there["sudo"] = there["sudo"] or one["sudo"]
    return list(everybody.values())


def applications() -> set[str]:
    """The applications that inventories have put on this host."""
    found = {path.parent.parent.name for path in Path("/srv").glob("*/bin/release")}
    return found | {path.stem for path in Path("/etc/pergola/applications").glob("*.fact")}


def run_accounts(login: str) -> set[str]:
    """The account that Ansible logged in with, as it says and as sudo does."""
    return {login, os.environ.get("SUDO_USER", "root")}


class Host:
    """Changes to a host's accounts; none in check mode."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.changed = False

    def write(self, path: Path, text: str, mode: int) -> None:
        """Write a file that never exists half, unless it is right."""
        if path.exists() and path.read_text() == text:
            return
        self.changed = True
        if self.module.check_mode:
            return
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        # sudo reads no file with a dot in its name.
        fresh = path.with_name(f"{path.name}.new")
        fresh.touch(mode=0o600)
        fresh.write_text(text)
        fresh.chmod(mode)
        if path == SUDOERS:
            self.run("visudo", "-cqf", str(fresh))
        fresh.replace(path)

    def remove(self, path: Path) -> None:
        if path.exists():
            self.changed = True
            if not self.module.check_mode:
                path.unlink()

    def run(self, *command: str) -> None:
        self.module.run_command(list(command), check_rc=True)

    def try_to(self, *command: str) -> None:
        """Run a program that may be missing, or have nothing to do."""
        if shutil.which(command[0]):
            self.module.run_command(list(command))

    def put_out(self, name: str, keys: list[str], had: list[str] | None) -> str:
        """Take from an account what it was given; in words what that was.

        `had`: the groups that it had before; None for an account that was made here.
        """
        self.changed = True
        if not exists(name):
            return f"{name} is out: there is no such account any more"
        if self.module.check_mode:
            return f"{name} is to be put out"
        account = pwd.getpwnam(name)
        removed = remove_keys(account, keys if had is not None else None)
        if had is not None:
            for group in (g for g in GROUPS if name in members(g) and g not in had):
                self.run("gpasswd", "--delete", name, group)
            return (
                f"{name} is out: the keys, groups and sudo that it was given are gone; the account "
                "was here before, and stays"
            )
        self.run("usermod", "--lock", "--expiredate", EXPIRED, "--shell", NO_SHELL, "-G", "", name)
        self.try_to("loginctl", "disable-linger", name)
        self.try_to("crontab", "-r", "-u", name)
        self.try_to("loginctl", "terminate-user", name)
        ended = end_processes(account.pw_uid)
        said = "its key is gone" if removed else "it had no key"
        return (
            f"{name} is out: the account is locked and without groups and sudo, {said}, "
            f"{ended or 'no'} of its processes had to be ended"
        )

    def take_sudo(self, name: str) -> None:
        """Take the group; the file for sudo has not its name any more."""
        self.changed = True
        if name in members("sudo") and not self.module.check_mode:
            self.run("gpasswd", "--delete", name, "sudo")

    def let_in(self, name: str) -> None:
        """Undo what put_out did to an account; the tasks after this one do the rest."""
        self.changed = True
        if exists(name) and not self.module.check_mode:
            self.run("usermod", "--expiredate", "", "--shell", "/bin/bash", name)


def is_locked_out(name: str) -> bool:
    """Whether an account has expired as put_out has it expire, also in a run that was cut off."""
    lines = (line.split(":") for line in Path("/etc/shadow").read_text().splitlines())
    return any(fields[0] == name and fields[7] == EXPIRED for fields in lines)


def members(group: str) -> list[str]:
    try:
        return grp.getgrnam(group).gr_mem
    except KeyError:
        return []


def remove_keys(account: pwd.struct_passwd, keys: list[str] | None) -> bool:
    """Remove an account's keys, or those named; whether there were some.

    The directory is the account's, and could be a link to somebody else's by now.
    """
    with contextlib.ExitStack() as opened:
        try:
            home = os.open(account.pw_dir, os.O_RDONLY | os.O_DIRECTORY)
            opened.callback(os.close, home)
            ssh = os.open(".ssh", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=home)
            opened.callback(os.close, ssh)
        except OSError:
            return False
        if os.fstat(ssh).st_uid != account.pw_uid:
            return False
        found = [name for name in ("authorized_keys", "authorized_keys2") if there(name, ssh)]
        for name in found:
            rest = kept_lines(name, ssh, keys) if keys is not None else ""
            os.unlink(name, dir_fd=ssh)
            if rest:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
                fresh = os.open(name, flags, 0o600, dir_fd=ssh)
                os.write(fresh, rest.encode())
                os.fchown(fresh, account.pw_uid, account.pw_gid)
                os.close(fresh)
    return bool(found)


def there(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def kept_lines(name: str, directory: int, keys: list[str]) -> str:
    """The lines of a file of keys without those named; "" for what is not a plain file."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError:
        return ""
    with os.fdopen(file, errors="replace") as text:
        gone = {key.split()[1] for key in keys if len(key.split()) > 1}
        return "".join(line for line in text if not gone & set(line.split()))


def end_processes(uid: int) -> int:
    """End all processes of an account; how many there were."""
    until, count = time.monotonic() + SECONDS_TO_END, 0
    while time.monotonic() < until:
        found = [int(path.name) for path in Path("/proc").glob("[0-9]*") if owner(path) == uid]
        if not found:
            break
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
                count += 1
        time.sleep(0.1)
    return count


def owner(process: Path) -> int | None:
    """The real user of a process that is alive."""
    try:
        text = (process / "status").read_text()
    except OSError:
        return None
    if re.search(r"^State:\s+Z", text, re.MULTILINE):
        return None
    found = re.search(r"^Uid:\s+(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else None


def bring(module: AnsibleModule) -> dict[str, Any]:
    """Put out, give sudo, and remember."""
    inventory, wanted = module.params["inventory"], module.params["operators"]
    for one in wanted:
        if not NAME.fullmatch(one["name"]):
            module.fail_json(msg=f"base_operators: {one['name']!r} is not the name of an account")
    before = added_up(lists(inventory, json_list(LISTS / f"{inventory}.json")))
    found = lists(inventory, wanted)
    if module.params["forget"]:
        del found[inventory]
    everybody = added_up(found)
    names = {one["name"] for one in everybody}
    accounts = json.loads(ACCOUNTS.read_text()) if ACCOUNTS.exists() else {}
    made, out = set(accounts.get("made", [])), set(accounts.get("out", []))
    had = accounts.get("had", {})
    # A version before this one left nothing but the file for sudo.
    earlier = set(SUDO_LINE.findall(SUDOERS.read_text())) if SUDOERS.exists() else set()
    earlier -= {one["name"] for one in before}
    if not ACCOUNTS.exists():
        made |= earlier
    # They may be those of another inventory, whose next run says.
    waits = {app for app in applications() if app not in found}
    uncertain = sorted(earlier - names) if waits else []
    leaving = sorted({one["name"] for one in before} | earlier - set(uncertain) - out)
    # A run before this one may have been cut off in the midst of it.
    leaving = sorted({*leaving, *accounts.get("leaving", [])} - names - out)
    own = run_accounts(module.params["login"]) & set(leaving)
    if own and not module.params["forget"]:
        module.fail_json(
            msg=f"This run logs in as {own.pop()}, whom base_operators would put out. Nothing "
            "was changed. Let another account run it (ansible_user), or leave that one in the list."
        )
    leaving = [name for name in leaving if name not in own]
    host = Host(module)
    for name in names - made - set(had):
        if exists(name):
            had[name] = [group for group in GROUPS if name in members(group)]
        else:
            made.add(name)
    state = {"made": sorted(made), "had": had, "out": sorted(out - names)}
    if leaving:
        host.write(ACCOUNTS, json.dumps({**state, "leaving": leaving}) + "\n", 0o600)
    with_sudo = [one["name"] for one in everybody if one["sudo"]] + uncertain + sorted(own)
    if with_sudo or SUDOERS.exists():
        lines = [f"{name} ALL=(ALL) NOPASSWD: ALL\n" for name in sorted(with_sudo)]
        host.write(SUDOERS, HEADER + "".join(lines), 0o440)
    keys = {one["name"]: one["keys"] for one in before}
    said = [host.put_out(name, keys.get(name, []), had.get(name)) for name in leaving]
    for name in sorted(name for name in names & made if is_locked_out(name)):
        host.let_in(name)
    had_sudo = {one["name"] for one in before if one["sudo"]}
    for name in sorted(had_sudo & names - set(with_sudo)):
        host.take_sudo(name)
        said.append(f"{name} may not use sudo any more")
    if wanted or (LISTS / f"{inventory}.json").exists() or made or leaving:
        if inventory in found:
            host.write(LISTS / f"{inventory}.json", json.dumps(wanted) + "\n", 0o600)
        else:
            host.remove(LISTS / f"{inventory}.json")
        state["out"] = sorted((out | set(leaving)) - names)
        host.write(ACCOUNTS, json.dumps(state) + "\n", 0o600)
    return {
        "changed": host.changed,
        "everybody": everybody,
        "put_out": said,
        "uncertain": uncertain,
        "waits": sorted(waits) if uncertain else [],
    }


def json_list(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text()) if path.exists() else []


def main() -> None:
    options = {"type": "list", "elements": "dict", "required": True, "options": OPTIONS}
    module = AnsibleModule(
        argument_spec={
            "inventory": {"type": "str", "required": True},
            "login": {"type": "str", "default": ""},
            "operators": options,
            "forget": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    os.umask(0o022)
    module.exit_json(**bring(module))


if __name__ == "__main__":
    main()
