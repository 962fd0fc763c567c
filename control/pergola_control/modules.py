"""Modules of ours, run on a server without Ansible's packing of them: what is sent instead."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pergola_control.here import ROOT

LIBRARY = ROOT / "library"
BASIC = Path(__file__).with_name("basic.py")
BEGIN = (
    "import json, sys; sent = json.load(sys.stdin); basic = type(sys)('basic'); "
    "sys.modules['basic'] = basic; exec(sent['basic'], vars(basic)); "
    "basic.ORDER = basic.Order(**sent['order']); basic.start(sent['name'], sent['module'])"
)


def order(name: str, arguments: Mapping[str, object], check: bool, diff: bool) -> str:
    """What BEGIN reads."""
    texts = {"basic": BASIC.read_text(), "module": (LIBRARY / f"{name}.py").read_text()}
    called = {"arguments": arguments, "check": check, "diff": diff}
    return json.dumps({**texts, "name": name, "order": called}) + "\n"


def understood(said: str) -> dict[str, object] | None:
    """The result that a module has printed; None: it did not come so far."""
    try:
        result = json.loads(said.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return None
    return result if isinstance(result, dict) else None
