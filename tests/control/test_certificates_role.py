"""Role certificates as a run of ansible-playbook takes it, with a host that is a directory."""

import grp
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent
HOSTS = {
    "servers": {
        "vars": {"ansible_connection": "local", "certificates_unattended": True},
        "hosts": {"db1": {}, "web1": {}},
    }
}
WANTED = {
    "name": "host",
    "trust": "members",
    "common_name": "{{ inventory_hostname }}",
    "addresses": ["127.0.0.1"],
    "group": grp.getgrgid(os.getegid()).gr_name,
}
PLAY = """
- hosts: servers
  gather_facts: false
  roles: [certificates]
"""
# The program of the host in a directory of the test's own, and a note of each round trip.
STUB = f"""
import json, subprocess, sys
from pathlib import Path
from ansible.plugins.action import ActionBase

HERE = Path(__file__).parents[1]
PROGRAM = '''
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / "host")!r})
from pergola.certificates import cli, order
order.HOME = Path(sys.argv[1])
sys.argv[1:] = sys.argv[3:]
sys.exit(cli.main())
'''

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        given = self._task.args
        words = given["check_argv" if self._task.check_mode else "argv"]
        host = task_vars["inventory_hostname"]
        with (HERE / "calls").open("a") as calls:
            calls.write(json.dumps([host, *words]) + "\\n")
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(HERE / host), *words],
            input=json.dumps(given["document"]), capture_output=True, text=True,
        )
        (HERE / "sent").open("a").write(json.dumps(given["document"]))
        answer = json.loads(done.stdout) if done.stdout else {{}}
        said = {{"answer": answer, "changed": answer.get("changed", False), "rc": done.returncode}}
        return {{**said, "failed": bool(done.returncode), "msg": done.stderr}}
"""
NOTHING = """
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        return {"changed": False}
"""


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "prod").mkdir()
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/host_program.py").write_text(STUB)
    (tmp_path / "plugins/package_sent.py").write_text(NOTHING)
    (tmp_path / "play.yml").write_text(PLAY)
    (tmp_path / "prod/hosts.yml").write_text(yaml.safe_dump(HOSTS))
    return tmp_path


def environment(tree):
    found = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return found | {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_ACTION_PLUGINS": f"{tree / 'plugins'}:{ROOT / 'plugins/action'}",
        "ANSIBLE_STDOUT_CALLBACK": "default",
        "NO_COLOR": "1",
        "CI": "",
        "PWD": str(tree),
        "COLUMNS": "200",
    }


def run(tree, *arguments, wanted=(WANTED,), inventory="prod"):
    """A run: its exit code, what it said, and each host's round trips."""
    (tree / "calls").write_text("")
    (tree / "extra.json").write_text(json.dumps({"certificates_wanted": wanted}))
    options = ["-i", inventory, "-e", "@extra.json", *arguments]
    done = subprocess.run(
        [PROGRAMS / "ansible-playbook", "play.yml", *options],
        cwd=tree, env=environment(tree), capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    calls = [json.loads(line) for line in (tree / "calls").read_text().splitlines()]
    trips = {host: [call[2:] for call in calls if call[0] == host] for host in ("db1", "web1")}
    return done.returncode, done.stdout + done.stderr, trips


def is_unchanged(said):
    return "changed=0 " in said and not any(f"changed={n} " in said for n in range(1, 9))


def test_two_hosts_get_theirs_and_the_next_run_changes_nothing(tree):
    code, said, trips = run(tree)
    assert code == 0, said
    assert trips == {name: [["request"], ["take"]] for name in ("db1", "web1")}
    assert "prod/authorities.pem is new" in said
    file = tree / "prod/authorities.pem"
    assert file.stat().st_mode & 0o7777 == 0o600
    assert "PRIVATE" not in (tree / "sent").read_text() + said
    bundles = {(tree / host / "members.crt").read_text() for host in ("db1", "web1")}
    assert len(bundles) == 1
    for host in ("db1", "web1"):
        options = ["x509", "-noout", "-subject", "-nameopt", "RFC2253", "-in"]
        said = subprocess.check_output(["openssl", *options, tree / host / "host.crt"], text=True)
        assert said.strip() == f"subject=CN={host}"

    before = file.read_bytes()
    for arguments in ([], ["--check"]):
        code, said, trips = run(tree, *arguments)
        assert (code, is_unchanged(said)) == (0, True), said
        assert [len(calls) for calls in trips.values()] == [1, 1]
    assert "names of hosts" not in said
    assert "authorities.pem as an inventory source" not in said
    assert file.read_bytes() == before


def test_in_check_mode_nothing_is_made_and_the_change_is_told(tree):
    code, said, trips = run(tree, "--check")
    assert (code, trips) == (0, {"db1": [], "web1": []}), said
    assert said.count("changed=2 ") == 2
    assert sorted(path.name for path in (tree / "prod").iterdir()) == ["hosts.yml"]
    run(tree)
    wanted = {**WANTED, "addresses": ["127.0.0.2"]}
    before = (tree / "db1/host.crt").read_bytes()
    code, said, trips = run(tree, "--check", wanted=[wanted])
    assert said.count("changed=1 ") == 2, said
    assert trips["db1"] == [["request", "--only-look"]]
    assert (tree / "db1/host.crt").read_bytes() == before


def test_without_certificates_nothing_is_made(tree):
    code, said, trips = run(tree, wanted=[])
    assert (code, is_unchanged(said)) == (0, True), said
    assert trips == {"db1": [], "web1": []}
    assert sorted(path.name for path in (tree / "prod").iterdir()) == ["hosts.yml"]


def test_they_are_not_made_where_nobody_keeps_them(tree):
    code, said, _ = run(tree, "-e", "certificates_unattended=false")
    assert code != 0
    assert "it has no terminal" in said
    assert "certificates_unattended: true" in said
    assert not (tree / "prod/authorities.pem").exists()
    # Once they are there nobody has to sit by.
    run(tree)
    code, said, _ = run(tree, "-e", "certificates_unattended=false")
    assert (code, is_unchanged(said)) == (0, True), said


def test_the_file_may_be_encrypted(tree):
    run(tree)
    file = tree / "prod/authorities.pem"
    (tree / "password").write_text("a password\n")
    vault = ["--vault-password-file", "password"]
    subprocess.run(
        [PROGRAMS / "ansible-vault", "encrypt", *vault, file],
        cwd=tree, env=environment(tree), check=True, capture_output=True,
    )  # fmt: skip
    code, said, _ = run(tree, *vault)
    assert (code, is_unchanged(said)) == (0, True), said
    (tree / "web1/host.crt").unlink()
    code, said, trips = run(tree, *vault)
    assert (code, trips["web1"]) == (0, [["request"], ["take"]]), said
    assert file.read_text().startswith("$ANSIBLE_VAULT")
    code, said, _ = run(tree)
    assert code != 0
    assert "the authorities cannot be read" in said
    assert "certificates_file" in said


def test_an_application_of_the_same_hosts_adds_its_own(tree):
    run(tree)
    app = {**WANTED, "name": "notes", "trust": "clients", "common_name": "notes", "addresses": []}
    code, said, _ = run(tree, wanted=[app])
    assert code == 0, said
    names = {path.name for path in (tree / "web1").iterdir()}
    assert names == {
        *("members.crt", "clients.crt", "host.crt", "host.key", "notes.crt", "notes.key")
    }


def test_a_second_inventory_of_the_same_hosts_names_the_first_ones_file(tree):
    run(tree)
    (tree / "notes").mkdir()
    (tree / "notes/hosts.yml").write_text(yaml.safe_dump(HOSTS))
    before = (tree / "web1/members.crt").read_text()
    code, said, _ = run(tree, inventory="notes")
    assert code != 0
    assert "authorities of 'prod' (Pergola members" in said
    assert "and those of this run are of 'notes'" in said
    assert "certificates_file" in said
    file = f"certificates_file={tree}/prod/authorities.pem"
    code, said, _ = run(tree, "-e", file, inventory="notes")
    assert (code, is_unchanged(said)) == (0, True), said
    code, said, _ = run(tree, "-e", "certificates_replace=true", inventory="notes")
    assert code == 0, said
    assert (tree / "web1/members.crt").read_text() != before


def test_two_inventory_files_of_one_directory_have_authorities_of_their_own(tree):
    (tree / "prod/staging.yml").write_text(yaml.safe_dump(HOSTS))
    run(tree, inventory="prod/hosts.yml")
    run(tree, "-e", "certificates_replace=true", inventory="prod/staging.yml")
    names = {path.name for path in (tree / "prod").glob("*.pem")}
    assert names == {"authorities.pem", "staging.authorities.pem"}


def test_git_does_not_take_the_file(tree):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q"], cwd=tree, check=True)
    code, said, _ = run(tree)
    assert code == 0, said
    added = subprocess.check_output([*git, "add", "--all", "--dry-run"], cwd=tree, text=True)
    assert "prod/hosts.yml" in added
    assert "authorities" not in added


def test_a_wrong_setting_is_told_with_its_name(tree):
    code, said, trips = run(tree, wanted=[{**WANTED, "common_name": "x" * 65}])
    assert (code != 0, trips["db1"]) == (True, [])
    assert "Setting: certificates_wanted" in said
