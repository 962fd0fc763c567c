"""The lookup that says whose run this is, and which others are alive."""

import importlib.util
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from pergola_control import operator

PLUGIN = Path(__file__).parents[2] / "roles/release/lookup_plugins/operator.py"
spec = importlib.util.spec_from_file_location("operator_lookup", PLUGIN)
plugin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plugin)

LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")

PLAYBOOK = """
- hosts: all
  connection: local
  gather_facts: false
  vars: {of_the_play: "{{ lookup('operator').run }}"}
  tasks:
    - ansible.builtin.debug: {msg: "RUN {{ lookup('operator').run }}"}
    - ansible.builtin.debug: {msg: "RUN {{ lookup('operator').run }}"}
      delegate_to: two
    - ansible.builtin.debug: {msg: "RUN {{ lookup('operator').run }}"}
      run_once: true
    - ansible.builtin.debug: {msg: "RUN {{ of_the_play }}"}
    - ansible.builtin.debug: {msg: "ALL {{ lookup('operator') | to_json }}"}
      run_once: true
    - ansible.builtin.wait_for: {path: "{{ playbook_dir }}/end", sleep: 1, timeout: 120}
      when: waiting | default(false)
      run_once: true
"""


class Run:
    """A run of ansible-playbook, with all that it prints."""

    def __init__(self, directory, *arguments):
        if not (directory / "play.yml").exists():  # another run may be reading it
            (directory / "play.yml").write_text(PLAYBOOK)
        (directory / "ansible.cfg").touch()
        self.output = directory / f"output{time.monotonic_ns()}"
        program = Path(sys.executable).with_name("ansible-playbook")
        options = ["-e", f"ansible_python_interpreter={sys.executable}", "-i", "one,two"]
        env = {"ANSIBLE_LOOKUP_PLUGINS": str(PLUGIN.parent), "ANSIBLE_NOCOLOR": "1"}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [program, *options, *arguments, "play.yml"],
                cwd=directory,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "ANSIBLE_CONFIG": str(directory / "ansible.cfg"), **env},
            )

    def answer(self):
        """What the lookup said; the run may go on."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if found := re.search(r"ALL (\{.*\})\"?\n", text := self.output.read_text()):
                return json.loads(found[1].replace('\\"', '"'))
            assert self.process.poll() in (None, 0), text
            time.sleep(0.1)
        raise AssertionError(self.output.read_text())


def test_a_run_has_one_name_in_all_its_tasks_and_no_other_run_has_it(tmp_path):
    runs = [Run(tmp_path), Run(tmp_path)]
    names = []
    for run in runs:
        answer = run.answer()
        assert run.process.wait(60) == 0
        found = re.findall(r"RUN ([\w/-]+)", run.output.read_text())
        assert len(found) == 2 + 2 + 1 + 2
        assert set(found) == {answer["run"]}
        assert answer["run"].split("/")[1] == str(run.process.pid)
        assert answer["run"] in answer["alive"]
        names.append(answer["run"])
    assert names[0] != names[1]
    assert names[0].split("/")[0] == names[1].split("/")[0]


@LINUX
def test_a_run_is_alive_for_others_until_it_is_killed(tmp_path):
    first = Run(tmp_path, "-e", '{"waiting": true}')
    try:
        name = first.answer()["run"]
        assert name in Run(tmp_path).answer()["alive"]
        first.process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, first.process.pid, os.WEXITED | os.WNOWAIT)
        # Nobody has taken notice of its end yet: its number is still in the list of processes.
        assert name not in Run(tmp_path).answer()["alive"]
    finally:
        (tmp_path / "end").touch()
        first.process.kill()
        first.process.wait()


def table(*commands):
    """Processes 1, 2, …, each the parent of the next."""
    return {
        number: operator.Process(number - 1, str(number * 100), tuple(command.split()))
        for number, command in enumerate(commands, 1)
    }


PLAY = "/v/bin/python3 /v/bin/ansible-playbook site.yml"


@pytest.mark.parametrize(
    ("expected", "commands"),
    [
        pytest.param(3, ["init", "bash", PLAY], id="itself"),
        pytest.param(3, ["init", "bash", PLAY, PLAY, PLAY], id="its forks"),
        pytest.param(2, ["init", "ansible-playbook x", "ansible-playbook x"], id="without python"),
        pytest.param(2, ["init", "/usr/bin/python3 -s /bin/ansible x", PLAY], id="options"),
        pytest.param(2, ["init", "python -m ansible playbook x"], id="module"),
        pytest.param(3, ["init", "/v/bin/python /v/bin/molecule converge", PLAY], id="molecule"),
        pytest.param(2, ["init", "/v/bin/python /v/bin/ansible-navigator run", PLAY], id="runner"),
        pytest.param(3, ["init", "sudo ansible-playbook site.yml", PLAY], id="sudo"),
        pytest.param(3, ["init", "xargs -P2 ansible-playbook", PLAY], id="xargs"),
        pytest.param(5, ["init", PLAY, PLAY, "sh -c x", PLAY, PLAY], id="a playbook in a task"),
        pytest.param(2, ["init", "my-deployer x", "my-deployer x"], id="another name"),
        pytest.param(2, ["init", "/Python.app/Python /v/ansible x", PLAY], id="macOS"),
    ],
)
def test_a_run_is_the_outermost_ansible_above_a_task(expected, commands):
    processes = table(*commands)
    assert operator.run_of(len(commands), processes) == expected


def test_a_parent_that_is_hidden_ends_the_search():
    processes = table("init", "bash", PLAY, PLAY)
    del processes[2]
    assert operator.run_of(4, processes) == 3


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (PLAY, True),
        ("python3 deploy.py", True),
        ("x --a=ansible", True),
        ("bash", False),
        ("", False),
    ],
)
def test_what_could_be_a_run_is_taken_for_one(command, expected):
    assert operator.Process(1, "1", tuple(command.split())).may_be_run() is expected


def test_a_process_is_read_whatever_its_name(tmp_path):
    for pid, name in (("7", "a b) R (c"), ("8", "ended"), ("self", "x")):
        (tmp_path / pid).mkdir()
        fields = " ".join(str(number) for number in range(4, 53))
        (tmp_path / pid / "stat").write_text(f"{pid} ({name}) S {fields}\n")
    (tmp_path / "7" / "cmdline").write_bytes(b"python\0a b\0\0")
    assert operator.processes(tmp_path) == {7: operator.Process(4, "22", ("python", "a b"))}


@LINUX
@pytest.mark.skipif(not shutil.which("ps"), reason="there is no ps")
def test_ps_tells_what_proc_tells():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    listed, read = operator.listed_processes(), operator.processes()
    ended.wait()
    me = listed[os.getpid()]
    assert me.parent == read[os.getpid()].parent == os.getppid()
    assert " ".join(me.argv) == " ".join(read[os.getpid()].argv)
    assert re.fullmatch(r"\w{3}-\w{3}-\d+-\d+-\d+-\d+-\d{4}", me.started)
    assert 1 in listed
    assert not listed[ended.pid].may_be_run()
    assert not read[ended.pid].may_be_run()


def test_without_proc_and_ps_the_lookup_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AnsibleError, match="cannot be listed"):
        operator.processes(tmp_path)


def test_another_host_name_is_another_control_node(monkeypatch):
    here = operator.control_node(table("init"))
    assert re.fullmatch("[0-9a-f]{16}", here)
    assert operator.control_node(table("init")) == here
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    assert operator.control_node(table("init")) != here


def test_another_start_of_the_system_is_another_control_node(tmp_path, monkeypatch):
    nodes = set()
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"{name}\n")
        monkeypatch.setattr(operator, "BOOT_ID", tmp_path / name)
        nodes.add(operator.control_node(table("init")))
    assert len(nodes) == 2


def test_without_a_boot_id_the_network_card_counts_but_no_random_number(tmp_path, monkeypatch):
    monkeypatch.setattr(operator, "BOOT_ID", tmp_path / "none")
    nodes = []
    for address in (0x020000000001, 0x020000000002, 0x010000000001, 0x010000000002):
        monkeypatch.setattr(operator.uuid, "getnode", lambda address=address: address)
        nodes.append(operator.control_node(table("init")))
    assert nodes[0] != nodes[1]
    assert nodes[2] == nodes[3]


@LINUX
def test_another_namespace_of_processes_is_another_control_node(monkeypatch):
    numbers = itertools.count()
    here = operator.control_node(table("init"))
    monkeypatch.setattr(operator.Path, "readlink", lambda path: f"{path}:{next(numbers)}")
    assert operator.control_node(table("init")) != here


def test_users_who_do_not_see_each_other_s_processes_are_two_control_nodes(monkeypatch):
    nodes = set()
    for user in (1000, 1001):
        monkeypatch.setattr(os, "getuid", lambda user=user: user)
        nodes.add(operator.control_node(table()))
        shared = operator.control_node(table("init"))
    assert len({*nodes, shared}) == 3


def test_the_operator_is_who_git_says_else_the_login_name_else_a_number(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "config", "user.email", "ada@app.test"], check=True)
    assert operator.local_name(str(tmp_path)) == "ada@app.test"
    monkeypatch.setenv("LOGNAME", "ada")
    assert operator.local_name("/") == "ada"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert operator.local_name(str(tmp_path)) == "ada"

    def unknown():
        raise KeyError

    monkeypatch.setattr(operator.getpass, "getuser", unknown)
    assert operator.local_name("/") == f"user {os.getuid()}"


def test_the_documentation_is_that_of_the_answer():
    assert yaml.safe_load(plugin.DOCUMENTATION)["name"] == PLUGIN.stem
    assert yaml.safe_load(plugin.EXAMPLES)
    (answer,) = plugin.LookupModule(loader=DataLoader()).run([])
    assert yaml.safe_load(plugin.RETURN)["_raw"]["contains"].keys() == answer.keys()
    assert answer["node"] == socket.gethostname()


def test_arguments_are_refused():
    lookup = plugin.LookupModule(loader=DataLoader())
    for terms, options in ((["x"], {}), ([], {"x": 1})):
        with pytest.raises(AnsibleError, match="takes no arguments"):
            lookup.run(terms, **options)


GITHUB = {
    "GITHUB_ACTOR": "ada",
    "GITHUB_SERVER_URL": "https://git.example.org",
    "GITHUB_REPOSITORY": "team/app",
    "GITHUB_RUN_ID": "9001",
    "GITHUB_RUN_NUMBER": "12",
}


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        (GITHUB, "ada (https://git.example.org/team/app/actions/runs/9001)"),
        (
            {**GITHUB, "GITEA_ACTIONS": "true"},
            "ada (https://git.example.org/team/app/actions/runs/12)",
        ),
        (
            {**GITHUB, "FORGEJO_ACTIONS": "true", "FORGEJO_ACTOR": "eve"},
            "eve (https://git.example.org/team/app/actions/runs/12)",
        ),
        (
            {"GITLAB_USER_LOGIN": "ada", "CI_JOB_URL": "https://git.example.org/app/-/jobs/7"},
            "ada (https://git.example.org/app/-/jobs/7)",
        ),
        ({"GITLAB_USER_LOGIN": "ada\nroot\x1b[0m"}, "ada root [0m"),
        ({"GITHUB_ACTOR": "ada", "GITHUB_RUN_ID": "9001"}, "ada"),
    ],
)
def test_a_run_of_ci_has_the_name_of_who_started_it_and_its_address(tmp_path, environment, wanted):
    assert operator.who(str(tmp_path), environment) == wanted


def test_outside_of_ci_it_is_the_name_that_git_knows(tmp_path):
    subprocess.run(("git", "init", "-q", tmp_path), check=True)
    subprocess.run(("git", "-C", tmp_path, "config", "user.email", "a@example.org"), check=True)
    assert operator.who(str(tmp_path), {}) == "a@example.org"
    assert operator.ci_address({}) == ""
