"""Have Python look for garbage in cycles less often during a run.

Every task is a process that Ansible forks, and a short one. What it was forked with is looked
through again in each, which also copies the memory that they share.
"""

from __future__ import annotations

import gc

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: rare_collection
type: aggregate
author: Pergola
short_description: Have Python look for garbage in cycles less often during a run
description: It prints nothing.
"""

# New objects until Python looks, 700 by its own measure: of a site.yml that changes nothing it
# takes 7 % of the control node's CPU time, with ten hosts 4 %, and some MB for each process.
OBJECTS = 100_000


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Set it before the first task."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "rare_collection"
    CALLBACK_NEEDS_ENABLED = False

    def __init__(self) -> None:
        super().__init__()
        gc.set_threshold(OBJECTS)
