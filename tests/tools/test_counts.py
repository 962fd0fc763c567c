"""What scripts/counts.py takes for one of what there should be one of."""

import importlib.util
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("counts", PROJECT / "scripts/counts.py")
counts = importlib.util.module_from_spec(spec)
spec.loader.exec_module(counts)


@pytest.mark.parametrize(
    ("path", "room"),
    [
        ("host/pergola/postgres.py", "postgres"),
        ("host/pergola/upgrade/cli.py", "upgrade"),
        ("host/bin/pergola", "bin"),
        ("roles/backup/files/backups/cli.py", "backup"),
        ("roles/base/files/pergola-firewall", "base"),
        ("roles/release/files/source.py", ""),
        ("roles/app/files/lib/launcher/serve.py", ""),
        ("plugins/action/package_sent.py", ""),
    ],
)
def test_whose_a_program_is(path, room):
    assert counts.room(path) == room


def test_an_error_of_its_own_is_no_sort_of_another_of_ours():
    text = "class AError(Exception): ...\nclass BError(AError): ...\nclass C(dict): ...\n"
    assert counts.errors(text) == ["AError"]


@pytest.mark.parametrize(
    ("call", "does"),
    [
        ("fresh.replace(path)", True),
        ("os.rename(a, b, src_dir_fd=at, dst_dir_fd=at)", True),
        ("text.replace('a', 'b')", False),
        ("moment.replace(tzinfo=UTC)", False),
        ("dataclasses.replace(one, name='a')", False),
    ],
)
def test_what_puts_a_file_in_the_place_of_another(call, does):
    assert counts.takes_the_place(call) is does


def test_each_row_has_its_figure():
    text = 'CLUSTERS = Path("/etc/postgresql")\nx: dict[str, Any] = {}\n'
    found = counts.counted({"roles/backup/files/backups/cluster.py": text, "tests/a.py": "\n"})
    assert found["cluster models"] == " 1 in 1 files: backup"
    assert found["application models"] == " 0 in 0 files: "
    assert (found["dict[str, Any]"], found["lines on servers"]) == ("1", "2")


def test_variables_are_counted_and_what_one_role_reads_of_another():
    found = counts.counted(
        {
            "roles/web/defaults/main.yml": "web_port: 1\n# web_old: 2\n",
            "roles/web/vars/main.yml": "__web_a: 1\n__web_b: 2\n",
            "roles/store/tasks/main.yml": "{{ __web_a }} {{ __store_x }} {{ __other_y }}\n",
        }
    )
    assert found["variables of roles"] == "1 public, 2 private"
    assert found["private names across roles"] == "1"
