"""Modules of ours, run on a server without Ansible's packing of them: what is sent instead.

A module of a role may import a package of its name from that role's module_utils, by the name that
Ansible gives it (`ansible.module_utils.NAME`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pergola_control.here import ROOT

LIBRARY = ROOT / "library"
ROLES = ROOT / "roles"
BASIC = Path(__file__).with_name("basic.py")
BEGIN = (
    "import json, sys; sent = json.load(sys.stdin); basic = type(sys)('basic'); "
    "sys.modules['basic'] = basic; exec(sent['basic'], vars(basic)); "
    "basic.ORDER = basic.Order(**sent['order']); "
    "basic.start(sent['name'], sent['module'], sent['package'])"
)


def order(name: str, arguments: Mapping[str, object], check: bool, diff: bool) -> str:
    """What BEGIN reads."""
    texts = {"basic": BASIC.read_text(), "module": path_of(name).read_text()}
    called = {"arguments": arguments, "check": check, "diff": diff}
    whole = {**texts, "name": name, "package": package(name), "order": called}
    return json.dumps(whole) + "\n"


def path_of(name: str) -> Path:
    """Where a module is: for all roles, or in one."""
    return next(ROLES.glob(f"*/library/{name}.py"), LIBRARY / f"{name}.py")


def package(name: str) -> dict[str, str]:
    """The texts of what a module has beside it, by their names."""
    return {path.stem: path.read_text() for path in ROLES.glob(f"*/module_utils/{name}/*.py")}


def understood(said: str) -> dict[str, object] | None:
    """The result that a module has printed; None: it did not come so far."""
    try:
        result = json.loads(said.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return None
    return result if isinstance(result, dict) else None
