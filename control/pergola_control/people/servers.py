"""The line of ssh for what is looked at on one server: the journal, the database."""

from __future__ import annotations

import getpass
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pergola_control.people.inventories import Inventory
from pergola_control.people.lines import program
from pergola_control.settings.placeholder import is_placeholder, told

# Variables may be templates, which `ansible-inventory` shows as they stand; `debug` evaluates them,
# and connects to nothing.
VARIABLES = {
    "address": "ansible_host | default(inventory_hostname)",
    "user": "ansible_user | default('')",
    "port": "ansible_port | default('')",
    "key": "ansible_ssh_private_key_file | default(ansible_private_key_file | default(''))",
    "common": "ansible_ssh_common_args | default('')",
    "more": "ansible_ssh_extra_args | default('')",
    "app": "app_name",
    "operators": "base_operators | default([]) | map(attribute='name') | join(' ')",
}
ANSWER = re.compile(r"^(\S+) \| SUCCESS => (\{.*?^\})$", re.MULTILINE | re.DOTALL)
FAILURE = re.compile(r"^(\S+) \| FAILED! => (\{.*?^\})$", re.MULTILINE | re.DOTALL)
AS_JSON = {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}


@dataclass(frozen=True)
class Server:
    """What ssh needs to know of a server, and whose it is."""

    address: str
    user: str
    port: str
    key: str
    common: str
    more: str
    app: str
    operators: str

    def ssh(self, command: str) -> list[str]:
        """The program that runs a command there, with a terminal where there is one here."""
        words = ["ssh", *(["-t"] if sys.stdin.isatty() and sys.stdout.isatty() else [])]
        words += shlex.split(f"{self.common} {self.more}")
        words += ["-i", self.key] if self.key else []
        words += ["-p", self.port] if self.port else []
        return [*words, f"{self.user}@{self.address}" if self.user else self.address, command]

    @property
    def account(self) -> str:
        return self.user or getpass.getuser()

    def journal(self, follow: bool) -> str:
        """The command for the log of the application, its processes and its schedules."""
        how = "--follow" if follow else "--pager-end"
        root = "" if self.account == "root" else "sudo "
        return f'{root}journalctl --unit="{self.app}[.@]*" {how}'

    def psql(self) -> str:
        """The command for a console with an operator's rights, who may read."""
        if self.account in self.operators.split():
            return f"psql {self.app}"
        # Any other account borrows these rights, for it has no role of its own in PostgreSQL.
        become = "runuser" if self.account == "root" else "sudo"
        role = f"PGOPTIONS=-crole={self.app}_read"
        return f"cd / && {become} -u postgres -- env {role} psql {self.app}"


def ansible(
    inventory: Inventory, words: Sequence[str], **more: str
) -> subprocess.CompletedProcess[str]:
    """What Ansible answers for an inventory; it connects to nothing."""
    return subprocess.run(
        [program("ansible"), *words, *inventory.words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **inventory.environment, **more},
    )


def servers(inventory: Inventory, group: str, options: Sequence[str]) -> dict[str, Server]:
    """The servers of a group by their names; ValueError if Ansible cannot say."""
    pairs = ", ".join(f"'{name}': ({value}) | string" for name, value in VARIABLES.items())
    asked = json.dumps({"msg": f"{{{{ {{{pairs}}} | to_json }}}}"})
    words = [group, *options, "-m", "ansible.builtin.debug", "-a", asked]
    done = ansible(inventory, words, **AS_JSON)
    said = {name: json.loads(text)["msg"] for name, text in ANSWER.findall(done.stdout)}
    if not said:
        raise ValueError(reason(done, inventory, group))
    print(done.stderr, end="", file=sys.stderr)  # warnings, in which others may be named
    read = {
        name: json.loads(each) if isinstance(each, str) else each for name, each in said.items()
    }
    found = {name: Server(**values) for name, values in sorted(read.items())}
    if wrong := [
        text for name, there in found.items() for text in unfilled(name, there, inventory)
    ]:
        raise ValueError("\n".join(wrong))
    return found


def reason(done: subprocess.CompletedProcess[str], inventory: Inventory, group: str) -> str:
    """Why Ansible named no server of a group."""
    if failed := FAILURE.findall(done.stdout):
        return "\n".join(
            f"{host}: {json.loads(text)['msg'].split(': ')[-1]}" for host, text in failed
        )
    listed = ansible(inventory, [group, "--list-hosts"]).stdout
    if there := [line.strip() for line in listed.splitlines() if line.startswith("    ")]:
        return f"--limit chooses none of the group {group}; there are {', '.join(there)}"
    return done.stderr.strip() if done.returncode else f"the group {group} has no host"


def unfilled(host: str, server: Server, inventory: Inventory) -> Iterator[str]:
    """What the inventory still has placeholders for."""
    folder = Path(inventory.words[1])
    groups = [
        path.stem for path in (folder if folder.is_dir() else folder.parent).glob("group_vars/*")
    ]
    for name, value in (("ansible_host", server.address), ("app_name", server.app)):
        if is_placeholder(value):
            yield told(name, host, groups, [folder])


def one(found: dict[str, Server]) -> Server:
    """The only server; ValueError if there are several to choose from."""
    if len(found) > 1:
        first, *_ = found
        raise ValueError(f"there are {', '.join(found)}: choose one, as in --limit {first}")
    return next(iter(found.values()))
