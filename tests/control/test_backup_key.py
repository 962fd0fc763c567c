"""The backups' key on the control node is made where it is neither lost nor published."""

import importlib.util
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent
PLAY = """
- hosts: servers
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: backup, tasks_from: known}
    - ansible.builtin.include_role: {name: backup, tasks_from: key}
"""
HOSTS = """
servers:
  vars:
    ansible_connection: local
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
    preflight_postgresql: true
    postgresql_existing_version: 0
    backup_dir: /nonexistent/pgbackrest
  children:
    db: {hosts: {web1: {}}}
"""


def plugin(path):
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found
    spec.loader.exec_module(found)
    return found


guarded = plugin("roles/backup/action_plugins/key_guarded.py")
unattended = plugin("roles/backup/lookup_plugins/unattended.py")


def git(where, *arguments):
    argv = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(argv, cwd=where, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def tree(tmp_path):
    """A team's own repository: an inventory and nothing of Pergola's."""
    (tmp_path / "prod").mkdir()
    (tmp_path / "prod/hosts.yml").write_text(HOSTS)
    (tmp_path / "play.yml").write_text(PLAY)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "inventory")
    return tmp_path


def run(tree, *arguments, inventory="prod", terminal=False, ci=""):
    """Take the part of site.yml that looks for the key and makes it: (exit code, what it said)."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    env |= {
        "ANSIBLE_ROLES_PATH": str(ROOT / "roles"),
        "ANSIBLE_LIBRARY": str(ROOT / "library"),
        "ANSIBLE_FILTER_PLUGINS": str(ROOT / "plugins/filter"),
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "NO_COLOR": "1",
        "CI": ci,
        "PWD": str(tree),
        "COLUMNS": "200",
    }
    argv = [str(PROGRAMS / "ansible-playbook"), "play.yml", "-i", inventory, *arguments]
    if not terminal:
        done = subprocess.run(
            argv, cwd=tree, env=env, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr
    pid, screen = pty.fork()
    if pid == 0:
        os.chdir(tree)
        os.execve(argv[0], argv, env)
    said = b""
    try:
        while part := os.read(screen, 65536):
            said += part
    except OSError:  # how a terminal says that its last program has gone
        pass
    os.close(screen)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.decode().replace("\r", "")


def would_be_added(tree):
    return git(tree, "add", "--all", "--dry-run").splitlines()


@pytest.mark.parametrize("ci", ["", "true"])
def test_a_first_key_is_not_made_where_nobody_keeps_it(tree, ci):
    # A secret of CI that is not set is an empty text.
    unset = "backup_key={{ lookup('env', 'NO_SUCH_SECRET') }}"
    code, said = run(tree, "-e", unset, ci=ci, terminal=bool(ci))
    assert code != 0
    assert ("CI is set" if ci else "it has no terminal") in said
    assert "set it as backup_key" in said
    assert "prod/backup.key" in said
    assert not (tree / "prod/backup.key").exists()


@pytest.mark.parametrize("given", ["backup_key=" + "k" * 48, "backup_key_unattended=true"])
def test_a_run_without_a_terminal_goes_on_with_a_key_or_a_yes(tree, given):
    code, said = run(tree, "-e", given, ci="true")
    assert code == 0, said
    assert (tree / "prod/backup.key").exists() is given.startswith("backup_key_un")


def test_git_does_not_take_a_key_that_a_person_made(tree):
    code, said = run(tree, terminal=True)
    assert code == 0, said
    assert "Put a copy where neither" in said
    assert (tree / "prod/backup.key").stat().st_mode & 0o777 == 0o600
    assert would_be_added(tree) == []
    assert git(tree, "status", "--porcelain") == "", "no tracked file was touched"
    # And nothing more the second time.
    assert "changed=0 " in run(tree, terminal=True)[1]


def key(tree, only_look=False):
    return guarded.guard(tree / "prod/backup.key", only_look)


def test_a_key_that_lies_there_in_plain_text_is_kept_out_too(tree):
    (tree / "prod/backup.key").write_text("k" * 48)
    assert would_be_added(tree) == ["add 'prod/backup.key'"]
    assert key(tree, only_look=True) == (True, "")
    assert would_be_added(tree), "check mode changes nothing"
    assert key(tree) == (True, "")
    assert would_be_added(tree) == []
    assert key(tree) == (False, "")


def test_names_that_mean_more_in_a_pattern_are_kept_out_as_they_stand(tree):
    path = tree / "prod/new*/[a] !b#/backup.key"
    assert guarded.guard(path, False) == (True, "")
    path.parent.mkdir(parents=True)
    path.write_text("k")
    (tree / "prod/newer").mkdir()
    (tree / "prod/newer/other.yml").write_text("")
    assert would_be_added(tree) == ["add 'prod/newer/other.yml'"]


def test_an_inventory_in_a_submodule_or_a_worktree_is_a_clone_as_well(tree, tmp_path):
    other = tmp_path.parent / f"{tmp_path.name}-worktree"
    git(tree, "worktree", "add", "-q", str(other))
    assert guarded.guard(other / "prod/backup.key", False) == (True, "")
    (other / "prod/backup.key").write_text("k")
    assert would_be_added(other) == []


def test_outside_of_git_nothing_is_done(tmp_path):
    assert guarded.guard(tmp_path / "prod/backup.key", False) == (False, "")


def test_a_repository_that_wants_the_key_is_refused(tree):
    (tree / ".gitignore").write_text("!backup.key\n")
    with pytest.raises(guarded.CannotSayError, match="gitignore of the repository"):
        key(tree)


def test_a_clone_that_git_does_not_answer_for_is_refused(tree, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(guarded.CannotSayError, match="would hold the key of all backups"):
        key(tree)
    (tree / "prod/backup.key").write_text("k" * 48)
    assert "git may take" in key(tree)[1], "a key that is in use does not stop a run"


def test_an_encrypted_key_may_be_committed_and_a_plain_one_is_warned_of(tree):
    (tree / "prod/backup.key").write_text("k" * 48)
    git(tree, "add", "-f", "prod/backup.key")
    changed, warning = key(tree)
    assert not changed
    assert "is in git in plain text" in warning
    assert "ansible-vault encrypt" in warning
    (tree / "prod/backup.key").write_text("$ANSIBLE_VAULT;1.1;AES256\n61\n")
    assert key(tree) == (False, "")


def test_two_inventory_files_of_one_directory_have_a_key_each(tree):
    for name in ("staging.yml", "hosts.yml"):
        (tree / name).write_text(HOSTS)
    for name in ("staging.yml", "hosts.yml"):
        code, said = run(tree, inventory=name, terminal=True)
        assert code == 0, said
    keys = {path.name: path.read_text() for path in tree.glob("*backup.key")}
    assert set(keys) == {"staging.backup.key", "backup.key"}
    assert len(set(keys.values())) == 2
    assert not [line for line in would_be_added(tree) if "key" in line]


def test_a_directory_and_its_hosts_file_are_one_environment(tree):
    run(tree, terminal=True)
    key = (tree / "prod/backup.key").read_text()
    code, said = run(tree, inventory="prod/hosts.yml", ci="true")
    assert code == 0, said
    assert [path.read_text() for path in tree.glob("prod/*.key")] == [key]


@pytest.mark.parametrize(
    ("environment", "terminal", "wanted"),
    [
        ({}, True, ""),
        ({}, False, "it has no terminal"),
        ({"CI": "true"}, True, "CI is set"),
        ({"CI": "false"}, True, ""),
        ({"CI": ""}, True, ""),
    ],
)
def test_what_counts_as_unattended(environment, terminal, wanted):
    assert unattended.reason(environment, terminal) == wanted


def test_a_process_without_a_terminal_is_known(tmp_path):
    stat = "7 (a) b) S 1 7 7 {} 7 0"
    (tmp_path / "7").mkdir()
    (tmp_path / "7/stat").write_text(stat.format(34816))
    assert unattended.has_terminal(7, tmp_path)
    (tmp_path / "7/stat").write_text(stat.format(0))
    assert not unattended.has_terminal(7, tmp_path)
