"""What a release gets as environment: the settings, the file, and how it reaches its database."""

import subprocess
import sys
from pathlib import Path

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import FileVaultSecret
from ansible.template import Templar, trust_as_template
from test_systems import SYSTEMS, Host

LIBPQ = {"PGHOST": "/run/postgresql", "PGDATABASE": "notes", "PGUSER": "notes"}


def made(host, vault=None):
    """What role release hands over as environment and as secrets."""
    loader = DataLoader()
    if vault:
        loader.set_vault_secrets([("default", vault)])
    templar = Templar(loader, host.variables)
    parts = templar.template(trust_as_template("{{ __release_config }}"))
    return parts["environment"], parts["secrets"]


@pytest.fixture
def host(tmp_path):
    def of(**settings):
        found = Host(SYSTEMS["trixie"], **settings)
        found.variables["inventory_dir"] = str(tmp_path)
        found.variables |= {"__release_pythons": "3.13"}
        return found

    return of


def test_values_arrive_as_they_stand_there_and_the_database_s_variables_with_them(host):
    settings = {"A": "0755", "B": True, "C": ["x", 1], "D": {"k": None}, "E": "a\nb", "F": None}
    assert made(host(app_environment=settings))[0] == {
        **LIBPQ,
        "A": "0755",
        "B": "true",
        "C": '["x", 1]',
        "D": '{"k": null}',
        "E": "a\nb",
    }


def test_what_is_set_beats_the_database_s_variables(host):
    found = host(app_environment={"PGHOST": "db.example.org", "PGUSER": None})
    assert made(found)[0] == {"PGHOST": "db.example.org", "PGDATABASE": "notes"}


def test_separate_variables_and_a_url_come_from_app_database(host):
    found = host(
        app_environment={
            "DB_HOST": "{{ app_database.host }}",
            "DB_PORT": "{{ app_database.port }}",
            "DB_NAME": "{{ app_database.name }}",
            "DB_USER": "{{ app_database.user }}",
            "DB_URL": "{{ app_database.url }}",
        }
    )
    assert found.broken() == ""
    assert made(found)[0] == {
        **LIBPQ,
        "DB_HOST": "/run/postgresql",
        "DB_PORT": "5432",
        "DB_NAME": "notes",
        "DB_USER": "notes",
        "DB_URL": "postgresql:///notes?host=/run/postgresql",
    }


def test_a_database_of_another_name_is_the_one_that_is_meant_everywhere(host):
    found = host(app_databases=[{"name": "shop"}, {"name": "archive"}])
    assert made(found)[0]["PGDATABASE"] == "shop"
    assert found("release_database") == "dbname=shop"
    assert found("__app_restore_checks.database") == "shop"
    assert host(app_databases=[{"name": "a"}, {"name": "notes"}])("app_database.name") == "notes"


def test_what_the_procfile_says_is_part_of_a_release_and_counts_for_the_database(host):
    said = {"migrate_command": "up", "processes": [{"name": "worker", "command": "w"}]}
    found = host(app_procfile_found={"settings": said, "said": []})
    found.variables["__release_found"] = {"procfile": {"settings": said, "said": []}}
    assert found("__release_made.migrate_command") == "up"
    assert found("__release_made.processes") == [
        {
            "name": "worker", "command": "w", "overlap": False, "drain_seconds": 30, "shell": True,
            "memory_max": "", "stop_signal": "",
        }
    ]  # fmt: skip
    assert found("__app_order.connections") == 15 * 2 * (2 + 1)
    assert not found("__app_order.keeps_connections")
    assert host()("__app_order.keeps_connections")  # nobody has looked
    assert not host(app_procfile="")("__app_order.keeps_connections")


def test_settings_that_are_set_win_over_the_procfile(host):
    assert host()("release_settled") == []
    assert host(app_migrate_command="up")("release_settled") == ["app_migrate_command"]
    assert host(app_uvicorn_options=["--ws=none"])("release_settled") == ["app_server"]
    processes = [{"name": "worker", "command": "w"}]
    found = host(app_server="granian", app_processes=processes)
    assert found("release_settled") == ["app_processes", "app_server"]


def test_an_application_without_a_database_gets_none_of_it(host):
    found = host(app_environment={"A": "b"})
    found.variables["group_names"] = ["app", "servers"]
    assert made(found)[0] == {"A": "b"}


def test_a_file_of_variables_is_secret_and_beaten_by_the_settings(host, tmp_path):
    (tmp_path / ".env").write_text("A=file\nB=file\nC=file\nTEMPLATE={{ app_name }}\n")
    found = host(app_environment_file=".env", app_environment={"A": 1}, app_secrets={"B": "x"})
    assert found.broken() == ""
    environment, secrets = made(found)
    assert environment == {**LIBPQ, "A": "1"}
    assert secrets == {"B": "x", "C": "file", "TEMPLATE": "{{ app_name }}"}


def test_an_encrypted_file_is_decrypted_by_ansible(host, tmp_path):
    (tmp_path / "password").write_text("right\n")
    (tmp_path / ".env").write_text("A=hush\n")
    program = Path(sys.executable).with_name("ansible-vault")
    encrypt = [program, "encrypt", "--vault-password-file", tmp_path / "password"]
    subprocess.run([*encrypt, tmp_path / ".env"], check=True, capture_output=True)
    vault = FileVaultSecret(filename=str(tmp_path / "password"), loader=DataLoader())
    vault.load()
    found = host(app_environment_file=".env")
    assert made(found, vault)[1] == {"A": "hush"}
    assert "cannot be decrypted; add --ask-vault-pass" in found.broken()
