"""The callback `ready_before_forks`: tasks find what templates need, and need not load it."""

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
# A template without a filter, so that it does not load them itself.
LOOKUP = """
from ansible.plugins.loader import filter_loader, test_loader
from ansible.plugins.lookup import LookupBase
class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        loaded = [loader._cached_non_collection_wrappers for loader in (filter_loader, test_loader)]
        return ["flatten" in loaded[0] and "own" in loaded[0] and "match" in loaded[1]]
"""
FILTERS = "class FilterModule:\n    def filters(self):\n        return {'own': str}\n"


def test_a_task_begins_with_all_filters_and_tests(tmp_path):
    role = tmp_path / "roles/one"
    for name, text in {
        "lookup_plugins/loaded.py": LOOKUP,
        "filter_plugins/own.py": FILTERS,
        "tasks/main.yml": "- ansible.builtin.debug: {msg: \"IT IS {{ lookup('loaded') }}\"}\n",
    }.items():
        (role / name).parent.mkdir(parents=True, exist_ok=True)
        (role / name).write_text(text)
    (tmp_path / "play.yml").write_text("- {hosts: all, gather_facts: false, roles: [one]}\n")
    env = {**os.environ, "ANSIBLE_CALLBACK_PLUGINS": f"{PROJECT}/callback_plugins"}
    ansible = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [ansible, "-i", "one,", "-c", "local", "play.yml"],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "IT IS True" in done.stdout, done.stdout + done.stderr
