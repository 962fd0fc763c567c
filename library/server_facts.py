"""Ansible module: the facts of a server that the roles use, under the names that `setup` has.

`setup` asks for some hundred, which takes most of a second.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: server_facts
short_description: The facts of a server that the roles use
description:
  - It changes nothing, and also runs in check mode.
  - C(mounts) has the file systems that the system and PostgreSQL's data may be on, and no others.
options:
  fact_path:
    description: A folder with JSON files, C(*.fact), which are told in C(ansible_local).
    type: path
    required: true
"""

RETURN = r"""
ansible_facts: {description: The facts., returned: always, type: dict}
"""

OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
NAMES = {"debian": "Debian", "ubuntu": "Ubuntu"}
NO_NUMBER = "n/a"  # of Debian testing
PLACES = ("/", "/var", "/var/lib", "/var/lib/postgresql")


def release(root: Path = Path("/")) -> dict[str, str]:
    """What the system says of itself."""
    path = next((root / name for name in OS_RELEASE if (root / name).exists()), Path(os.devnull))
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            found[name] = " ".join(shlex.split(value))
    return found


def distribution(root: Path = Path("/")) -> dict[str, str]:
    """Its name, version and codename."""
    said = release(root)
    version = said.get("VERSION_ID") or NO_NUMBER
    number = root / "etc/debian_version"
    if said.get("ID") == "debian" and number.exists():
        exact = number.read_text(encoding="utf-8").strip()
        version = exact if exact[:1].isdigit() else version  # "forky/sid" before a release
    return {
        "distribution": NAMES.get(said.get("ID", ""), said.get("NAME", "Linux")),
        "distribution_version": version,
        "distribution_major_version": version.split(".")[0],
        "distribution_release": said.get("VERSION_CODENAME", NO_NUMBER),
    }


def memory_mb(text: str) -> int:
    """The whole memory, by /proc/meminfo."""
    lines = (line.split() for line in text.splitlines())
    return next(int(words[1]) // 1024 for words in lines if words[0] == "MemTotal:")


def mounts(text: str) -> list[dict[str, object]]:
    """The file systems of PLACES that are on a device of their own, by /proc/mounts."""
    found = []
    for device, mount, *_ in (line.split() for line in text.splitlines()):
        if mount in PLACES and (device.startswith("/") or ":/" in device):
            seen = os.statvfs(mount)
            sizes = {"size_total": seen.f_blocks, "size_available": seen.f_bavail}
            in_bytes = {name: blocks * seen.f_frsize for name, blocks in sizes.items()}
            found.append({"mount": mount, "device": device, **in_bytes})
    return found


def local(folder: Path) -> dict[str, object]:
    """What files of facts hold, by their names."""
    found = {}
    for path in sorted(folder.glob("*.fact")):
        try:
            found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            found[path.stem] = f"{path}: {error}"
    return found


def main() -> None:
    module = AnsibleModule(
        {"fact_path": {"type": "path", "required": True}}, supports_check_mode=True
    )
    facts = {
        **distribution(),
        "memtotal_mb": memory_mb(Path("/proc/meminfo").read_text(encoding="utf-8")),
        "processor_vcpus": os.cpu_count(),
        "python_version": platform.python_version(),
        "mounts": mounts(Path("/proc/mounts").read_text(encoding="utf-8")),
        "local": local(Path(module.params["fact_path"])),
    }
    named = {f"ansible_{name}": value for name, value in facts.items()}
    module.exit_json(changed=False, ansible_facts=named)


if __name__ == "__main__":
    main()
