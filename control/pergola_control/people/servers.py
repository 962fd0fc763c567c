"""The line of ssh for what is looked at on one server: the journal, the database."""

from __future__ import annotations

import getpass
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from pergola_control.people.inventories import Inventory
from pergola_control.people.lines import line, program

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


def servers(inventory: Inventory, group: str, options: Sequence[str]) -> dict[str, Server]:
    """The servers of a group by their names; ValueError if Ansible cannot say."""
    pairs = ", ".join(f"'{name}': ({value}) | string" for name, value in VARIABLES.items())
    asked = json.dumps({"msg": f"{{{{ {{{pairs}}} | to_json }}}}"})
    argv = [program("ansible"), group, *inventory.words, *options]
    argv += ["-m", "ansible.builtin.debug", "-a", asked]
    environment = {**os.environ, **inventory.environment, **AS_JSON}
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    found = {name: json.loads(text)["msg"] for name, text in ANSWER.findall(done.stdout)}
    if not found:
        said = done.stdout.strip() or f"no host of this inventory is in the group {group}"
        raise ValueError(f"{said}\n  Asked with: {line(argv, inventory.environment)}")
    read = {
        name: json.loads(each) if isinstance(each, str) else each for name, each in found.items()
    }
    return {name: Server(**values) for name, values in sorted(read.items())}


def one(found: dict[str, Server]) -> Server:
    """The only server; ValueError if there are several to choose from."""
    if len(found) > 1:
        first, *_ = found
        raise ValueError(f"there are {', '.join(found)}: choose one, as in --limit {first}")
    return next(iter(found.values()))
