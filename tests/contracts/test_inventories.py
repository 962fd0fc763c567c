"""The inventories that users begin with."""

import os
import re
import subprocess
import sys
from pathlib import Path

import ansible
import pytest
import yaml

PROJECT = Path(__file__).parents[2]
TEMPLATES = ["staging", "prod"]


def settings(environment):
    path = PROJECT / "inventory" / environment / "group_vars/servers/settings.yml"
    return path, yaml.safe_load(path.read_text())


def test_no_inventory_uses_the_group_all():
    # A playbook's group_vars/all would win over it, silently.
    assert not list((PROJECT / "inventory").glob("*/group_vars/all*"))
    assert [path.name for path in (PROJECT / "group_vars").iterdir()] == ["all"]


def test_playbooks_see_the_group_variables():
    link = PROJECT / "playbooks/group_vars"
    assert link.is_symlink()
    assert link.resolve() == PROJECT / "group_vars"


@pytest.mark.parametrize("environment", TEMPLATES)
def test_a_first_deploy_needs_at_most_twelve_settings(environment):
    path, values = settings(environment)
    assert len(values) <= 12
    assert list((path.parent).iterdir()) == [path], "all of them in one file"


@pytest.mark.parametrize("environment", TEMPLATES)
def test_each_setting_to_fill_in_is_explained(environment):
    path, values = settings(environment)
    lines = path.read_text().splitlines()
    for name in values:
        at = next(i for i, line in enumerate(lines) if line.startswith(f"{name}:"))
        assert lines[at - 1].startswith("#"), name
    for line in lines:
        if "CHANGE-ME" in line:
            assert "for example" in line, line


@pytest.mark.parametrize("environment", ["demo", *TEMPLATES])
def test_one_server_is_in_both_groups(environment):
    hosts = yaml.safe_load((PROJECT / "inventory" / environment / "hosts.yml").read_text())
    children = hosts["servers"]["children"]
    assert set(children) == {"app", "db"}
    assert set(children["app"]["hosts"]) == set(children["db"]["hosts"])


def test_collections_are_pinned_to_what_the_ansible_package_ships():
    shipped = Path(ansible.__file__).parent.parent / "ansible_collections"
    for collection in yaml.safe_load((PROJECT / "requirements.yml").read_text())["collections"]:
        namespace, name = collection["name"].split(".")
        manifest = (shipped / namespace / name / "MANIFEST.json").read_text()
        assert f'"version": "{collection["version"]}"' in manifest


def test_the_key_of_the_backups_in_an_inventory_is_no_host(tmp_path):
    (tmp_path / "hosts.yml").write_text("all: {hosts: {web1: {}}}\n")
    (tmp_path / "backup.key").write_text("aVeryLongKey+of/Letters2andDigits\n")
    (tmp_path / "own.backup.key").write_text("another1Key\n")
    shown = subprocess.run(
        [Path(sys.executable).with_name("ansible"), "all", "-i", tmp_path, "--list-hosts"],
        env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.split() == ["hosts", "(1):", "web1"]


@pytest.mark.parametrize("environment", TEMPLATES)
def test_the_readme_shows_the_values_that_an_inventory_begins_with(environment):
    _, values = settings(environment)
    shown = re.findall(r"^\| `(\w+)` \| `(.*?)` \|", (PROJECT / "README.md").read_text(), re.M)
    table = dict(shown)
    assert set(table) == set(values)
    preset = {
        name: str(value)
        for name, value in values.items()
        if isinstance(value, str | int) and value not in ("", "CHANGE-ME")
    }
    assert "app_health_path" in preset
    # What differs between environments is an example, as is what has to be filled in.
    assert {name: table[name] for name in preset} == preset
