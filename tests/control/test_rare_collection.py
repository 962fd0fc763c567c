"""The callback `rare_collection`: in force in the processes that tasks are."""

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
LOOKUP = """
import gc
from ansible.plugins.lookup import LookupBase
class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        return [gc.get_threshold()[0]]
"""


def test_a_task_looks_for_garbage_rarely(tmp_path):
    (tmp_path / "lookup_plugins").mkdir()
    (tmp_path / "lookup_plugins/threshold.py").write_text(LOOKUP)
    (tmp_path / "play.yml").write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.debug: {msg: \"IT IS {{ lookup('threshold') }}\"}\n"
    )
    env = {**os.environ, "ANSIBLE_CALLBACK_PLUGINS": f"{PROJECT}/callback_plugins"}
    ansible = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [ansible, "-i", "one,", "-c", "local", "play.yml"],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "IT IS 100000" in done.stdout, done.stdout + done.stderr
