"""The callback `done_once`: what tasks find done, and which checks of settings are left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
# A template without a filter, so that it does not load them itself.
LOOKUP = """
import gc
from ansible.plugins.loader import filter_loader, test_loader
from ansible.plugins.lookup import LookupBase
class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        loaded = [loader._cached_non_collection_wrappers for loader in (filter_loader, test_loader)]
        has_all = "flatten" in loaded[0] and "own" in loaded[0] and "match" in loaded[1]
        return [f"{has_all} {gc.get_threshold()[0]}"]
"""
FILTERS = "class FilterModule:\n    def filters(self):\n        return {'own': str}\n"
TASKS = [{"block": [{"ansible.builtin.debug": {"msg": "IT IS {{ lookup('found') }}"}}]}]
SPEC = {"argument_specs": {"main": {"options": {"one_number": {"type": "int"}}}}}


@pytest.fixture
def run(tmp_path):
    """Run a play with roles `preflight` and `one`, which has a setting that is a number."""
    for name, text in {
        "one/lookup_plugins/found.py": LOOKUP,
        "one/filter_plugins/own.py": FILTERS,
        "one/meta/argument_specs.yml": yaml.safe_dump(SPEC),
        "one/tasks/main.yml": yaml.safe_dump(TASKS),
        "preflight/tasks/main.yml": "[]\n",
    }.items():
        place = tmp_path / "roles" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    env = {**os.environ, "ANSIBLE_CALLBACK_PLUGINS": f"{PROJECT}/callback_plugins"}
    ansible = Path(sys.executable).with_name("ansible-playbook")

    def play(*roles, **variables):
        text = [{"hosts": "all", "gather_facts": False, "roles": list(roles), "vars": variables}]
        (tmp_path / "play.yml").write_text(yaml.safe_dump(text))
        done = subprocess.run(
            [ansible, "-i", "one,", "-c", "local", "play.yml"],
            cwd=tmp_path, env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    return play


def test_a_task_begins_with_all_filters_and_tests_and_looks_for_garbage_rarely(run):
    assert "IT IS True 100000" in run("one")


def test_what_preflight_checks_is_not_checked_again(run):
    assert "IT IS" in run("preflight", "one", one_number="no number")


@pytest.mark.parametrize(
    "roles",
    [
        ["one"],
        [{"role": "preflight", "preflight_brings": False}, "one"],
        [{"role": "preflight", "preflight_brings": "{{ 1 == 2 }}"}, "one"],
        ["preflight", {"role": "one", "vars": {"one_number": "no number"}}],
        ["preflight", {"role": "one", "one_number": "no number"}],
    ],
)
def test_what_preflight_does_not_check_ansible_does(run, roles):
    said = run(*roles, one_number="no number")
    assert "IT IS" not in said
    assert "one_number" in said
