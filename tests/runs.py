"""What tests share that run Ansible's programs."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(sys.executable).parent


def clean_environment(**more: str) -> dict[str, str]:
    """The environment of a run: nothing of Ansible's or of CI's is taken over from this one."""
    kept = {name: text for name, text in os.environ.items() if "ANSIBLE" not in name}
    kept.pop("CI", None)
    return kept | more
