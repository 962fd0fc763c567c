"""Ansible module: which Pythons a host has, and whether it reaches what would be fetched."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: python_seen
short_description: Say which Pythons a host has, and whether it reaches some addresses
description: It changes nothing. Action python_chosen calls it.
options:
  place: {description: "Where Pergola keeps those that uv brought.", type: path, required: true}
  urls: {description: "Of which one must answer.", type: list, elements: str, default: []}
"""

RETURN = r"""
machine: {description: "The processor, as uname has it.", returned: always, type: str}
own: {description: "The system's own, path and version of each.", returned: always, type: list}
brought: {description: "The names of those that uv brought.", returned: always, type: list}
why: {description: "Why no address answered; empty: one did.", returned: always, type: str}
"""

LIMIT = 10  # seconds
USUAL = "/usr/bin/python3"
# What an application needs of the standard library; minimal packages have not all of it.
TRY = "import ssl, sqlite3, zipfile, sys; print('{}.{}.{}'.format(*sys.version_info))"
# What the server's own settings say to programs that fetch something.
ENVIRONMENT = Path("/etc/environment")
PROXY = re.compile(r"(https?|no)_proxy|SSL_CERT_FILE", re.IGNORECASE)


def own(folder: Path = Path("/usr/bin")) -> Iterator[tuple[str, str]]:
    """The interpreters of the system's packages with their versions, the usual one first."""
    usual = folder / "python3"
    others = sorted(path for path in folder.glob("python3.*") if path.name[8:].isdigit())
    seen = set()
    for path in (usual, *others):
        real = path.resolve()
        if real in seen or not real.exists() or real.stat().st_uid != folder.stat().st_uid:
            continue
        seen.add(real)
        done = subprocess.run([real, "-I", "-c", TRY], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            yield str(path), done.stdout.strip()


def brought(place: Path) -> list[str]:
    """The Pythons that uv has brought."""
    return sorted(path.name for path in place.glob("cpython-*") if not path.is_symlink())


def take_environment(file: Path = ENVIRONMENT) -> None:
    """Have the server's own proxy in force, where sudo has left it out."""
    lines = file.read_text().splitlines() if file.exists() else []
    for line in lines:
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and PROXY.fullmatch(name):
            os.environ.setdefault(name, "".join(shlex.split(value)))


def unanswered(urls: Sequence[str]) -> str:
    """Why none of some addresses answered; empty: one did, or there are none."""
    reasons = []
    for url in urls:
        try:
            # Nothing of the file is read: some mirrors do not know HEAD.
            with urllib.request.urlopen(url, timeout=LIMIT):  # noqa: S310 - the inventory's own
                return ""
        except urllib.error.HTTPError as error:
            reasons.append(f"{url} answers {error.code}")
        except (OSError, ValueError) as error:
            reason = str(getattr(error, "reason", error))
            # A bare server does not know the inventory's own authorities yet; uv will.
            if "CERTIFICATE_VERIFY_FAILED" in reason:
                return ""
            reasons.append(f"{url}: {reason}")
    return "; ".join(reasons)


def main() -> None:
    """Ansible's entry point."""
    module = AnsibleModule(
        {
            "place": {"type": "path", "required": True},
            "urls": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    take_environment()
    module.exit_json(
        changed=False,
        machine=platform.machine(),
        own=list(own()),
        brought=brought(Path(module.params["place"])),
        why=unanswered(module.params["urls"]),
    )


if __name__ == "__main__":
    main()
