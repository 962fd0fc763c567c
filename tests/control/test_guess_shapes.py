"""The guess for each application of the scenario `apps` is what its settings say."""

import subprocess
import sys
from pathlib import Path

import pytest
import repositories
from pergola_control.guess.repository import opened
from pergola_control.guess.whole import guess

TESTS = Path(__file__).parents[2] / "molecule/apps/tests"
sys.path.append(str(TESTS))
from serving import SERVERS, VALUES  # noqa: E402 - found through the line above
from shapes import SOURCES  # noqa: E402

SHAPES = {shape.name: shape for shape in (*SOURCES, *SERVERS, *VALUES)}
# What no file says: how many connections, which of two equals, what somebody likes to add.
NOT_SAID = {
    "workspace-member": {"app_package"},
    "extras-groups": {"app_extras"},
    "chosen-list": {"app_requirements"},
    "no-page-at-its-root": {"app_health_status"},
}
NEVER_SAID = {"app_database_connections"}
# What is not among the settings there, as the scenario gives it to all of them, or has no need.
COMMON = {"app_name", "app_health_path", "app_workers", "app_schema_query"}


@pytest.mark.parametrize("name", SHAPES)
def test_the_guess_is_what_the_settings_say(name, tmp_path):
    shape = SHAPES[name]
    folder = tmp_path / "app"
    for path, content in shape.files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, newline="")
    for command in shape.lock:  # as far as a lock is where the tool puts it
        words = command.split()
        at = folder / words[words.index("--directory") + 1] if "--directory" in words else folder
        made = words[-1] if "-o" in words else "uv.lock" if words[0] == "uv" else "Pipfile.lock"
        (at / made).write_text("")
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    repositories.git(folder, "add", "-A")

    with opened(str(folder)) as repository:
        found = guess(repository)

    expected = {key: value for key, value in shape.settings.items() if key.startswith("app_")}
    passed = NOT_SAID.get(name, set()) | NEVER_SAID
    for key in expected.keys() - passed:
        guessed = found.settings.get(key)
        if key in ("app_environment", "app_secrets"):  # their values are somebody's own
            assert set(guessed) == set(expected[key]), key
        else:
            assert guessed == expected[key], key
    assert found.settings.keys() - expected.keys() <= COMMON, found.settings
