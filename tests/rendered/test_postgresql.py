"""Role postgresql without a server: settings on recorded hosts."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from test_systems import PROJECT, SYSTEMS, Host  # isort: skip - finds the package below
from pergola.app.order import ORDER
from pergola.database.databases import Database
from pergola.database.server import NOTED, Noted

GB = 1024
DISK = {"mount": "/", "size_available": 30 * 2**30, "size_total": 40 * 2**30}
VERSION = {"bookworm": 15, "trixie": 17, "noble": 16, "resolute": 18}


def host(system="noble", memory_mb=4 * GB, groups=("app", "db", "servers"), facts=None, **more):
    made = Host(
        {**SYSTEMS[system], "memtotal_mb": memory_mb, "mounts": [DISK], **(facts or {})}, **more
    )
    made.variables["group_names"] = list(groups)
    return made


def values(made):
    text = made("__postgresql_settings_file")
    return dict(re.findall(r"^(\w+) = ('[^']*'|\S+)  # ", text, re.MULTILINE))


@pytest.mark.parametrize("system", ["bookworm", "resolute"])
@pytest.mark.parametrize(
    ("memory_mb", "groups", "wanted"),
    [
        (1 * GB, ["app", "db"], "128MB 306MB 4MB 64MB 16MB"),
        (4 * GB, ["app", "db"], "400MB 1228MB 4MB 102MB 51MB"),
        (16 * GB, ["app", "db"], "1632MB 4914MB 16MB 409MB 204MB"),
        (1 * GB, ["db"], "224MB 690MB 4MB 64MB 28MB"),
        (4 * GB, ["db"], "912MB 2764MB 9MB 230MB 115MB"),
        (16 * GB, ["db"], "3680MB 11058MB 36MB 921MB 256MB"),
    ],
)
def test_memory_is_shared_out_by_who_else_is_on_the_host(system, memory_mb, groups, wanted):
    got = values(host(system, memory_mb, groups))
    names = "shared_buffers effective_cache_size work_mem maintenance_work_mem autovacuum_work_mem"
    assert " ".join(got[name] for name in names.split()) == wanted
    assert got["max_connections"] == "250"


@pytest.mark.parametrize(("system", "concurrency"), [("bookworm", "200"), ("resolute", "16")])
def test_what_differs_between_the_versions(system, concurrency):
    made = host(system)
    assert made("postgresql_version") == VERSION[system]
    assert values(made)["effective_io_concurrency"] == concurrency


@pytest.mark.parametrize(
    ("disk_gb", "wanted"),
    [
        (None, "1024MB 256MB 2048MB 2560MB"),
        (4, "512MB 128MB 1024MB 1024MB"),
        (20, "2048MB 512MB 4096MB 5120MB"),
        (500, "4096MB 1024MB 102400MB 128000MB"),
    ],
)
def test_what_is_written_beside_the_data_is_bounded_by_the_disk(disk_gb, wanted):
    mounts = [{"mount": "/", "size_total": 9 * 2**40}]
    mounts += [{"mount": "/var/lib/postgresql", "size_total": disk_gb * 2**30}] if disk_gb else []
    got = values(host(facts={"mounts": mounts if disk_gb else []}))
    names = "max_wal_size min_wal_size max_slot_wal_keep_size temp_file_limit"
    assert " ".join(got[name] for name in names.split()) == wanted


def test_a_kernel_with_a_few_megabytes_less_is_not_worth_a_restart():
    assert len({values(host(memory_mb=7950 - n))["shared_buffers"] for n in range(8)}) == 1


POOLS = {
    "app_workers": 4,
    "app_processes": [{"name": "worker", "command": "work", "count": 2}],
    "app_schedules": [{"name": "nightly", "command": "job", "on_calendar": "daily"}],
    "app_database_connections": 10,
}


def order(made):
    """What role app asks of the server, as the program there reads it."""
    return ORDER.parse(json.dumps(made("__app_order")), "the order")


def noted(made):
    """What role postgresql notes of the server, as the program there reads it."""
    (file,) = made("__postgresql_files")
    assert file["path"] == "/etc/pergola/postgresql.json"
    return NOTED.parse(file["content"], "the note")


def test_connections_are_what_all_pools_of_an_application_may_open():
    # 10 x (2 x (4 + 2) + 1)
    assert order(host(**POOLS)).connections == 130


def test_connections_are_left_to_the_sum_unless_they_are_set():
    """tests/host/test_database_needs.py adds up what the applications need."""
    made = host(**POOLS)
    assert values(made)["max_connections"] == "250"
    assert noted(made) == Noted(
        16, connections=0, other_connections=20, least=250, work_mb=1238, own=[], readers=[]
    )
    made = host(postgresql_max_connections=300, postgresql_settings={"Work_Mem": "8MB"}, **POOLS)
    assert values(made)["max_connections"] == "300"
    assert noted(made).connections == 300
    assert noted(made).own == ["work_mem"]
    text = made("__postgresql_settings_file")
    assert "max_connections = 300  # postgresql_max_connections\n" in text


def test_what_applications_of_the_server_need_does_not_change_the_servers_own_file():
    need = {"connections": 900, "preload": ["pg_cron"], "packages": []}
    facts = {"ansible_local": {"notes": need, "shop": need}}
    text = "__postgresql_settings_file"
    assert host(facts=facts, **POOLS)(text) == host(**POOLS)(text)


def test_a_deploy_refuses_too_few_connections_by_the_applications_own_settings():
    said = host(postgresql_max_connections=100, **POOLS).broken()
    assert "notes may open 110 (app_database_connections 10 x (2 slots x (4 app_workers" in said
    assert "Set it to 130 or more" in said
    assert host(postgresql_max_connections=130, **POOLS).broken() == ""
    assert host(**POOLS).broken() == ""


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ({"work mem": "1MB"}, "work mem cannot be a setting's name"),
        ({"Max_Connections": 5}, "max_connections (postgresql_max_connections)"),
        ({"archive_mode": False}, "archive_mode (backup_enabled)"),
        ({"work_mem": ["1MB"]}, "a value is a text, a number, true or false"),
        ({"work_mem": "1MB", "jit": True, "pg_stat_statements.max": 9}, ""),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(own, says):
    said = host(postgresql_settings=own).broken()
    assert says in said
    assert bool(said) is bool(says)


def test_a_text_with_quotes_stays_one_value():
    made = host(postgresql_settings={"application_name": "it's"})
    assert "application_name = 'it''s'  # postgresql_settings" in made("__postgresql_settings_file")


def test_libraries_of_the_users_own_are_added_to_ours():
    own = {"shared_preload_libraries": "auto_explain, pg_stat_statements"}
    got = values(host(postgresql_settings=own))
    assert got["shared_preload_libraries"] == "'auto_explain,pg_stat_statements'"


def test_the_databases_of_an_application_are_its_own_unless_they_say_otherwise():
    wanted = [
        {"name": "notes", "extensions": ["pg_trgm", "vector", "pg_cron"]},
        {"name": "archive", "owner": "keeper", "readers": ["ada"]},
    ]
    made = order(host(app_databases=wanted))
    assert made.databases == [
        Database("notes", "notes", ["pg_trgm", "vector", "pg_cron"]),
        Database("archive", "keeper", readers=["ada"]),
    ]
    assert order(host()).databases == [Database("notes", "notes")]
    assert order(host(groups=["app", "servers"])).databases == []
    assert order(host(groups=["app", "servers"])).has_database is False


def test_another_version_gets_the_packages_of_extensions_that_applications_have():
    facts = {"ansible_local": {"shop": {"connections": 60, "packages": ["pgvector", "cron"]}}}
    packages = set(host("trixie", facts=facts)("base_packages"))
    assert {"postgresql-17", "postgresql-17-pgvector", "postgresql-17-cron"} <= packages
    assert not [name for name in host("trixie")("base_packages") if "pgvector" in name]


def test_an_extension_that_the_distribution_lacks_is_refused():
    """Before anything is installed; of a server that is there its package manager is asked."""
    wanted = [{"name": "notes", "extensions": ["vector"]}]
    said = host("bookworm", app_databases=wanted).unfit()
    assert "has no package of the extension vector" in said
    assert "postgresql_repository: pgdg" in said
    assert host("bookworm", app_databases=wanted, postgresql_repository="pgdg").unfit() == ""
    assert host("trixie", app_databases=wanted).unfit() == ""
    named_wrong = [{"name": "notes", "extensions": ["pgvector"]}]
    assert "app_databases: the extension of pgvector is called vector" in (
        host(app_databases=named_wrong).broken()
    )


def test_a_version_that_the_distribution_lacks_comes_from_pgdg_only():
    said = host("noble", postgresql_version=18).unfit()
    assert "postgresql_version 18: Ubuntu 24.04 has 16." in said
    pgdg = host("noble", postgresql_version=18, postgresql_repository="pgdg")
    assert pgdg.unfit() == ""
    assert "postgresql-18" in pgdg("base_packages")
    assert "99" in host(postgresql_version=99, postgresql_repository="pgdg").unfit()


def test_pgdg_is_added_before_the_packages_and_signed_by_the_pinned_key_only():
    assert host()("base_repositories") == []
    made = host("noble", postgresql_repository="pgdg")
    (repository,) = made("base_repositories")
    source = made.file("base", "repository.sources.j2", item=repository)
    assert "URIs: https://apt.postgresql.org/pub/repos/apt\nSuites: noble-pgdg\n" in source
    assert "Signed-By: /usr/share/keyrings/pergola-pgdg.asc" in source
    order = yaml.safe_load((PROJECT / "roles/base/tasks/main.yml").read_text())
    names = [next(task[key] for key in task if key.endswith("_tasks")) for task in order]
    (repositories,) = (n for n, one in enumerate(names) if "repositories.yml" in str(one))
    assert repositories < names.index("packages.yml")
    # What is included has only the tags that it is given.
    assert order[repositories]["tags"] == names[repositories]["apply"]["tags"]

    tasks = yaml.safe_load((PROJECT / "roles/base/tasks/repositories.yml").read_text())
    guard = next(task for task in tasks if "ansible.builtin.assert" in task)
    pinned = "B97B0AFCAA1A47F044F244A07FCC7D46ACCC4CF8"
    for fingerprint, good in [(pinned, True), ("F" * 40, False)]:
        stdout = f"pub:x\nfpr:::::::::{fingerprint}:\n"
        made.variables["item"] = {"item": repository, "stdout": stdout}
        assert made(guard["ansible.builtin.assert"]["that"]) is good
    kinds = [next(key for key in task if "." in key) for task in tasks]
    assert kinds.index("ansible.builtin.assert") < kinds.index("ansible.builtin.template")


@pytest.mark.parametrize(
    ("line", "lacking"),
    [
        ("", True),
        ("# deb https://apt.postgresql.org/pub/repos/apt noble-pgdg main", True),
        ("deb [signed-by=/x.asc] https://apt.postgresql.org/pub/repos/apt noble-pgdg main", False),
        ("URIs: https://apt.postgresql.org/pub/repos/apt/", False),
    ],
)
def test_a_repository_that_the_server_has_already_is_not_added_again(tmp_path, line, lacking):
    """Two files that sign one with two keys would end every use of apt."""
    (tmp_path / "own.list").write_text(f"# by hand\n{line}\n")
    (tmp_path / "pergola-pgdg.list").write_text("URIs: https://apt.postgresql.org/pub/repos/apt\n")
    made = host("noble", postgresql_repository="pgdg")
    (made.variables["item"],) = made("base_repositories")
    tasks = yaml.safe_load((PROJECT / "roles/base/tasks/repositories.yml").read_text())
    look = next(task for task in tasks if "ansible.builtin.find" in task)["ansible.builtin.find"]
    arguments = {**look, "contains": made.template(look["contains"]), "paths": str(tmp_path)}
    ansible = Path(sys.executable).with_name("ansible")
    command = [ansible, "localhost", "-m", "ansible.builtin.find", "-a", json.dumps(arguments)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    matched = int(re.search(r"\"?matched\"?: (\d+)", done.stdout)[1])
    result = {"item": made.variables["item"], "matched": matched}
    made.variables["__base_repositories_there"] = {"results": [result]}
    assert bool(made("__base_repositories_lacking")) is lacking


def test_who_may_become_root_may_read():
    operators = [
        {"name": "ada", "keys": []},
        {"name": "bob", "sudo": False, "keys": []},
        {"name": "eve", "sudo": True, "keys": []},
    ]
    assert noted(host(base_operators=operators)).readers == ["ada", "eve"]
