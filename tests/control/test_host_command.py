"""The action `host_command`: what it runs, and what it tells as Ansible's `command` does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def play(tmp_path):
    """Run tasks on this machine; the names of those that are told as changed, skipped and so on."""

    def run(*tasks, check=False):
        (tmp_path / "play.yml").write_text(
            yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": list(tasks)}])
        )
        words = ["-i", "one,", "-c", "local", "play.yml", *(["--check"] if check else [])]
        env = {
            **os.environ,
            "ANSIBLE_ACTION_PLUGINS": f"{PROJECT}/plugins/action",
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_STDOUT_CALLBACK": "default",
        }
        ansible = Path(sys.executable).with_name("ansible-playbook")
        done = subprocess.run(
            [ansible, *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    return run


def asked(**more):
    return {"name": "Ask", "register": "found", **more}


def holds(*that):
    return {"ansible.builtin.assert": {"that": list(that)}}


def test_it_tells_what_a_command_says_and_how_it_ends(play):
    said = play(
        asked(host_command={"argv": ["printf", "%s\n", "a b", "c"]}),
        holds("found is changed", "found.rc == 0", "found.stdout == 'a b\nc'"),
        holds("found.stdout_lines == ['a b', 'c']", "found.stderr == ''"),
        asked(
            host_command={"cmd": "echo no >&2; echo yes; cat; exit 3"},
            failed_when=False,
            changed_when=False,
        ),
        holds("found is not changed", "found.rc == 3", "found.stderr == 'no'"),
        holds("found.stdout == 'yes'"),  # and nothing to read
        asked(host_command={"cmd": 'echo "$WORD"'}, environment={"WORD": "it's"}),
        holds("found.stdout == 'it\\'s'"),
        asked(host_command={"argv": ["cat"], "stdin": "a\nb"}),
        holds("found.stdout == 'a\nb'"),
        asked(host_command={"cmd": "kill -9 $$"}, failed_when=False),
        holds("found.rc >= 128 or found.rc < 0"),
    )
    assert "failed=0" in said, said


def test_another_code_than_0_fails_the_task(play):
    said = play(asked(host_command={"argv": ["false"]}))
    assert "failed=1" in said
    assert "non-zero return code" in said


def test_check_mode_skips_it_unless_the_task_says_otherwise(play, tmp_path):
    said = play(
        asked(host_command={"cmd": f"touch {tmp_path}/made"}, changed_when="found.stdout == 'x'"),
        holds("found is skipped", "found is not changed", "found.stdout == ''"),
        asked(host_command={"argv": ["echo", "x"]}, check_mode=False, changed_when=False),
        holds("found.stdout == 'x'"),
        check=True,
    )
    assert "failed=0" in said, said
    assert not (tmp_path / "made").exists()


def test_a_task_says_one_of_both(play):
    assert "host_command takes `argv` or `cmd`" in play(asked(host_command={}))
