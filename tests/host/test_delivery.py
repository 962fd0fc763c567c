"""How the package reaches a host and is called there; a process which runs keeps its version."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

PROJECT = Path(__file__).parents[2]
PLUGINS = PROJECT / "plugins/action"
sys.path.insert(0, str(PROJECT / "control"))
from pergola_control import package  # noqa: E402


def loaded(name):
    """A plugin of Ansible's, as it loads one."""
    spec = importlib.util.spec_from_file_location(name, PLUGINS / f"{name}.py")
    plugin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plugin)
    return plugin


package_sent, host_program = loaded("package_sent"), loaded("host_program")


class Host:
    """A host below a directory, and what one of its accounts was told over the connection."""

    def __init__(self, top):
        self.top, self.calls = top, []
        self.lib = top / "lib/pergola"

    def executed(self, command, in_data):
        self.calls.append(len(in_data))
        done = subprocess.run(["sh", "-c", command], input=in_data, capture_output=True)
        out, err = done.stdout.decode(), done.stderr.decode()
        said = {"stdout": out, "stderr": err, "stdout_lines": out.splitlines()}
        return {"rc": done.returncode, **said}

    def run(self, plugin, check=False, facts=(), **args):
        self.calls.clear()
        action = object.__new__(plugin.ActionModule)
        action._task = SimpleNamespace(check_mode=check, args=args)
        action._low_level_execute_command = self.executed
        return action.run(None, {"ansible_facts": dict(facts)})

    def send(self, **more):
        return self.run(package_sent, **more)

    def ask(self, *words, **more):
        return self.run(host_program, argv=list(words), **more)

    @property
    def versions(self):
        return sorted(path.name for path in self.lib.iterdir() if len(path.name) == 64)

    def command(self, *words, name="pergola"):
        command = [sys.executable, "-I", str(self.top / "sbin" / name), *words]
        return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)


@pytest.fixture
def host(tmp_path, monkeypatch):
    shutil.copytree(
        PROJECT / "host", tmp_path / "host", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("sbin", "usr-sbin"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(package, "HOST", tmp_path / "host")
    monkeypatch.setattr(package, "PYTHON", "true")  # seconds, which one test is enough for
    monkeypatch.setattr(package, "LIB", str(tmp_path / "lib/pergola"))
    monkeypatch.setattr(package, "PLACES", (str(tmp_path / "sbin"), str(tmp_path / "usr-sbin")))
    monkeypatch.setattr(package_sent.ActionBase, "run", lambda *_: {})
    return Host(tmp_path)


def change(host, text="# another\n"):
    with (host.top / "host/pergola/errors.py").open("a") as file:
        file.write(text)


def test_it_is_sent_once_and_works_by_every_name(host):
    first = host.send()
    assert first["changed"]
    assert len(host.calls) == 2
    assert host.versions == [first["digest"]]
    assert (host.lib / "current").readlink() == Path(first["digest"])
    assert "usage: pergola NOUN VERB" in host.command("--help").stdout
    for folder in ("sbin", "usr-sbin"):
        assert (host.top / folder / "pergola").resolve() == (
            host.lib / first["digest"] / "bin/pergola"
        )
    said = host.command("--help", name="pergola-upgrade")
    assert (said.returncode, said.stdout[:23]) == (0, "usage: pergola-upgrade ")
    assert host.command("upgrade", "--help").stdout == said.stdout


def test_nothing_is_sent_when_it_is_there(host):
    host.send()
    again = host.send()
    assert not again["changed"]
    assert host.calls == [1]


def test_running_it_changes_nothing_of_it(host):
    """Byte-code does not count."""
    host.send()
    host.command("--help")
    assert list(host.lib.rglob("*.pyc"))
    assert not host.send()["changed"]


def test_check_mode_tells_and_changes_nothing(host):
    assert host.send(check=True)["changed"]
    assert not host.lib.exists()
    host.send()
    assert not host.send(check=True)["changed"]
    (host.top / "sbin/pergola").unlink()
    assert host.send(check=True)["changed"]
    assert not (host.top / "sbin/pergola").exists()


def test_another_version_takes_over_and_the_one_before_stays(host):
    names = []
    for number in range(3):
        change(host, f"# {number}\n")
        names.append(host.send()["digest"])
        assert (host.lib / "current").readlink() == Path(names[-1])
    assert host.versions == sorted(names[1:])
    assert not list(host.lib.glob(".new*"))


def test_an_older_checkout_is_in_force_again_without_being_sent(host):
    first = host.send()["digest"]
    before = (host.top / "host/pergola/errors.py").read_bytes()
    change(host)
    host.send()
    (host.top / "host/pergola/errors.py").write_bytes(before)
    again = host.send()
    assert (again["changed"], again["digest"], host.calls) == (True, first, [1])
    assert (host.lib / "current").readlink() == Path(first)


@pytest.mark.parametrize("how", ["edited", "removed", "added"])
def test_what_somebody_changed_by_hand_is_put_right(host, how):
    digest = host.send()["digest"]
    file = host.lib / digest / "pergola/errors.py"
    before = file.read_text()
    if how == "edited":
        file.write_text(before + "# by hand\n")
    elif how == "removed":
        file.unlink()
    else:
        (file.parent / "json.py").write_text("")
    assert host.send()["changed"]
    assert file.read_text() == before
    assert not (file.parent / "json.py").exists()
    assert not host.send()["changed"]


def test_links_take_the_place_of_an_earlier_pergolas_programs_and_folders(host):
    """In one step each: a unit that calls a command finds it at every moment."""
    for name in ("pergola-upgrade", "pergola-postgresql"):
        (host.top / "sbin" / name).write_text("an earlier Pergola's")
        (host.top / "usr-sbin" / name).write_text("an earlier Pergola's")
    for name in ("upgrades", "database", "pergola"):
        (host.lib / name).mkdir(parents=True)
        (host.lib / name / "cli.py").write_text("an earlier Pergola's")
    (host.lib / "another-roles").mkdir()
    assert host.send(check=True)["changed"]
    assert (host.lib / "upgrades/cli.py").exists()
    digest = host.send()["digest"]
    for name in ("pergola-upgrade", "pergola-postgresql"):
        assert f"usage: {name} " in host.command("--help", name=name).stdout
        assert (host.top / "usr-sbin" / name).is_symlink()
    assert sorted(path.name for path in host.lib.iterdir()) == sorted(
        [digest, "another-roles", "current"]
    )
    assert len(list((host.top / "sbin").iterdir())) == len(package.commands())
    assert not host.send()["changed"]


def test_a_folder_of_an_earlier_pergola_that_came_back_is_removed_again(host):
    """By a run from a checkout that knows no package."""
    host.send()
    (host.lib / "upgrades").mkdir()
    assert host.send(check=True)["changed"]
    assert (host.lib / "upgrades").exists()
    assert host.send()["changed"]
    assert not (host.lib / "upgrades").exists()


def test_a_link_that_a_killed_run_has_left_is_in_nobodys_way(host):
    for folder in ("sbin", "usr-sbin"):
        (host.top / folder / "pergola.new").symlink_to("/nowhere")
    host.send()
    assert not list(host.top.glob("*sbin/*.new"))
    assert host.command("--help").returncode == 0


def test_one_more_name_is_one_more_word_of_the_package(host):
    cli = host.top / "host/pergola/cli.py"
    text = cli.read_text().replace("ALIASES = {", 'ALIASES = {"pergola-more": "upgrade", ')
    cli.write_text(text)
    host.send()
    assert host.command("--help", name="pergola-more").stdout.startswith("usage: pergola-upgrade ")


def test_only_the_first_task_of_a_run_asks(host):
    facts = host.send()["ansible_facts"]
    again = host.send(facts=facts)
    assert (again["changed"], host.calls) == (False, [])
    assert again["ansible_facts"] == facts
    assert again["digest"] == facts["pergola_package"]["digest"]


def test_what_another_run_has_seen_is_not_believed(host, monkeypatch):
    """Facts may be kept, and the host another one by then."""
    facts = host.send()["ansible_facts"]
    shutil.rmtree(host.lib)
    monkeypatch.setattr(package_sent.C, "DEFAULT_LOCAL_TMP", "another run's")
    assert host.send(facts=facts)["changed"]
    assert (host.lib / "current").exists()


def test_what_another_version_or_check_mode_has_seen_is_not_believed(host):
    facts = host.send(check=True)["ansible_facts"]
    assert not host.send(check=True, facts=facts)["changed"]
    assert host.calls == []
    facts = host.send(facts=facts)["ansible_facts"]
    assert (host.lib / "current").exists()
    change(host)
    assert host.send(facts=facts)["changed"]


def test_a_failure_leaves_no_word_that_it_is_there(host, monkeypatch):
    monkeypatch.setattr(package, "archive", lambda _: b"\n")
    assert "ansible_facts" not in host.send()


def test_what_does_not_arrive_whole_is_thrown_away(host, monkeypatch):
    first = host.send()["digest"]
    change(host)
    archive = package.archive
    monkeypatch.setattr(package, "archive", lambda files: archive(files)[:-2000])
    failed = host.send()
    assert failed["failed"]
    assert "what was in force before still is" in failed["msg"]
    assert host.versions == [first]
    monkeypatch.setattr(package, "archive", lambda files: archive(dict(list(files.items())[:-1])))
    assert "it did not arrive whole" in host.send()["msg"]
    assert sorted(path.name for path in host.lib.iterdir()) == sorted([first, "current"])


def test_a_process_that_runs_keeps_its_version(host):
    (host.top / "host/pergola/upgrade/cli.py").write_text(
        "import sys\n"
        "def main():\n"
        "    print('begun', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    from pergola.upgrade import late\n"
        "    return late.CODE\n"
    )
    (host.top / "host/pergola/upgrade/late.py").write_text("CODE = 7\n")
    first = host.send()["digest"]
    command = [sys.executable, "-I", str(host.top / "sbin/pergola"), "upgrade"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout.readline() == "begun\n"
        (host.top / "host/pergola/upgrade/late.py").unlink()
        for number in range(3):
            change(host, f"# {number}\n")
            host.send()
        assert first in host.versions
        running.stdin.write("go on\n")
        running.stdin.close()
        assert running.wait(30) == 7
    change(host)
    host.send()
    assert first not in host.versions


def test_its_byte_code_is_made_on_arrival_and_names_the_files_as_they_lie(host, monkeypatch):
    monkeypatch.setattr(package, "PYTHON", sys.executable)
    digest = host.send()["digest"]
    (compiled,) = (host.lib / digest / "pergola/__pycache__").glob("errors.*.pyc")
    assert str(host.lib / digest / "pergola/errors.py").encode() in compiled.read_bytes()


def test_the_archive_is_the_same_for_the_same_files(host):
    files = package.files()
    for path in (host.top / "host").rglob("*"):
        os.utime(path, (1, 1))
    assert package.archive(package.files()) == package.archive(files)
    assert "pergola/errors.py" in files
    assert not [name for name in files if name.endswith(".pyc")]


def test_a_noun_that_there_is_not_is_named(host):
    host.send()
    said = host.command("nonsense")
    assert said.returncode == 2
    assert "there is no 'nonsense'" in said.stderr


NOUN = """
import json, sys
def main():
    words = sys.argv[1:]
    print(json.dumps({"words": words}), "is done")
    print(json.dumps({"changed": "--only-look" not in words, "read": json.load(sys.stdin)}))
    if "fail" in words:
        sys.exit("it failed\\nnext: nothing")
"""


@pytest.fixture
def noun(host, monkeypatch):
    """A program that says what it was told."""
    (host.top / "host/pergola/upgrade/cli.py").write_text(NOUN)
    monkeypatch.setattr(package, "PYTHON", sys.executable)
    (host.top / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(host.top / "tmp"))


def everything(host):
    """All files but byte-code, which is of no account."""
    return [path for path in sorted(host.top.rglob("*")) if "__pycache__" not in path.parts]


@pytest.mark.parametrize("sent", [True, False])
def test_a_role_calls_it_whether_or_not_it_is_there(host, noun, sent):
    if sent:
        host.send()
    before = everything(host)
    words = ["do", "it's $(touch here)", 7]
    result = host.ask("upgrade", *words, document={"text": "ä\n", "many": list(range(999))})
    assert len(host.calls) == (1 if sent else 2)
    assert (result["rc"], result["changed"]) == (0, True)
    assert result["answer"]["read"] == {"text": "ä\n", "many": list(range(999))}
    assert result["said"] == [json.dumps({"words": [str(word) for word in words]}) + " is done"]
    assert everything(host) == before


def test_in_check_mode_it_is_called_with_words_for_that_or_not_at_all(host, noun):
    look = ["upgrade", "do", "--only-look"]
    result = host.ask("upgrade", "do", check=True, check_argv=look)
    assert (result["changed"], result["answer"]["read"]) == (False, {})
    assert not host.lib.exists()
    result = host.ask("upgrade", "do", check=True)
    assert (result["skipped"], result["changed"], host.calls) == (True, False, [])


def test_its_failure_is_the_tasks(host, noun):
    result = host.ask("upgrade", "fail")
    assert (result["failed"], result["rc"], result["msg"]) == (True, 1, "it failed\nnext: nothing")


def test_a_run_calls_what_it_has_sent(host, noun):
    """Whichever is in force for others by now."""
    host.send()
    assert host.ask("upgrade")["answer"]
    change(host)
    host.send()
    (host.lib / "current/pergola/upgrade/cli.py").write_text("def main(): return 3\n")
    assert host.ask("upgrade")["rc"] == 3
    text = (host.top / "host/pergola/errors.py").read_text()
    (host.top / "host/pergola/errors.py").write_text(text.replace("# another\n", ""))
    assert host.ask("upgrade")["answer"]
    assert len(host.calls) == 1


@pytest.mark.parametrize(
    ("lines", "said", "answer"),
    [
        ([], [], {}),
        (["done"], ["done"], {}),
        (["one", '{"a": 1}'], ["one"], {"a": 1}),
        (["one", "7"], ["one", "7"], {}),
        (['{"a": 1}', "{"], ['{"a": 1}', "{"], {}),
    ],
)
def test_an_answer_is_an_object_in_the_last_line(lines, said, answer):
    assert host_program.understood(lines) == (said, answer)


@pytest.fixture
def ansible(host):
    """Ansible itself with two hosts, both this machine below the host's directory."""
    for name in ("plugins/action", "control/pergola_control"):
        shutil.copytree(PROJECT / name, host.top / name)
    asked = host.top / "asked"
    file = host.top / "control/pergola_control/package.py"
    text = file.read_text().replace('"/usr/local/lib/pergola"', repr(str(host.lib)))
    text = text.replace('"/usr/local/sbin", "/usr/sbin"', repr(str(host.top / "sbin")) + ",")
    text = text.replace('"/usr/bin/python3"', repr(sys.executable))
    file.write_text(text.replace("; did=", f"; did=; echo >>{asked}"))
    (host.top / "hosts").write_text("one\ntwo\n[all:vars]\nansible_connection=local\n")

    def run(play, *words):
        asked.write_text("")
        (host.top / "play.yml").write_text(json.dumps(play))
        argv = [Path(sys.executable).parent / "ansible-playbook", "-i", "hosts", "play.yml"]
        argv += ["-e", f"ansible_python_interpreter={sys.executable}", *words]
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "default",
            # Before that of this checkout, which writes to this machine's own directories.
            "PYTHONPATH": str(host.top / "control"),
            "ANSIBLE_ACTION_PLUGINS": str(host.top / "plugins/action"),
            "ANSIBLE_CACHE_PLUGIN": "jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(host.top / "facts"),
        }
        done = subprocess.run(argv, env=environment, cwd=host.top, capture_output=True, text=True)
        said = done.stdout + done.stderr
        return done.returncode, said, len(asked.read_text().splitlines())

    return run


TWICE = [{"hosts": "all", "gather_facts": False, "tasks": [{"package_sent": None}] * 2}] * 2


def test_ansible_runs_it(host, ansible):
    """Each of two hosts is asked once in a run, and again in the next, though facts are kept."""
    code, said, asked = ansible(TWICE, "--check")
    assert (code, asked) == (0, 2), said
    assert said.count("changed=1 ") == 2, said
    assert not host.lib.exists()
    # One after the other: both are one machine.
    code, said, asked = ansible(TWICE, "--forks=1")
    assert (code, asked) == (0, 3), said
    assert said.count("changed=1 ") == said.count("changed=0 ") == 1, said
    assert host.command("--help").returncode == 0
    shutil.rmtree(host.lib)
    code, said, asked = ansible(TWICE, "--forks=1")
    assert (code, asked) == (0, 3), said
    code, said, asked = ansible(TWICE)
    assert (code, asked, said.count("changed=0 ")) == (0, 2, 2), said


def test_ansible_calls_it_and_shows_what_it_said(host, noun, ansible):
    call = {"host_program": {"argv": ["upgrade", "do"], "document": "{{ a }}"}, "register": "done"}
    show = {
        "debug": {"msg": "{{ done.answer.read.b }} {{ done.said | length }} {{ done.changed }}"}
    }
    play = {"hosts": "one", "gather_facts": False, "vars": {"a": {"b": "x{{ 'y' }}"}}}
    code, said, _ = ansible([{**play, "tasks": [call, show]}])
    assert code == 0, said
    assert "xy 1 True" in said
    call["host_program"]["argv"] = ["upgrade", "fail"]
    code, said, _ = ansible([{**play, "tasks": [call]}])
    assert (code, "next: nothing" in said) == (2, True), said


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ({"package_sent": {"command": "pergola"}}, "takes no command"),
        ({"host_program": {"argv": ["upgrade"], "stdin": ""}}, "Invalid options for host_program"),
    ],
)
def test_ansible_refuses_what_it_does_not_know(host, ansible, task, says):
    code, said, asked = ansible([{"hosts": "one", "gather_facts": False, "tasks": [task]}])
    assert (code, asked) == (2, 0)
    assert says in said
    assert not host.lib.exists()
