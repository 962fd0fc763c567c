"""Say which file of variables cannot be read, and in which line.

Ansible's own plugin for these files (host_group_vars) passes the reason on and drops the place.
This one runs before it, gives no variables, and reads each file once (the loader keeps it).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from ansible.inventory.host import Host
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.vars import BaseVarsPlugin

# Ansible loads a plugin as a file, of no package.
sys.path.append(str(Path(__file__).resolve().parents[1] / "control"))
from pergola_control.inventory.variables import files, read

DOCUMENTATION = r"""
name: readable
author: Pergola
short_description: Say which file of variables cannot be read
description:
  - Fails with the file, the line, and what to do, for YAML that is none and for a vault without its
    password, before anything is changed.
"""

seen: set[tuple[str, str, str]] = set()


class VarsModule(BaseVarsPlugin):
    """Reads the files of groups and hosts, for their errors only."""

    is_stateless = True

    def get_vars(
        self,
        loader: DataLoader,
        path: str,
        entities: Any,  # noqa: ANN401 - a host or a group, or a list of these
        cache: bool = True,  # noqa: ARG002 - Ansible's signature
    ) -> dict[str, Any]:
        """No variables; AnsibleParserError for the first file that cannot be read."""
        for entity in entities if isinstance(entities, list) else [entities]:
            folder = "host_vars" if isinstance(entity, Host) else "group_vars"
            key = (path, folder, entity.name)
            if key not in seen and not entity.name.startswith(os.sep):
                for file in files(loader, *key):
                    read(loader, file)
                seen.add(key)
        return {}
