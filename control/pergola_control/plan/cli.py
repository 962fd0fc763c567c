"""Say what a deploy would change on a host, before it does; runs on the control node.

Reads one JSON object on stdin, the order of pergola_control.plan.order. Values of the environment
are never given to it, and of `config` it shows only what is named as harmless.

Prints text. What the user can fix ends as it does in `source`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pergola_control.plan.order import Order
from pergola_control.plan.whole import plan_of
from pergola_control.refusal import refusals_told
from pergola_control.source.settings import Settings, checked


def main(argv: Sequence[str]) -> None:
    """Print the plan, or what keeps it from being made."""
    parser = argparse.ArgumentParser("plan", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--source", required=True, help="this and the others as for `source`")
    parser.add_argument("--subdirectory", default="")
    parser.add_argument("--cache", required=True, type=Path)
    given = vars(parser.parse_args(argv))
    with refusals_told():
        order: Order = json.load(sys.stdin.buffer)
        # The plan asks for no version and makes no release: these are any.
        settings = Settings(
            order["app"], version="HEAD", build="", config_digest="00000000", **given
        )
        print(plan_of(checked(settings), order))
