"""docs/teams.md and its workflow, typed as they stand there: Pergola is a submodule."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/teams.md").read_text()
WORKFLOW = yaml.safe_load((ROOT / "docs/teams.d/deploy.yml").read_text())


def bash(script, cwd, **environment):
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=cwd,
        env={**os.environ, "GIT_CONFIG_COUNT": "1", **FILES, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout


# Git takes a submodule from a directory only when it is asked to.
FILES = {"GIT_CONFIG_KEY_0": "protocol.file.allow", "GIT_CONFIG_VALUE_0": "always"}


@pytest.fixture(scope="module")
def commands():
    (block,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    return block.replace("<address of Pergola's repository>", str(ROOT)).splitlines()


@pytest.fixture(scope="module")
def own(tmp_path_factory, commands):
    """The repository, after the commands that make it."""
    folder = tmp_path_factory.mktemp("own")
    bash("git init --quiet", folder)
    code, said = bash("\n".join(commands[:2]), folder)
    assert code == 0, said
    # `make -C pergola setup` of the next line would make these.
    (folder / "pergola/.venv").symlink_to(Path(sys.prefix))
    return folder


def test_the_pages_commands_lead_to_the_settings_that_are_to_be_filled_in(own, commands):
    assert commands[2] == "make -C pergola setup"
    code, said = bash("\n".join(commands[3:]), own)
    assert code != 0
    assert "nothing was changed" in said
    assert "inventory/prod/group_vars/servers/settings.yml:" in said
    assert "was not found" not in said


def test_without_the_configuration_it_is_said_what_to_type(own, commands):
    left_out = [line for line in commands[3:] if not line.startswith("export ANSIBLE_CONFIG")]
    code, said = bash("\n".join(left_out), own, ANSIBLE_CONFIG="")
    assert code != 0
    assert "export ANSIBLE_CONFIG=" in said


@pytest.mark.parametrize("version", ["", "feature/search"])
def test_the_workflows_steps_reach_the_deploy(own, tmp_path, version):
    steps = [step for step in WORKFLOW["jobs"]["deploy"]["steps"] if "run" in step]
    home = {"HOME": str(tmp_path), "DEPLOY_KEY": "the key", "KNOWN_HOSTS": "web1 ssh-ed25519 AAAA"}
    assert [step["run"] for step in steps[:1]] == ["make -C pergola setup"]
    code, said = bash(steps[1]["run"], own, **home)
    assert code == 0, said
    key = tmp_path / ".ssh/id_ed25519"
    assert (key.read_text(), oct(key.stat().st_mode & 0o777)) == ("the key\n", "0o600")
    environment = {**WORKFLOW["jobs"]["deploy"]["env"], "ANSIBLE_FORCE_COLOR": "0"}
    code, said = bash(steps[2]["run"], own, **home, **environment, VERSION=version)
    assert code == 2, said
    assert "app_name still holds the placeholder" in said


def test_the_workflow_names_each_secret_of_the_page():
    text = (ROOT / "docs/teams.d/deploy.yml").read_text()
    assert set(re.findall(r"secrets\.(\w+)", text)) == set(re.findall(r"^\| `(\w+)`", PAGE, re.M))
