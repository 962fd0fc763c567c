"""The next command in a message, as people have to type it where they are."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("typed", ROOT / "plugins/filter/typed.py")
module = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(module)


@pytest.mark.parametrize(
    ("argv", "options"),
    [
        (["-i", "inventory/prod"], " -i inventory/prod"),
        (["-v", "--inventory=../own/prod", "--limit", "web1"], " -i ../own/prod"),
        (["-iinventory/prod", "-e", "to=now"], " -i inventory/prod"),
        (["-i", "a b", "-i", "more/hosts.yml"], " -i 'a b' -i more/hosts.yml"),
        (["-iprod", "-J", "-K"], " -i prod --ask-become-pass --ask-vault-pass"),
        (["--vault-pass-file", "a b"], " --vault-password-file 'a b'"),
        (["-e", "inventory=x"], ""),  # the inventory of an ansible.cfg
    ],
)
def test_the_inventory_and_the_way_to_passwords_are_named_as_they_were_typed(
    monkeypatch, argv, options
):
    monkeypatch.chdir(ROOT)
    said = module.typed("playbooks/status.yml", ["playbooks/deploy.yml", *argv])
    assert said == f"ansible-playbook playbooks/status.yml{options}"


def test_the_playbook_is_named_from_where_people_type(monkeypatch, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setattr(module, "ROOT", own / "pergola")
    monkeypatch.chdir(own)
    assert module.typed("site.yml", []) == "ansible-playbook pergola/site.yml"
    monkeypatch.setattr(module, "ROOT", Path("/opt/pergola"))
    assert module.typed("site.yml", []) == "ansible-playbook /opt/pergola/site.yml"
