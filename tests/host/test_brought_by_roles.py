"""How roles bring the package: by one task, before the first that calls it."""

from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
ROLES = ["monitoring", "postgresql", "upgrade"]


def tasks(role, *files):
    return [
        task
        for file in files
        for task in yaml.safe_load((PROJECT / "roles" / role / "tasks" / file).read_text())
    ]


def does(task):
    """Whether it has the program do something, and not just asks it."""
    called = task.get("host_program", {})
    by_unit = ("__upgrade_call", "restart pergola-monitoring.timer")
    return called.get("argv") != called.get("check_argv") or any(x in str(task) for x in by_unit)


@pytest.mark.parametrize(
    ("role", "files"),
    [
        ("backup", ["enabled.yml", "peers.yml"]),
        ("monitoring", ["checks.yml"]),
        ("postgresql", ["server.yml", "databases.yml"]),
        ("upgrade", ["automatic.yml"]),
        ("upgrade", ["plan.yml", "work.yml", "reboot.yml"]),
    ],
)
def test_a_role_brings_it_before_it_calls_it(role, files):
    found = tasks(role, *files)
    sent = [n for n, task in enumerate(found) if "package_sent" in task]
    calls = [n for n, task in enumerate(found) if does(task)]
    assert len(sent) == 1
    assert sent[0] < min(calls)
    # In check mode it only tells, and nothing of it is to be hidden.
    assert set(found[sent[0]]) == {"name", "package_sent"}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_no_program_of_its_own(role):
    assert not list((PROJECT / "roles" / role).rglob("*.py"))
    assert not (PROJECT / "roles" / role / "files").exists()
    assert "/usr/local/lib/pergola" not in (PROJECT / "roles" / role / "vars/main.yml").read_text()


def test_what_postgresqls_settings_name_is_none_of_the_package():
    """Its archive's command is there whatever version is in force, and between two."""
    (file,) = (PROJECT / "roles/backup/files").iterdir()
    variables = yaml.safe_load((PROJECT / "roles/backup/vars/main.yml").read_text())
    assert variables["__backup_archive_push"] == f"/usr/local/lib/pergola/{file.name}"


def test_a_plan_of_an_upgrade_only_asks_also_in_check_mode():
    (asked,) = [task for task in tasks("upgrade", "plan.yml") if "host_program" in task]
    assert asked["host_program"]["argv"] == asked["host_program"]["check_argv"]
    assert asked["changed_when"] is False
