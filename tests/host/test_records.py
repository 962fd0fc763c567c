"""What is written down of an application: by role release, by its program, by earlier ones."""

import json
from pathlib import Path

import pytest
import yaml
from pergola.documents import NewerError
from pergola.records import LINE, MANIFEST, PAGE, SETTINGS, Line, Manifest, Page, Process, Settings

FORMS = {"settings": SETTINGS, "manifest": MANIFEST, "line": LINE, "page": PAGE}

PROJECT = Path(__file__).parents[2]
ROLE = yaml.safe_load((PROJECT / "roles/release/vars/main.yml").read_text())
# What the program is told of a release, and keeps where the application alone can read it.
SECRET = {"environment", "secrets", "unset", "credentials"}
OF_COMMIT = {"id", "commit", "describe", "date", "installer"}
OF_COMMIT |= {"lock", "directory", "version_variables", "exported"}
# As commit a8c6ce6 wrote them.
FIRST_LINE = {
    "time": "2026-11-23T04:00:00+00:00", "action": "prepare", "release": "r0", "outcome": "failed",
    "who": "ada@example.org", "seconds": {}, "reason": "no room",
}  # fmt: skip


def test_a_manifest_and_settings_hold_what_the_role_says():
    """A name that only one of them knows would be lost on its way."""
    manifest = {*ROLE["__release_config"], *OF_COMMIT} - SECRET
    assert set(Manifest.__dataclass_fields__) == manifest | {
        "environment_names",
        "own_server",
        "interpreter",
    }
    assert set(Settings.__dataclass_fields__) == set(ROLE["__release_settings"])


@pytest.mark.parametrize("name", FORMS)
def test_what_a_newer_pergola_wrote_is_refused(name):
    with pytest.raises(NewerError):
        FORMS[name].parse('{"format": 2}', name)


def test_a_line_of_the_first_form_is_one_of_today():
    line = LINE.parse(json.dumps(FIRST_LINE), "a line")
    assert (line.to, line.action, line.outcome) == ("r0", "deploy", "refused")
    assert (line.phase, line.reason, line.schema) == ("prepare", "no room", None)


def test_a_line_says_what_there_is_to_say_in_the_names_that_it_always_had():
    line = Line("t", "deploy", "live", "ada", "r1", "c", "r0", (None, "1"), seconds={"gate": 1.5})
    assert json.loads(LINE.text(line)) == {
        "format": 1, "time": "t", "action": "deploy", "outcome": "live", "who": "ada", "to": "r1",
        "commit": "c", "from": "r0", "schema": [None, "1"], "seconds": {"gate": 1.5},
        "backward_compatible": False,
    }  # fmt: skip


def test_a_number_of_seconds_may_be_a_text_as_yaml_has_it():
    text = '{"processes": [{"name": "worker", "command": "w", "drain_seconds": "9"}]}'
    assert MANIFEST.parse(text, "x").processes == [Process("worker", "w", False, "9")]


def test_a_page_lasts_until_a_moment_or_until_it_is_turned_off():
    assert PAGE.parse('{"who": "ada", "until": null}', "x") == Page("ada")
    assert PAGE.parse('{"who": "ada", "until": 5}', "x") == Page("ada", 5)
