"""An inventory outside the clone, as `make inventory` makes it, and what it is good for there."""

import configparser
import shutil
import stat
import subprocess

import pytest
import yaml
from desk import Desk, git, program
from pergola_control.here import ROOT
from pergola_control.inventory import made
from pergola_control.refusal import RefusalError
from runs import PROGRAMS, clean_environment

CHECK = "ansible-playbook ../clone/site.yml -i hosts.yml --check"


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    found = Desk(tmp_path_factory.mktemp("desk"))
    shutil.copy2(ROOT / "Makefile", found.clone)
    # What it installs is here already.
    program(found.clone / "scripts/setup.sh", "true")
    for name in ("hosts.yml", "group_vars/servers/settings.yml"):
        shutil.copy2(ROOT / "inventory/prod" / name, found.clone / "inventory/prod" / name)
    return found


@pytest.fixture(scope="module")
def own(desk):
    """The directory, as a repository of its own."""
    before = desk.files()
    code, said = desk.type("make --silent inventory DIR=../our-servers")
    assert code == 0, said
    assert f"cd ../our-servers && {CHECK}" in said
    assert desk.files() == before, "a file of the clone was changed"
    folder = desk.top / "our-servers"
    git(folder, "init", "--quiet")
    return folder


def test_the_run_there_names_what_to_fill_in(desk, own):
    code, said = desk.type(CHECK, directory="../our-servers")
    assert code == 2, said
    settings = (own / made.SETTINGS).read_text().splitlines()
    line = next(n for n, text in enumerate(settings, 1) if text.startswith("app_name:"))
    assert f"set in:  group_vars/servers/settings.yml:{line}\n" in said
    assert "set in:  hosts.yml:" in said
    assert "REFUSED, nothing was changed" in said
    assert "settings of our-servers must be fixed" in said


def test_a_file_that_lacks_what_a_newer_clone_needs_is_refused_at_once(desk, own):
    whole = (own / "ansible.cfg").read_text()
    lines = [line for line in whole.splitlines() if not line.startswith("action_plugins")]
    (own / "ansible.cfg").write_text("\n".join(lines))
    _, said = desk.type(CHECK, directory="../our-servers")
    (own / "ansible.cfg").write_text(whole)
    assert "Pergola's playbooks need its ansible.cfg" in said


def test_the_password_opens_the_vault_and_git_takes_neither_it_nor_the_key(desk, own):
    code, said = desk.type(f"ansible-vault view {made.VAULT}", directory="../our-servers")
    assert code == 0, said
    assert len(yaml.safe_load(said)["vault_secret_key"]) > 40
    assert (own / made.VAULT).read_text().startswith("$ANSIBLE_VAULT")
    assert stat.S_IMODE((own / made.PASSWORD).stat().st_mode) == 0o600
    (own / made.SECRETS / "backup.key").write_text("aVeryLongKey\n")
    status = ["git", "status", "--porcelain", "--untracked-files=all"]
    shown = subprocess.run(status, cwd=own, capture_output=True, text=True, check=True).stdout
    assert ".secrets" not in shown
    assert made.VAULT in shown


def test_neither_is_a_host_whatever_the_configuration_says(own, tmp_path):
    (own / made.SECRETS / "backup.key").write_text("aVeryLongKey\n")
    (tmp_path / "ansible.cfg").write_text("[defaults]\n")
    shown = subprocess.run(
        [PROGRAMS / "ansible", "all", "-i", own / "hosts.yml", "-i", own, "--list-hosts"],
        env=clean_environment(ANSIBLE_CONFIG=str(tmp_path / "ansible.cfg")),
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.split() == ["hosts", "(1):", "web1"]


@pytest.mark.parametrize("setting", ["backup_key_file", "certificates_file"])
def test_the_keys_go_there(own, setting):
    keys = yaml.safe_load((own / "group_vars/servers/keys.yml").read_text())
    place = keys[setting].replace("{{ inventory_dir }}", str(own))
    assert (own / made.PASSWORD).parent == type(own)(place).parent


def read(path):
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(path)
    return {section: dict(parser[section]) for section in parser.sections()}


def test_the_configuration_is_the_clones_with_its_paths_and_the_password(desk, own):
    theirs, ours = read(own / "ansible.cfg"), read(desk.clone / "ansible.cfg")
    assert theirs["defaults"].pop("vault_password_file") == made.PASSWORD
    assert {name: set(each) for name, each in theirs.items()} == {
        name: set(each) for name, each in ours.items()
    }
    for section, each in ours.items():
        for name, value in each.items():
            there = theirs[section][name]
            if not value.startswith("/") and (desk.clone / value).exists():
                assert (own / there).resolve() == desk.clone / value, name
                assert not there.startswith("/"), "of clones that lie beside each other"
            else:
                assert there == value, name


def test_each_place_of_the_files_is_told_as_it_is_there(own):
    text = (own / made.SETTINGS).read_text()
    assert f"ansible-vault edit {made.VAULT}" in text
    assert "ansible-vault create" not in text


def test_a_directory_with_something_in_it_is_refused(desk, tmp_path):
    folder = desk.top / "taken"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine\n")
    code, said = desk.type("make --silent inventory DIR=../taken")
    assert code != 0
    assert "../taken has something in it, and nothing was changed: notes.txt" in said
    assert "make inventory DIR=../taken-2" in said
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    with pytest.raises(RefusalError, match="is not a directory"):
        made.make(folder / "notes.txt")


def test_a_new_repository_is_empty(tmp_path):
    git(tmp_path, "init", "--quiet")
    made.make(tmp_path)
    assert (tmp_path / "hosts.yml").exists()


def test_what_to_type_next_works_in_the_shell_that_it_is_printed_in(desk):
    venv = desk.clone / ".venv"
    _, said = desk.type("make --silent inventory DIR=../next", VIRTUAL_ENV="")
    assert f"Next:   . .venv/bin/activate && cd ../next && {CHECK}" in said
    _, said = desk.type("make --silent inventory DIR=../again", VIRTUAL_ENV=str(venv))
    assert f"Next:   cd ../again && {CHECK}" in said


def test_make_setup_says_what_to_type_next(desk):
    code, said = desk.type("make --silent setup")
    assert code == 0
    following = said.partition("Next:")[2]
    assert ". .venv/bin/activate && make inventory DIR=../our-servers" in following
    assert "inventory/prod" in following


def test_without_a_directory_it_is_said_how(desk):
    code, said = desk.type("make --silent inventory")
    assert code != 0
    assert "Next: make inventory DIR=../our-servers" in said
