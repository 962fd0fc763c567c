"""The action `files`: what a task names by `src` gets its content from the role."""

import grp
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
ME = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}


@pytest.fixture
def role(tmp_path):
    """Run a role that has some files and writes files below `to`; what Ansible says."""
    to = tmp_path / "to"

    def run(*files, has, options=(), **variables):
        (tmp_path / "play.yml").write_text("- {hosts: all, gather_facts: false, roles: [one]}\n")
        for name, text in has.items():
            place = tmp_path / "roles/one" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(text if isinstance(text, bytes) else text.encode())
        wanted = [{**ME, **file, "path": f"{to}/{file['path']}"} for file in files]
        tasks = tmp_path / "roles/one/tasks/main.yml"
        tasks.parent.mkdir(parents=True, exist_ok=True)
        task = {"name": "Write", "files": {"files": wanted}, "vars": variables}
        tasks.write_text(yaml.safe_dump([task]))
        env = {
            **os.environ,
            "ANSIBLE_ACTION_PLUGINS": f"{PROJECT}/plugins/action",
            "ANSIBLE_LIBRARY": f"{PROJECT}/library",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_STDOUT_CALLBACK": "default",
        }
        ansible = Path(sys.executable).with_name("ansible-playbook")
        done = subprocess.run(
            [ansible, "-i", "one,", "-c", "local", "play.yml", *options],
            cwd=tmp_path, env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    run.to = to
    return run


def test_a_template_is_rendered_as_ansibles_own_does_it(role):
    template = (
        "{% if people %}\n{% for one in people %}\n- {{ one }} {{ more }}\n{% endfor %}\n"
        "{% endif %}{% include 'end.j2' %}\n\n"
    )
    has = {"templates/list.j2": template, "templates/end.j2": "back\\\\slash {{ people | length }}"}
    role(
        {"path": "list", "src": "list.j2", "vars": {"more": "x"}, "mode": "0640"},
        has=has,
        people=["ada", "eve"],
    )
    found = role.to / "list"
    assert found.read_text() == "- ada x\n- eve x\nback\\\\slash 2\n\n"
    assert found.stat().st_mode & 0o777 == 0o640


def test_what_a_template_gives_is_text_and_no_template_again(role):
    has = {"templates/a.j2": "{{ number }}", "templates/b.j2": "{{ '{{' }} x }}{{ nothing }}"}
    role(
        {"path": "a", "src": "a.j2"}, {"path": "b", "src": "b.j2"}, has=has, number=5, nothing=None
    )
    assert [(role.to / name).read_text() for name in "ab"] == ["5", "{{ x }}"]


def test_a_file_comes_as_it_is(role):
    role({"path": "a", "src": "a.sh"}, has={"files/a.sh": "echo '{{ no }}' ä\n\n"})
    assert (role.to / "a").read_text() == "echo '{{ no }}' ä\n\n"


def test_a_tree_comes_whole(role):
    has = {"files/lib/a.py": "a = 1\n", "files/lib/b/c.conf.j2": "{{ name_of }}\n"}
    role({"path": "lib", "src": "lib"}, has=has, name_of="ada")
    found = {str(p.relative_to(role.to)): p.read_text() for p in role.to.rglob("*") if p.is_file()}
    assert found == {"lib/a.py": "a = 1\n", "lib/b/c.conf": "ada\n"}


def test_what_python_compiled_beside_a_file_of_a_tree_is_left_out(role):
    has = {"files/lib/a.py": "a = 1\n", "files/lib/__pycache__/a.cpython-311.pyc": b"\xa7\r\r\n"}
    role({"path": "lib", "src": "lib"}, has=has)
    assert [str(p.relative_to(role.to)) for p in role.to.rglob("*") if p.is_file()] == ["lib/a.py"]


def test_check_and_diff_show_it_and_write_nothing(role):
    said = role(
        {"path": "a", "src": "a.j2"},
        has={"templates/a.j2": "{{ who }}\n"},
        options=["--check", "--diff"],
        who="ada",
    )
    assert "+ada" in said
    assert "changed=1" in said
    assert not role.to.exists()


def test_one_that_the_role_does_not_have_is_named(role):
    said = role({"path": "a", "src": "none.j2"}, has={})
    assert "none.j2" in said
    assert "failed=1" in said
