"""A command does what was typed, or is refused with the way on before its first task."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.parsing.splitter import parse_kv
from pergola_control.command.hosts import misspelt_groups, wrong_sources
from pergola_control.command.known import settings_of_roles
from pergola_control.command.questions import QUESTIONS
from pergola_control.command.variables import cut, unread

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent
WRONG_OPTIONS = 5


def loaded(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


enough = loaded(ROOT / "vars_plugins/enough_ansible.py")

# Ends at the first look at the settings: it has none.
HOSTS = """
servers:
  children:
    app: {hosts: {web1: {ansible_connection: local}}}
    backup: {hosts: {vault1: {ansible_connection: local}}}
"""


@pytest.fixture
def inventory(tmp_path):
    folder = tmp_path / "prod"
    (folder / "group_vars/servers").mkdir(parents=True)
    (folder / "hosts.yml").write_text(HOSTS)
    (folder / "group_vars/servers/settings.yml").write_text(
        "# not_this_one is only a word here\napp_source: '{{ ticket }}'\nmine: 1\n"
    )
    return folder


def run(*words, **more):
    done = subprocess.run(
        [PROGRAMS / "ansible-playbook", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


def refused(*words, **more):
    """What the refusal of a command says; no play may have begun."""
    code, out, err = run(*words, **more)
    assert code == WRONG_OPTIONS, out + err
    assert "PLAY [" not in out
    assert "RECAP" not in out
    assert err.count("REFUSED, nothing was changed") == 1
    return err


# -- the words -------------------------------------------------------------------------------------


def test_words_that_ansible_would_cut_off_are_refused_with_the_line_to_type(inventory):
    said = refused("playbooks/run.yml", "-i", inventory, "-e", "cmd=linkboard stats")
    assert "cmd would be linkboard, and the rest is lost" in said
    assert "Quote it once more:  -e cmd=\"'linkboard stats'\"" in said


def test_the_project_s_configuration_is_not_needed_for_that(inventory, tmp_path):
    (tmp_path / "empty.cfg").touch()
    words = ("playbooks/run.yml", "-i", inventory, "-e", "cmd=linkboard stats")
    places = {"ROLES_PATH": "roles", "LIBRARY": "library"}
    places |= {"FILTER_PLUGINS": "plugins/filter", "ACTION_PLUGINS": "plugins/action"}
    said = refused(
        *words,
        ANSIBLE_CONFIG=str(tmp_path / "empty.cfg"),
        **{f"ANSIBLE_{name}": str(ROOT / place) for name, place in places.items()},
    )
    assert "Quote it once more" in said


@pytest.mark.parametrize(
    ("text", "is_cut"),
    [
        ("cmd=linkboard stats", True),
        ("message=Back at noon", True),
        ("duration=10 m", True),
        ("to=2026-11-24 10:00:00", True),
        ("cmd=psql -c 'select 1'", True),
        ("cmd=linkboard set colour=red now", True),
        ("cmd=echo $HOME", True),
        ('cmd=say "it\'s"', True),
        ("cmd", True),
        ("cmd='linkboard stats'", False),
        ("state=on message='Back at noon'", False),
        ('{"cmd": "linkboard stats"}', False),
        ("@file.yml", False),
        ("cmd=", False),
        ("to=2026-11-24T10:00:00Z", False),
    ],
)
def test_what_is_cut_is_found(text, is_cut):
    found = list(cut([text]))
    assert bool(found) is is_cut
    if not is_cut or "Quote it once more" not in found[0]:
        return
    # What is shown works: through the shell, and through Ansible.
    shown = found[0].split("Quote it once more:")[1]
    words = subprocess.run(
        ["sh", "-c", f"printf '%s\\0' {shown}"], capture_output=True, text=True, check=True
    ).stdout.split("\0")
    assert words[0] == "-e"
    name, value = text.split("=", 1)
    given = json.loads(words[1]) if words[1].startswith("{") else parse_kv(words[1])
    assert given == {name: value}


# -- the names -------------------------------------------------------------------------------------


def test_names_that_a_playbook_does_not_read_are_refused_all_together(inventory):
    said = refused(
        *("playbooks/rollback.yml", "-i", inventory, "-e", "relaese=a version=1 not_this_one=1"),
        *("-e", '{"release_tp": 1, "app_version": "v1", "ansible_becom_password": "x"}'),
    )
    assert (
        "- -e relaese=…: rollback.yml reads no variable of that name; did you mean -e release"
        in said
    )
    for name in ("version", "app_version"):
        assert (
            f"- -e {name}=…: rollback.yml reads no variable of that name; did you mean -e rel"
            in said
        )
    assert "did you mean -e release_to=…?" in said
    assert "-e not_this_one=…" in said
    assert "did you mean -e ansible_become_password=…?" in said


def test_an_answer_to_another_playbook_is_refused_and_says_which(inventory):
    said = refused("playbooks/deploy.yml", "-i", inventory, "-e", "release_to=39f4f881019d")
    assert "deploy.yml reads no variable of that name" in said
    assert "playbooks/rollback.yml does" in said


def test_what_an_inventory_sets_or_uses_may_be_given(inventory):
    code, out, err = run(
        *("playbooks/deploy.yml", "-i", inventory, "-e", "ticket=7 mine=2 app_workers=3"),
        *("-e", "version=v1 ansible_user=ada ansible_become_password=x vault_key=y"),
    )
    assert code == 2, "it goes on to the settings"
    assert "app_name is missing" in out + err


@pytest.mark.parametrize("book", sorted(QUESTIONS))
def test_each_playbook_has_its_questions_and_none_has_another_one_s(book):
    path = next(
        path for path in (ROOT / f"{book}.yml", ROOT / f"playbooks/{book}.yml") if path.exists()
    )
    assert path.exists()
    settings = settings_of_roles()
    asked = QUESTIONS[book]
    assert settings >= set(asked.values())
    given = [*asked, *asked.values(), "app_workers", "preflight_older"]
    assert list(unread(book, given, settings, {})) == []
    for other, names in QUESTIONS.items():
        for name in set(names) - set(asked):
            said = list(unread(book, [name], settings, {}))
            assert len(said) == 1, f"{name} is {other}'s"


def test_every_playbook_has_questions():
    books = {path.stem for path in (ROOT / "playbooks").glob("*.yml")} | {"site"}
    assert set(QUESTIONS) == books


def test_every_short_name_reaches_its_variable():
    wiring = (ROOT / "group_vars/all/wiring.yml").read_text()
    for asked in QUESTIONS.values():
        for short, name in asked.items():
            if name == "app_version":  # an inventory's own comes before the wiring
                task = (ROOT / "roles/release/tasks/deploy.yml").read_text()
                assert "--version={{ version | default(app_version) }}" in task
            else:
                assert re.search(rf"^{name}: .*{{{{ {short} \| default\(", wiring, re.M), short


# -- hosts and tags --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["-i", "inventory/prd"],
            "-i inventory/prd does not exist; did you mean -i inventory/prod?",
        ),
        (["-i", "nowhere"], "-i nowhere does not exist; there are inventory/demo, inventory/prod"),
        (["-i", "inventory/prod", "-i", "inventory/more"], "-i inventory/more does not exist"),
        ([], "no inventory was named: add -i inventory/"),
        (
            ["-i", "inventory"],
            "-i inventory is several inventories (inventory/demo, inventory/prod",
        ),
        (["-i", "web1,"], "-i web1,: the group `app` has no host"),
    ],
)
def test_an_inventory_that_is_none_is_refused(words, says):
    assert says in refused("playbooks/deploy.yml", *words)


def test_an_inventory_without_a_host_for_the_playbook_is_refused(inventory):
    assert "the group `db` has no host" in refused("playbooks/restore.yml", "-i", inventory)
    said = refused("playbooks/deploy.yml", "-i", inventory, "--limit", "vault1")
    assert "--limit vault1: none of its hosts is in the group `app`" in said


def test_a_host_file_that_cannot_be_read_is_refused(inventory):
    (inventory / "hosts.yml").write_text("servers: [")
    said = refused("site.yml", "-i", inventory)
    assert "hosts.yml:2 is not valid YAML" in said
    assert "WARNING" not in said


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ({"servers": ["a"], "app": ["a"], "db": ["a"]}, []),
        ({"servers": ["a"], "app": ["a"], "blue": ["a"]}, []),
        ({"servers": ["a"], "app": ["a"], "application": ["a"]}, []),
        ({"servers": ["a"], "apps": ["a"]}, ["did you mean app?"]),
        ({"servers": ["a"], "app": ["a"], "db_servers": ["a"]}, ["did you mean db?"]),
        ({"server": ["a"], "app": ["a"]}, ["did you mean servers?"]),
        (
            {"servers": ["a", "b"], "app": ["a"]},
            ["b is in none of the groups app, db, edge, backup"],
        ),
        ({"servers": ["v"], "backups": ["v"]}, ["did you mean backup?"]),
    ],
)
def test_groups_that_are_nearly_pergola_s(groups, says):
    found = list(misspelt_groups({"all": ["a", "b"], **groups}))
    assert len(found) == len(says), found
    assert all(text in one for text, one in zip(says, found, strict=True))


def test_one_play_of_a_playbook_is_enough(inventory):
    code, _, err = run("site.yml", "-i", inventory, "--limit", "vault1")
    assert code == 2, f"refused for its settings\n{err}"


def test_a_tag_that_no_task_has_is_refused(inventory):
    said = refused("playbooks/provision.yml", "-i", inventory, "--tags", "cady,base")
    assert "--tags cady: no task has this tag; did you mean caddy?" in said
    assert "--tags base" not in said
    assert "--skip-tags nginx" in refused("site.yml", "-i", inventory, "--skip-tags", "nginx")
    said = refused("playbooks/maintenance.yml", "-i", inventory, "--tags", "release")
    assert "its tags are: none" in said


def test_the_tags_that_molecule_always_skips_need_not_be_there(inventory):
    skipped = "molecule-notest,notest,molecule-idempotence-notest"
    code, _, err = run("site.yml", "-i", inventory, "--skip-tags", skipped)
    assert "no task has this tag" not in err
    assert code == 2, "it goes on to the settings"


def test_a_playbook_of_the_user_s_own_has_its_own_variables(tmp_path, inventory):
    own = tmp_path / "all.yml"
    own.write_text(
        '- hosts: vault1\n  gather_facts: false\n  tasks: [{debug: {msg: "{{ hello }}"}}]\n'
        f"- import_playbook: {ROOT}/playbooks/status.yml\n"
    )
    code, out, err = run(own, "-i", inventory, "-e", "hello=there", "--tags", "untagged")
    assert "REFUSED" not in err
    assert "there" in out, code
    assert "Quote it once more" in refused(own, "-i", inventory, "-e", "hello=there you")


# -- Ansible itself --------------------------------------------------------------------------------


def test_an_older_ansible_is_refused_with_what_to_type(tmp_path):
    (tmp_path / "requirements.yml").write_text("collections:\n  - name: no.such\n")
    said = enough.refusal("2.14.18", "/usr/bin/ansible-playbook", tmp_path)
    assert "/usr/bin/ansible-playbook is ansible-core 2.14.18, and Pergola needs 2.19" in said
    assert "setup && . " in said
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/ansible-playbook").touch()
    assert "setup" not in enough.refusal("2.18.1", "ansible-playbook", tmp_path)
    assert "without no.such" in enough.refusal("2.19.1", "ansible-playbook", tmp_path)


@pytest.mark.parametrize("version", ["2.19.0", "2.19.14", "2.20.0b1", "3.0"])
def test_one_that_is_new_enough_is_not(version):
    assert enough.refusal(version, "ansible-playbook") == ""


def test_it_is_asked_before_the_roles_are_read(tmp_path, inventory):
    """The look comes before "couldn't resolve module", with an Ansible that says it is older."""
    (tmp_path / "empty.cfg").touch()
    (tmp_path / "sitecustomize.py").write_text(
        "import ansible.release\nansible.release.__version__ = '2.14.18'\n"
    )
    done = subprocess.run(
        [PROGRAMS / "ansible-playbook", "site.yml", "-i", inventory],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(tmp_path),
            "ANSIBLE_CONFIG": str(tmp_path / "empty.cfg"),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "is ansible-core 2.14.18, and Pergola needs 2.19" in done.stderr
    assert "PLAY [" not in done.stdout


def test_the_needed_version_is_the_one_that_is_installed():
    pinned = re.search(r"^ansible==.*# core (\S+)", (ROOT / "requirements.in").read_text(), re.M)
    assert pinned[1] == enough.NEEDED


# -- what the documentation shows ------------------------------------------------------------------


def shown():
    """Every ansible-playbook command of README and docs, as it stands there, with its place."""
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = re.match(r"\s*(?:\$ |[0-9]+\. `|`)?(ansible-playbook [^`]*)", line)
            if found:
                command = re.sub(r"\s+# .*", "", found[1]).strip()
                if "../pergola/" in command:
                    continue  # from beside the clone: tests/control/test_inventory_made.py
                yield pytest.param(command, id=f"{path.name}:{number}")


# The page shows how to make it; tests/contracts/test_shown_commands.py types that.
OF_THE_PAGE = "inventory/wiki"


@pytest.mark.parametrize("command", list(shown()))
def test_a_command_that_is_shown_is_read_as_it_stands(command):
    """By the shell, and by Ansible: every word of it arrives in a variable that is read."""
    words = shlex.split(command.replace("<app_name>", "linkboard"))
    given = [words[at + 1] for at, word in enumerate(words) if word == "-e"]
    assert list(cut(given)) == []
    variables = {}
    for text in given:
        variables |= parse_kv(text)
    assert (ROOT / words[1].removeprefix("pergola/")).is_file()  # a submodule of theirs
    assert list(unread(Path(words[1]).stem, variables, settings_of_roles(), {})) == []
    assert "-i" in words
    inventory = words[words.index("-i") + 1]
    if inventory != OF_THE_PAGE:
        assert list(wrong_sources([str(ROOT / inventory)], named=True)) == []


def test_the_documentation_s_own_values_have_all_their_words():
    commands = [param.values[0] for param in shown()]
    assert len(commands) > 30
    assert any("-e cmd=\"'linkboard stats'\"" in command for command in commands)
