"""What a run prints: a line for each thing that changed, then a summary, an error once and last."""

from __future__ import annotations

import sys
from pathlib import Path

from ansible.plugins.callback.default import CallbackModule as Default
from ansible.utils.display import Display

# Ansible loads a plugin as a file, of no package.
sys.path.append(str(Path(__file__).resolve().parents[1] / "control"))
from pergola_control.output.lines import Lines

DOCUMENTATION = r"""
name: pergola
type: stdout
author: Pergola
short_description: A line for each thing that changed, and a summary
description:
  - Prints nothing for what is skipped or as it should be. With C(-v) it is Ansible's own output.
  - A message of C(debug) is printed as it is; one that begins with C(WARNING) is kept for the end,
    as are the warnings of modules.
  - The line of a changed task is its name, without what stands before a C(|), and what its result
    tells. A program that answers in JSON can say more by C(says), in one line.
  - C(set_stats) with C(per_host) and without C(aggregate) fills the summary. C(pergola_live) has
    C(app), C(url), C(release), C(from) (the release before), C(subject) and C(seconds) (by phase).
    C(pergola_next) has C(says) and C(command), what to type next.
  - A setting that a message names by C(Setting) gets its file and line.
extends_documentation_fragment: [default_callback, result_format_callback]
"""


class CallbackModule(Default if Display().verbosity else Lines):
    """What Ansible loads: with -v its own output."""

    CALLBACK_NAME = "pergola"
