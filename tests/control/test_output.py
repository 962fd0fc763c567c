"""What a run prints (callback_plugins/pergola.py), seen in runs on this machine."""

import os
import pty
import re
import subprocess
import sys

import pytest
import yaml
from runs import PROGRAMS, ROOT, clean_environment

SECRET = "mark-of-a-secret"
CONFIG = f"""
[defaults]
stdout_callback = pergola
callback_plugins = {ROOT}/callback_plugins
vars_plugins = {ROOT}/vars_plugins
interpreter_python = {sys.executable}
roles_path = roles:{ROOT}/roles
library = {ROOT}/library
action_plugins = {ROOT}/plugins/action
filter_plugins = {ROOT}/plugins/filter
any_errors_fatal = true
"""


class Project:
    """A playbook with hosts of its own, each of them this machine."""

    def __init__(self, path, hosts=("web1",)):
        self.path = path
        (path / "inventory").mkdir()
        (path / "ansible.cfg").write_text(CONFIG)
        local = {"ansible_connection": "local"}
        self.write("inventory/hosts.yml", {"servers": {"hosts": dict.fromkeys(hosts, local)}})

    def write(self, name, content):
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        )

    def playbook(self, *tasks, role=""):
        play = {"name": "Serve", "hosts": "servers", "gather_facts": False, "tasks": list(tasks)}
        if role:
            self.write(f"roles/{role}/tasks/main.yml", play.pop("tasks"))
            play["roles"] = [role]
        self.write("site.yml", [play])

    def run(self, *arguments, playbook="site.yml", **environment):
        """Run it, or another one; the streams stay apart."""
        config = str(self.path / "ansible.cfg")
        return subprocess.run(
            [PROGRAMS / "ansible-playbook", playbook, "-i", "inventory", *arguments],
            cwd=self.path,
            env=clean_environment(**{"ANSIBLE_CONFIG": config, **environment}),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture
def two(tmp_path):
    return Project(tmp_path, hosts=("web1", "web2"))


def done(name, says="", **more):
    """A task that changed something."""
    return {"name": name, "command": f"echo {says}", "changed_when": True, **more}


def told(text, **more):
    return {"name": "tell | Say it", "debug": {"msg": text}, **more}


def lines(text):
    """Without seconds, and without the roles that took long: both depend on the machine."""
    found = [re.sub(r"\d+(\.\d+)? s\b", "N s", line) for line in text.splitlines()]
    return [re.sub(r" +N s$", "", line) if line.startswith("  ") else line
            for line in found if not re.fullmatch(r"  (web|preflight) N s", line)]  # fmt: skip


def test_a_line_for_what_changed_and_none_for_the_rest(project):
    project.playbook(
        {"name": "Look", "command": "true", "changed_when": False},
        done("part | Bring it"),
        {"name": "Leave it out", "command": "true", "when": False},
        done("part | Set it up", says="""'{"changed": true, "says": "two of them"}'"""),
        told("It is there."),
        role="web",
    )
    ran = project.run()
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    assert lines(ran.stdout) == [
        "web1",
        "  web         Bring it",
        "  web         Set it up (two of them)",
        "  It is there.",
        "web1: 2 changes, N s",
    ]


def test_nothing_to_do_is_one_line(two):
    two.playbook({"name": "Look", "command": "true", "changed_when": False})
    ran = two.run()
    assert ran.returncode == 0
    assert lines(ran.stdout) == ["web1, web2: nothing to do, 2 checks, N s"]


def test_what_was_asked_for_needs_no_other_end(project):
    project.playbook(told("a table\n  of two lines\n"))
    assert project.run().stdout == "web1\n  a table\n    of two lines\n"


def test_check_says_what_would_change_and_that_nothing_did(project):
    project.playbook({"name": "Make the file", "copy": {"dest": "new", "content": "x"}})
    ran = project.run("--check")
    assert ran.returncode == 0, ran.stderr
    assert lines(ran.stdout)[1].split() == ["would", "make", "the", "file"]
    assert lines(ran.stdout)[2] == "would change 1 thing on web1; nothing was changed   N s"
    assert not (project.path / "new").exists()
    project.playbook({"name": "Look", "command": "true", "changed_when": False})
    assert "web1: nothing to do; nothing was changed" in project.run("--check").stdout


def test_diffs_are_shown_below_their_line(project):
    project.playbook({"name": "Make the file", "copy": {"dest": "new", "content": "one line\n"}})
    said = project.run("--check", "--diff").stdout
    assert said.index("would make the file") < said.index("+one line") < said.index("would change")


def test_warnings_are_gathered_for_the_end_each_once(two):
    two.playbook(
        told("WARNING: the disk is small"),
        told("WARNING: {{ inventory_hostname }} is old"),
        done("Go on"),
    )
    said = lines(two.run().stdout)
    assert said[:5] == [
        "web1, web2",
        "              Go on",
        "web1, web2: 2 changes, N s",
        "3 warnings",
        "  ! web1, web2: the disk is small",
    ]
    assert sorted(said[5:]) == ["  ! web1 is old", "  ! web2 is old"]


def test_the_summary_says_what_is_live_and_what_comes_next(project):
    live = {
        "app": "notes",
        "url": "https://notes.example.org",
        "release": "ea15bc27c747-01234567",
        "from": "55e1648c461a-01234567",
        "subject": "version 2",
        "seconds": {"prepare": 5.3, "migrate": 0.04, "gate": 2.4},
    }
    following = {"says": "undo", "command": "{{ 'playbooks/rollback.yml' | typed }}"}
    facts = {"pergola_live": live, "pergola_next": following}
    stats = {"set_stats": {"per_host": True, "aggregate": False, "data": facts}}
    project.playbook(done("Bring it"), stats)
    ran = project.run()
    assert lines(ran.stdout)[2:] == [
        "  prepare N s   gate",
        'notes on web1: 55e1648 -> ea15bc2 "version 2"',
        "notes is live: https://notes.example.org   release ea15bc27c747-01234567   N s, 1 change",
        f"undo: ansible-playbook {ROOT}/playbooks/rollback.yml -i inventory",
    ]
    live["from"] = live["release"]
    project.playbook(stats)
    unchanged = lines(project.run().stdout)[0]
    assert unchanged.startswith("web1: nothing to do, 1 check, N s. notes is live: https://notes")


# Failures


def test_an_error_comes_once_and_last_on_stderr_with_its_place(two):
    two.playbook(
        told("WARNING: the disk is small"),
        done("Begin"),
        {"name": "Break", "command": "sh -c 'echo no such thing >&2; exit 3'"},
        done("Never"),
    )
    ran = two.run()
    assert ran.returncode == 2
    assert "no such thing" not in ran.stdout
    assert ran.stdout.splitlines()[-1] == "  ! web1, web2: the disk is small"
    line = (two.path / "site.yml").read_text().splitlines().index("  - name: Break") + 1
    assert lines(ran.stderr) == [
        "FAILED after 2 changes (N s)",
        "  web1, web2: no such thing",
        "  It ended with 3.",
        f"  in: Break (site.yml:{line})",
    ]


def test_a_refusal_before_the_first_change_says_so(project):
    refusal = {"assert": {"that": False, "fail_msg": "app_wokers is not a setting", "quiet": True}}
    project.playbook({"name": "Refuse it", **refusal}, role="preflight")
    ran = project.run()
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert lines(ran.stderr) == [
        "REFUSED, nothing was changed (N s)",
        "  app_wokers is not a setting",
    ]


def test_of_a_failure_that_was_rescued_only_what_came_last_is_told(project):
    broken = {"name": "Break", "command": "sh -c 'echo first >&2; exit 3'"}
    whole = {"name": "Try", "block": [broken], "rescue": [{"fail": {"msg": "It was put back."}}]}
    project.playbook(whole)
    ran = project.run()
    assert lines(ran.stderr) == ["FAILED (N s)", "  It was put back."]
    assert ran.returncode == 2
    whole["rescue"] = [told("It does without.")]
    project.playbook(whole)
    ran = project.run()
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_setting_that_a_message_names_gets_its_file_and_line(project):
    project.write("inventory/group_vars/servers/settings.yml", "---\n# A comment.\napp_asgi: x:y\n")
    project.playbook({"fail": {"msg": "It does not start. Setting: app_asgi. Correct it."}})
    place = "inventory/group_vars/servers/settings.yml:3"
    assert f"Setting: app_asgi ({place}). Correct it." in project.run().stderr
    assert "Setting: app_asgi (given by -e)" in project.run("-e", "app_asgi=a:b").stderr
    project.write("inventory/group_vars/servers/settings.yml", "app_version: main\n")
    project.playbook({"fail": {"msg": "It is no tag. Setting: app_version"}})
    for given in ("version=v9", '{"version": "v9"}'):
        assert "Setting: app_version (given by -e)" in project.run("-e", given).stderr
    for given in ("message=version", "conversion=3"):
        assert "Setting: app_version (inventory/" in project.run("-e", given).stderr


@pytest.mark.parametrize(
    ("says", "advice"),
    [
        ("Host key verification failed.", "ssh-keyscan -H -p 2222 198.51.100.7 >> ~/.ssh/known_ho"),
        ("REMOTE HOST IDENTIFICATION HAS CHANGED!", "ssh-keygen -R 198.51.100.7 && ssh-keyscan"),
        ("ada@198.51.100.7: Permission denied (publickey).", "Try: ssh ada@198.51.100.7"),
        ("Please login as the user ubuntu", "set ansible_user for web1 in inventory/hosts.yml"),
        ("ssh: Could not resolve hostname web1", "correct ansible_host of web1"),
        ("connect to host web1 port 2222: Connection refused", "is ansible_port of web1 right"),
        ("connect to host web1 port 2222: Connection timed out", "Is the server up"),
    ],
)
def test_an_unreachable_server_is_told_with_what_to_do(project, says, advice):
    ssh = project.path / "ssh"  # so that nobody is contacted
    ssh.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit 255\n")
    ssh.chmod(0o755)
    connection = {"ansible_connection": "ssh", "ansible_host": "198.51.100.7", "ansible_port": 2222}
    reached = connection | {"ansible_ssh_executable": str(ssh)}
    project.write("inventory/hosts.yml", {"servers": {"hosts": {"web1": reached}}})
    project.playbook({"name": "Look", "command": "true"}, role="preflight")
    ran = project.run()
    assert ran.returncode == 4
    assert lines(ran.stderr)[0] == "REFUSED, nothing was changed (N s)"
    assert says in ran.stderr
    assert advice in ran.stderr


# Secrets


def test_no_secret_of_a_task_with_no_log_is_shown(two):
    hidden = {"no_log": True, "ignore_errors": True}
    fails = f"sh -c 'echo {SECRET} >&2; exit 3'"
    two.playbook(
        done("Bring it", says=SECRET, no_log=True),
        done("Bring each", says="{{ item }}", no_log=True, loop=[SECRET, "other"]),
        {"name": "Write", "copy": {"dest": "file", "content": SECRET}, "no_log": True},
        {"name": "Fail in one", "command": fails, **hidden},
        {"name": "Fail in all", "command": fails, "loop": [SECRET], "no_log": True},
    )
    ran = two.run("--diff")
    assert ran.returncode == 2
    assert "Bring each" in ran.stdout
    assert "in: Fail in all" in ran.stderr
    assert "secrets" in ran.stderr  # why nothing is shown
    assert SECRET not in ran.stdout + ran.stderr


def test_what_was_passed_over_is_a_warning(project):
    broken = {"name": "Break", "command": "sh -c 'echo no such thing >&2; exit 3'"}
    project.playbook(broken | {"ignore_errors": True})
    ran = project.run()
    assert ran.returncode == 0
    assert "  ! web1: Break failed: no such thing" in ran.stdout


# Ansible's own output, and the terminal


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [(["-v"], {}), ([], {"ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default"})],
)
def test_ansibles_own_output_is_a_setting_away(project, arguments, environment):
    project.playbook(done("Bring it"))
    ran = project.run(*arguments, **environment)
    assert "TASK [Bring it]" in ran.stdout
    assert re.search(r"PLAY RECAP.*\nweb1 +: ok=1 +changed=1 ", ran.stdout)


def on_a_terminal(project, **environment):
    """What a terminal gets of a run."""
    ours, theirs = pty.openpty()
    clean = {name: value for name, value in os.environ.items() if "COLOR" not in name}
    config = {"ANSIBLE_CONFIG": str(project.path / "ansible.cfg"), "TERM": "xterm"}
    process = subprocess.Popen(
        [PROGRAMS / "ansible-playbook", "site.yml", "-i", "inventory"],
        cwd=project.path,
        env={**clean, **config, **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other end was closed
            break
        if not part:
            break
        seen += part
    process.wait()
    os.close(ours)
    return seen.decode()


def test_a_terminal_sees_what_is_at_work_and_for_how_long(project):
    project.playbook(done("Take its time"), {"name": "Wait", "command": "sleep 2.5"}, role="web")
    seen = on_a_terminal(project)
    assert re.search(r"\r\x1b\[K  web +Wait +[12] s", seen)
    assert re.search(r"\x1b\[0;33m  web +Take its time", seen)
    # The line is taken off before another one is printed.
    assert re.search(r"\r\x1b\[K(\x1b\[0;33m)?  web +Wait +\d\.\d s", seen)
    plain = on_a_terminal(project, NO_COLOR="1")
    assert "\x1b[0" not in plain
    assert "\x1b" not in project.run().stdout


# Before the first task


@pytest.mark.parametrize(
    ("settings", "line", "reason"),
    [
        ('app_name: notes\napp_environment:\n  A: "x\n', 4, "quoted scalar"),
        ("app_name: notes\n app_domain: notes.test\n", 2, "Mapping values are not allowed"),
        ("app_name: notes\napp_source: {{ x }}/y\n", 2, "missing quotes around a template"),
    ],
)
def test_yaml_that_is_none_is_told_with_file_and_line(project, settings, line, reason):
    project.write("inventory/group_vars/servers/settings.yml", settings)
    project.playbook(done("Never"))
    ran = project.run()
    assert ran.returncode == 4
    assert ran.stdout == ""
    place = f"inventory/group_vars/servers/settings.yml:{line}"
    assert f"[ERROR]: {place} is not valid YAML, and nothing was changed" in ran.stderr
    assert reason in ran.stderr
    assert ran.stderr.count("ERROR") == 1


def test_a_vault_without_its_password_says_how_to_give_it(project):
    for name in ("right", "wrong"):
        project.write(name, f"{name}\n")
    vault = "inventory/group_vars/servers/vault.yml"
    project.write(vault, {"vault_key": SECRET})
    encrypt = [PROGRAMS / "ansible-vault", "encrypt", "--vault-password-file=right", vault]
    subprocess.run(encrypt, cwd=project.path, check=True, capture_output=True)
    project.playbook(done("Bring it", says="{{ vault_key }}", no_log=True))
    said = project.run().stderr
    assert f"{vault} is encrypted, and nothing was changed" in said
    assert "Add --ask-vault-pass to the command" in said
    said = project.run("--vault-password-file=wrong").stderr
    assert "The password that was given is another one" in said
    assert project.run("--vault-password-file=right").returncode == 0


def test_a_playbook_that_is_run_from_elsewhere_says_from_where(project):
    elsewhere = str(ROOT / "playbooks/status.yml")
    (project.path / "ansible.cfg").unlink()
    ran = project.run(playbook=elsewhere)
    assert ran.returncode != 0
    assert "Pergola's playbooks need its ansible.cfg, and there is none here" in ran.stderr
    assert f"export ANSIBLE_CONFIG={ROOT}/ansible.cfg" in ran.stderr
    assert ran.stderr.count("ERROR") == 1
    project.write("ansible.cfg", "[defaults]\nforks = 2\n")
    assert "ansible.cfg is not Pergola's" in project.run(playbook=elsewhere).stderr


def test_a_playbook_of_the_user_s_own_has_the_same_output(project):
    project.playbook(done("Bring it"))
    ran = project.run(ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "web1: 1 change" in ran.stdout


# The project


def test_what_ends_with_an_exit_code_is_told_in_its_own_words():
    """By the action itself: a task of it that takes a failure for none would hide it."""
    found = 0
    for file in ROOT.glob("roles/*/tasks/*.yml"):
        for task in yaml.safe_load(file.read_text()) or []:
            if "control_node" in task:
                assert not {"failed_when", "ignore_errors"} & task.keys(), f"{file}: {task['name']}"
                found += 1
    assert found > 0


def test_every_scenario_and_the_project_choose_their_output():
    assert "stdout_callback = pergola" in (ROOT / "ansible.cfg").read_text()
    # Molecule counts `changed=` in a run's output to see whether anything changed.
    shared = yaml.safe_load((ROOT / ".config/molecule/config.yml").read_text())
    files = list(ROOT.glob("molecule/*/molecule.yml"))
    assert files
    for file in files:
        own = yaml.safe_load(file.read_text()).get("provisioner", {}).get("env", {})
        environment = shared["provisioner"]["env"] | own
        assert environment["ANSIBLE_STDOUT_CALLBACK"] == "ansible.builtin.default", file
