"""Refuse names of `--limit` that no host and no group has.

Ansible leaves them out with a warning, or ends with "leaves us with no hosts to target" before a
callback is there to say more. See enough_ansible for when this runs.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator

from ansible import context
from ansible.errors import AnsibleError
from ansible.inventory.group import Group
from ansible.plugins.vars import BaseVarsPlugin

DOCUMENTATION = r"""
name: limit_meant
author: Pergola
short_description: Refuse names of --limit that no host and no group has
description: It sets no variables.
options:
  stage:
    description: When it runs; as soon as the inventory has been read.
    choices: [all, task, inventory]
    default: inventory
    type: str
    ini: [{section: limit_meant, key: stage}]
"""

# Hosts and groups that Ansible has in every inventory.
ALWAYS = {"all", "ungrouped", "localhost", "127.0.0.1", "::1"}


def wrong_limit(limit: str, there: Iterable[str]) -> Iterator[str]:
    """Names of `--limit` that neither a host nor a group has; patterns are Ansible's affair."""
    there = set(there)
    for name in re.split(r"[,:]", limit):
        plain = name.strip().lstrip("!&")
        if re.fullmatch(r"[\w.-]+", plain) and plain not in there:
            close = difflib.get_close_matches(plain, sorted(there), n=1, cutoff=0.6)
            choices = ", ".join(sorted(there - ALWAYS))
            hint = f"did you mean {close[0]}?" if close else f"there are {choices}"
            yield f"--limit {limit}: no host and no group is called {plain}; {hint}"


class VarsModule(BaseVarsPlugin):  # type: ignore[misc]
    """Look at the names once, with the group that holds all others."""

    REQUIRES_ENABLED = False

    def get_vars(self, loader, path, entities, cache=True):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201, ARG002
        """No variables; AnsibleError for a name that is none."""
        limit = context.CLIARGS.get("subset")
        for entity in entities if isinstance(entities, list) else [entities]:
            if limit and isinstance(entity, Group) and entity.name == "all":
                names = {host.name for host in entity.get_hosts()} | ALWAYS
                names |= {group.name for group in entity.get_descendants()}
                if wrong := list(wrong_limit(limit, names)):
                    raise AnsibleError("Nothing was changed: " + "; ".join(wrong))
        return {}
