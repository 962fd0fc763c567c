"""Values that would only be found wrong on a server, or on the way to it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.inventory.host import Host
from ansible.playbook.play import Play

from pergola_control.command.known import settings_of_roles
from pergola_control.here import ROOT
from pergola_control.settings.placeholder import is_placeholder, told

# What reads a moment on the servers.
sys.path.append(str(ROOT / "host"))
from pergola.errors import PergolaError
from pergola.people import moment_written


def wrong_moment(variables: Mapping[str, object]) -> Iterator[str]:
    """The moment of a restore, if no server could read it; which one it is, the server says."""
    moment = str(variables.get("to", variables.get("restore_to", "")))
    if not moment or "{{" in moment:
        return
    try:
        moment_written(moment, time.time())
    except PergolaError as error:
        yield str(error).replace("\n", "\n  ")


def checks_no_settings(plays: Sequence[Play]) -> bool:
    """Whether a playbook goes to its hosts without the check of all settings."""
    return any("preflight_brings" in role._role_params for play in plays for role in play.roles)


def unfilled(plays: Sequence[Play], sources: Sequence[str]) -> Iterator[str]:
    """The placeholders that the hosts of a playbook still have."""
    inventories = [Path(source) for source in sources if "," not in source]
    for play in plays:
        manager = play.get_variable_manager()
        for host in manager._inventory.get_hosts(play.hosts):
            try:
                variables = manager.get_vars(play=play, host=host, include_hostvars=False)
            except AnsibleError:  # a vault without its password, which the run says better
                return
            for name in placeholders(variables):
                yield told(name, host.name, groups_of(host), inventories)


def placeholders(variables: Mapping[str, object]) -> list[str]:
    """The settings and addresses that still are what was to be replaced."""
    held = [name for name, value in variables.items() if is_placeholder(value)]
    return sorted({"ansible_host", *settings_of_roles()} & {*held}) if held else []


def groups_of(host: Host) -> list[str]:
    """The groups whose variables a host has."""
    return [group.name for group in host.get_groups()]
